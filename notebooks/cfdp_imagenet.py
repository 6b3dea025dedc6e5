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
rates = "[0.]+[0.1]*3+[0.35]*16"  # the row's own; any other list of twenty is recounted as well

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), rates=str)

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("cfdp/imagenet")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bar chart: filters of each conv of ResNet-50, those kept in front of all"}}
from prune_lib.book.figures import charts
from prune_lib.nets import arch_of, read_spec

widths = read_spec("resnet50", rates, "hrank")[1]
charts.widths(arch_of("resnet50").filters, widths, f"ResNet-50, {rates}")

# %% tags=["hide-input"]
from prune_lib.cost import cost

counted = cost("resnet50", widths, "thop-0.0.31", "hrank")
print(f"{counted.params:,} of {counted.base_params:,} parameters, {counted.params_cut:.2f} % less")
print(f"{counted.flops:,} of {counted.base_flops:,} FLOPs, {counted.flops_cut:.2f} % less")

# %% [markdown]
# Both printed figures are exact. The cuts are not printed; the README's "almost 50% in parameters" is generous. It needs
# ImageNet and a trained ResNet-50, which `prune run` takes by `--weights`; the published command stops after its first
# epoch (see [the errata](errata)).
