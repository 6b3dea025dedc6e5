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
# # CDP on ImageNet
#
# ResNet-18 and ResNet-50 {cite}`xu2021cdp`. The masks come from the first 25,600 training images *in the order of the
# files*, which is about the first 20 of the 1,000 classes: the published code does not shuffle them.

# %% tags=["parameters", "hide-input"]
budget = ""  # tiny: a few images, minutes; short: 1,000 sample images; paper: all of ImageNet; empty: recounts only
seed = 0
device = "auto"
data_dir = ""  # where imagenet/ or imagenet-sample/ is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # a trained full network to prune, or torchvision; empty: the one that the dense row leaves, trained first
rows = "all"  # which of the paper's to train: names such as resnet18, or all
arch = "resnet50"  # resnet18 or resnet50: whose full network is counted below

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals(), needed=False, arch=("resnet18", "resnet50"))

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("cdp/imagenet")

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid, load_table

load_table("cdp/imagenet")

# %% [markdown]
# ResNet-50's 4089M is its convs and linear layer under the repository's counter. ResNet-18's 1820M is not: that counter
# gives 1,814M, and the printed figure is the commonly quoted one of another counter.

# %% tags=["hide-input"]
from prune_lib.cost import RULES, cost

lines = [["Rule", "Full network"]] + [[rule, f"{cost(arch, None, rule).flops:,}"] for rule in RULES]
Grid(lines, f"{arch}, full, under every rule.")

# %% [markdown]
# ## What masks would do to it
#
# Without the checkpoint the masks cannot be had. What their counting rule does can be shown: the same share of filters
# masked in every conv, counted as the paper does, and as the network that is left when they are removed.

# %% tags=["hide-input"]
from prune_lib.cost import masked_flops
from prune_lib.nets import arch_of, read_spec

full, lines = (
    cost(arch, None, "cdp").flops,
    [["Filters masked", "Masked (cdp)", "of full", "Removed (macs)", "of full"]],
)
for share in (0.1, 0.2, 0.3, 0.4, 0.5):
    widths = read_spec(arch, f"[{share}]*{len(arch_of(arch).units)}", "units")[1]
    masked, removed = masked_flops(arch, widths), cost(arch, widths, "macs").flops
    lines.append([f"{share:.0%}", f"{masked:,}", f"{masked / full:.1%}", f"{removed:,}", f"{removed / full:.1%}"])
Grid(lines, f"{arch}: CDP's counter does not credit a pruned residual stream to the convs that read it.")

# %% [markdown]
# ## Run
#
# The sparsities are not published, so each row is pruned until it has the printed share of the FLOPs, and trained by its
# script, which is not the README's command (see [the errata](errata)). Scores, selection and training are one run;
# `prune score` and `prune select` do the first two alone.

# %% tags=["hide-input"]
from prune_lib.book.trained import train

train("cdp/imagenet", rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights)
