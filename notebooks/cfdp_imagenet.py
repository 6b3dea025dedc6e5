# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # CFDP on ImageNet
#
# One row, ResNet-50 {cite}`khaki2023cfdp`, with HRank's twenty rates: the stem, the first three stages' outputs, and one
# for the two inner convs of each block. The fourth stage stays full.

# %% tags=["parameters", "hide-input"]
budget = ""  # tiny: a few images, minutes; short: 1,000 sample images; paper: all of ImageNet; empty: recounts only
seed = 0
device = "auto"
data_dir = ""  # where imagenet/ or imagenet-sample/ is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # a trained full network to prune, or torchvision; empty: the one that the dense row leaves, trained first
rows = "all"  # which of the tables to train: resnet50 as published, corrected, random; or all
rates = "[0.]+[0.1]*3+[0.35]*16"  # the row's own; any other list of twenty is recounted as well

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals(), needed=False, rates=str)

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("cfdp/imagenet", studies=["cfdp/imagenet-study"])

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("cfdp/imagenet")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bar chart: filters of each conv of ResNet-50, those kept in front of all"}}
from prune_lib.book.figures import charts
from prune_lib.nets import arch_of, read_spec

widths = read_spec("resnet50", rates, "hrank")[1]
from prune_lib.book.captions import captioned

captioned(
    charts.widths(arch_of("resnet50").filters, widths, f"ResNet-50, {rates}"),
    "Filters of each conv of ResNet-50: all of them, and in front those that the rates keep.",
    table="cfdp/imagenet",
)

# %% tags=["hide-input"]
from prune_lib.cost import cost

counted = cost("resnet50", widths, "thop-0.0.31", "hrank")
print(f"{counted.params:,} of {counted.base_params:,} parameters, {counted.params_cut:.2f} % less")
print(f"{counted.flops:,} of {counted.base_flops:,} FLOPs, {counted.flops_cut:.2f} % less")

# %% [markdown]
# Both printed figures are exact. The cuts are not printed; the README's "almost 50% in parameters" is generous.

# %% [markdown]
# ## Run
#
# The row as published, the same with its scores *corrected*, and with filters at *random*. The published command stops
# after its first epoch (see [the errata](errata)); what is trained here is the recipe that its script has.

# %% tags=["hide-input"]
from prune_lib.book.trained import train

train(
    ["cfdp/imagenet", "cfdp/imagenet-study"],
    rows,
    budget,
    seed,
    device=device,
    data_dir=data_dir,
    given=set,
    weights=weights,
)
