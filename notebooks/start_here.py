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
# # The whole idea on one screen
#
# A published row of filter pruning is a network, a string of rates, and some figures. Everything in this book starts by
# turning the string back into the network.

# %% [markdown] tags=["remove-cell"]
# *In JupyterLab:* **[open the explorer](explorer.py)** for sliders over specs, filters and sparsities; or go on here with
# *Run > Run All Cells*. Every chapter is a notebook beside this one: [DCFF](dcff_cifar10.py), [CDP](cdp_cifar10.py),
# [CFDP](cfdp_cifar10.py), [HRank](hrank_cifar10.py), [FilterExpo](filterexpo_cifar10.py), [Grad-CAM](grad_cam.py), [your own network](own_network.py).

# %% tags=["parameters", "hide-input"]
arch = "vgg16"  # vgg16 resnet20 resnet56 resnet110 googlenet
rates = "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6"  # one rate for each group of convs, as the paper prints it

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), arch=("vgg16", "resnet20", "resnet56", "resnet110", "googlenet"), rates=str)

# %% [markdown]
# **1. Rates become widths.** A rate is the share of filters that go; what stays is truncated to a whole number.

# %% mystnb={"image": {"alt": "Bar chart: filters of each conv, those kept in front of all"}}
from prune_lib.book.figures import charts
from prune_lib.nets import arch_of, build, read_spec

full = arch_of(arch).filters
_, widths = read_spec(arch, rates)
charts.widths(full, widths, f"{arch}, {rates}")

# %% [markdown]
# **2. Widths are a network**, of the same class as the full one, and its cost can be counted, under a rule with a name.

# %%
from prune_lib.cost import cost

for rule in ("thop-0.0.31", "macs"):
    count = cost(arch, widths, rule)
    print(
        f"{rule:12} {count.flops:13,} FLOPs, {count.flops_cut:.2f} % less; "
        f"{count.params:11,} params, {count.params_cut:.2f} % less"
    )

# %% [markdown]
# **3. A method says how the filters that stay get their weights.** DCFF trains a bank of all filters, of which each conv
# sees a weighted average, `P @ bank`. What is exported afterwards is the plain compact network, with the same outputs.

# %%
import torch

from prune_lib.papers.dcff import DCFF

torch.manual_seed(0)
method = DCFF(full)
fused = method.prepare(build(arch, widths))
method.on_epoch(fused, epoch=0, epochs=300)
compact = method.export(fused)

images = torch.randn(8, 3, 32, 32)
difference = (fused.eval()(images) - compact.eval()(images)).abs().max()
print(f"largest difference between the fused and the exported network: {difference:.1e}")
print(f"parameters: {sum(p.numel() for p in fused.parameters()):,} in training, ", end="")
print(f"{sum(p.numel() for p in compact.parameters()):,} exported")

# %% [markdown]
# **4. A row becomes a record.** `prune run dcff/cifar10/vgg16 --budget short` trains it, evaluates it three ways, and
# writes down what was measured and how. Rows and records side by side, with a computed verdict, are a table:

# %%
from prune_lib.book.tables import load_table

load_table("dcff/cifar10")
