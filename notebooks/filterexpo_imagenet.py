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
# # FilterExpo on ImageNet
#
# The rows of FilterExpo's first README and of its published form, CHEX {cite}`hou2022chex`. Which channels a network keeps
# is found while it trains, and the checkpoints are on a file-sharing site; only the full networks can be recounted.

# %% tags=["parameters", "hide-input"]
budget = ""  # tiny: a few images, minutes; short: 1,000 sample images; paper: all of ImageNet; empty: recounts only
seed = 0
device = "auto"
data_dir = ""  # where imagenet/ or imagenet-sample/ is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # nothing: no row here prunes a trained network
rows = "all"  # which to train: names such as resnet50_2g, or all that have a published sparsity
arch = "resnet50"  # whose budgets are shown: resnet18, resnet34, resnet50 or resnet101
sparsities = "0.2 0.3 0.4 0.5 0.6 0.7 0.8"  # shares of the channels that can go

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals(), needed=False, arch=("resnet18", "resnet34", "resnet50", "resnet101"), sparsities=str)

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("filterexpo/readme", "filterexpo/imagenet")

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("filterexpo/readme")

# %% tags=["hide-input"]
load_table("filterexpo/imagenet")

# %% [markdown]
# ## What a channel sparsity costs
#
# The scripts give a *channel sparsity*, the tables FLOPs. The one does not follow from the other: where the channels go is
# up to the global threshold. If every layer lost the same share, this would be left, under CHEX's own counter. It credits
# the masked channels of shortcuts, which a smaller network still has to write; the last column does not.

# %% tags=["hide-input"]
import torch

from prune_lib.book.tables import Grid
from prune_lib.cost import cost
from prune_lib.nets import arch_of, build
from prune_lib.nets.slim import slim_widths
from prune_lib.papers.baselines import evenly
from prune_lib.papers.filterexpo import flops, norms

about, full = arch_of(arch), cost(arch, None, "chex").flops
filters = {conv: about.filters[conv] for conv in norms(build(arch), about)}
lines = [["Sparsity", "Channels that stay", "FLOPs (chex)", "Share", "Removed, multiply-accumulates", "Share"]]
for sparsity in map(float, sparsities.split()):
    kept = evenly(filters, int(sum(filters.values()) * sparsity))
    keep = {conv: torch.arange(n) < kept[conv] for conv, n in filters.items()}
    masked, removed = flops(about, keep), cost(arch, slim_widths(about, keep), "macs").flops
    lines.append([
        f"{sparsity:.0%}", f"{sum(kept.values()):,} of {sum(filters.values()):,}", f"{masked:,}", f"{masked / full:.1%}",
        f"{removed:,}", f"{removed / full:.1%}",
    ])  # fmt: skip
Grid(lines, f"{arch}: {len(filters)} convs have channels that can go; {full:,} FLOPs in full.")

# %% [markdown]
# ResNet-50 at the published sparsity of 0.5 would have 1.64G, and the row says 2G: if both are right, the threshold took
# more channels from where they are cheap.

# %% [markdown]
# ## Run
#
# The recipe is that of the repository's script for the 2G row (250 epochs, 90 explorations); the row of 1G is trained with
# the example at the head of its README. The other rows' sparsities are not published, so there is nothing to train.

# %% tags=["hide-input"]
from prune_lib.book.trained import train

train("filterexpo/imagenet", rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights)

# %% [markdown]
# ```console
# $ torchrun --nproc-per-node 8 -m prune_lib run filterexpo/imagenet/resnet50_2g --budget paper
# $ prune cost --weights runs/filterexpo/imagenet/resnet50_2g/…/last.safetensors --rule chex   # count what it found
# $ prune eval filterexpo/imagenet/resnet50_2g --weights FILE                                 # evaluate a pruned network
# ```

# %% [markdown]
# ## The published commands, and ours

# %% tags=["hide-input"]
from prune_lib.book.tables import commands

commands("filterexpo")
