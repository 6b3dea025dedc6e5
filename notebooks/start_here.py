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
# **New here? Five minutes:**
#
# 1. Run everything once: *Run > Run All Cells*. That takes seconds.
# 2. Go to **your turn** below, change a number, press *Shift+Enter*: the figure and its cost follow.
# 3. Then **[open the explorer](explorer.py)** and *Run > Run All Cells* there: sliders over rates, filters and sparsities.
#
# Every chapter is a notebook beside this one: [DCFF](dcff_cifar10.py), [CDP](cdp_cifar10.py), [CFDP](cfdp_cifar10.py),
# [HRank](hrank_cifar10.py), [FilterExpo](filterexpo_cifar10.py), [Grad-CAM](grad_cam.py), [your own network](own_network.py).

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

# %% [markdown] tags=["remove-cell"]
# **Your turn.** The last six convs of VGG-16 lose 85 % of their filters. Let them lose half: write `0.5` for `0.85` in the
# next cell and press *Shift+Enter*. Six bars grow, and the line below the figure says what that costs.

# %% tags=["remove-cell"]
mine = "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6"  # change a number here

yours = read_spec("vgg16", mine)[1]
print(f"{mine}: {cost('vgg16', yours, 'thop-0.0.31').flops:,} FLOPs")
charts.widths(arch_of("vgg16").filters, yours, f"VGG-16, {mine}")

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

# %% [markdown]
# **5. A network can be looked into.** Twelve filters that a criterion calls the best of a layer, and twelve that it calls
# the worst, with what they answer to a photograph of a cat:

# %% mystnb={"image": {"alt": "The filters of a conv with the highest and the lowest scores, and their answers to one image"}}
from prune_lib.book import gallery

filters = gallery.show("filters_resnet20")
