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
# # CFDP on CIFAR-10
#
# *Common Frequency Domain Pruning* {cite}`khaki2023cfdp` scores a filter by the frequencies of its feature maps in a
# trained network, keeps the best at widths that are given, and trains on. The widths, and the counts, are those of an
# earlier repository, HRankPlus.
#
# Everything about it on one page: its <a href="../reviews/cfdp.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, minutes a row on two cores; also tiny, paper
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # a trained dense network to prune; empty: the one that the dense row leaves, trained first
rows = ""  # which of the paper's own to train: names such as resnet56, or all; empty: only the study below

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals())

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("cfdp/cifar10", studies=["cfdp/resnet20-study", "cfdp/resnet56-study"], claims=True)

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("cfdp/cifar10")

# %% tags=["hide-input"]
from prune_lib.book.trained import train

OWN = "cfdp/cifar10"
train(OWN, rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights) if rows else None

# %% [markdown]
# ## The method
#
# A map $x$ of $H \times H$ is cut into $2\times 2$ blocks; each is cosine-transformed and blurred by a Gaussian so wide
# ($\sigma = 10$) that hardly more than its mean is left. With $M$ all blocks in their places,
#
# $$s(x) = \lVert M \rVert_F \cdot \frac{\#\{M_{ij} > \overline M\}}{H^2} + \alpha\, \lVert x \rVert_F ,
# \qquad \alpha = 0.03 ,$$
#
# and a filter's score is the mean over images. Both steps are linear, so that all maps are done at once.

# %% tags=["remove-input"]
from prune_lib.book.figures import charts
from prune_lib.papers import cfdp

charts.source(cfdp.score)

# %% tags=["remove-input"]
charts.source(cfdp.transform)

# %% [markdown]
# ## What the published code does instead
#
# In ResNet-56 a misspelt variable leaves the hook on the *stem*: every layer is scored by the stem's 16 maps. A layer of 32
# filters that shall keep 26 asks for the last 26 of 32 ranks of a table of 16 entries, and gets 10; the others stay as they
# were drawn. And each conv chooses for itself, although channels that are added must be the same ones. What reaches the
# pruned network is counted below; `corrected` scores each conv by its own maps, lets the convs of a unit choose together,
# and copies everything.

# %%
import torch

from prune_lib.book.tables import Grid
from prune_lib.nets import arch_of, build
from prune_lib.papers import feature_maps, get_row

row, arch = get_row("cfdp/cifar10/resnet56"), arch_of("resnet56")
torch.manual_seed(seed)
dense = build("resnet56")
lines = [["Variant", "Conv weights from the trained network", "Of 26 filters of a layer of 32", "Of 52 of one of 64"]]
for variant in feature_maps.VARIANTS:
    method = cfdp.CFDP(arch, variant=variant)
    method.dense, method.chosen = (
        dense,
        {conv: torch.rand(16 if variant == "authors" else n) for conv, n in arch.filters.items()},
    )
    fresh = build("resnet56", row.widths)
    drawn = {conv: fresh.get_submodule(conv).weight.clone() for conv in arch.filters}
    pruned = method.prepare(fresh)
    copied = {conv: pruned.get_submodule(conv).weight != weight for conv, weight in drawn.items()}
    share = sum(int(c.sum()) for c in copied.values()) / sum(c.numel() for c in copied.values())
    touched = [int(copied[conv].flatten(1).any(1).sum()) for conv in ("layer2.4.conv1", "layer3.4.conv1")]
    lines.append([variant, f"{share:.1%}", *map(str, touched)])
Grid(
    lines,
    "ResNet-56 at the published rates: what the pruned network has from the trained one, and how many filters of two "
    "layers have anything from it.",
)

# %% [markdown]
# ## Run
#
# The study prunes ResNet-20 at several rates, and ResNet-56 at the published one, beside baselines at the same widths:
# filters by L1 norm, at random, and the same widths from fresh weights.

# %% tags=["hide-input"]
from tqdm import tqdm

from prune_lib.cost import cost
from prune_lib.papers import table_rows
from prune_lib.runs import best_record, changed_rows, run

studies = {net: table_rows(f"cfdp/{net}-study") for net in ("resnet20", "resnet56")}
options = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke", "weights": weights or None}
chosen = [row for row in studies["resnet20"] if budget != "smoke" or row.id.split("/")[-1].startswith("r20")]
if set:
    chosen = changed_rows(chosen, budget, set)
    studies = {"resnet20": chosen}
made = [run(row, budget, seed, **options) for row in tqdm(chosen, desc=f"CFDP, {budget}", unit="row")]

# %% tags=["hide-input"]
lines = [["Network", "Rate, criterion", "Budget", "FLOPs", "of full", "Before", "After"]]
for net, some in studies.items():
    full = cost(net, None, "thop-0.0.31", "hrank").flops
    for row in some:
        if record := best_record(row):
            metrics = record["metrics"]
            lines.append([
                net, row.title, record["budget"], f"{metrics['flops']:,}", f"{metrics['flops'] / full:.1%}",
                f"{metrics['top1_before']:.2f}", f"{metrics['top1_last']:.2f}",
            ])  # fmt: skip
made = [record for some in studies.values() for row in some if (record := best_record(row))]
Grid(lines, "Test top-1 (%) as pruned, and at the last epoch of the training after it.", records=made)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Top-1 over the share of FLOPs that stays, before and after training on, for CFDP and the baselines"}}
best = [(row, record) for row in studies["resnet20"] if (record := best_record(row))]
from prune_lib.book.captions import captioned

captioned(
    charts.tradeoff(best, cost("resnet20", None, "thop-0.0.31", "hrank").flops),
    "ResNet-20: test top-1 over the share of the FLOPs that stays, as pruned and after training on; a line for each "
    "criterion, with its budget.",
    [record for _, record in best],
)

# %% [markdown]
# The left panel is the criterion alone, the right one what a short training makes of it. At `short` that is one or two
# passes over 10,000 images, and no basis for a verdict on the paper. What can be said: the published code gives
# ResNet-56 next to nothing of what it was trained for (*authors*, before), whatever the criterion is worth.

# %% [markdown]
# ## The published commands, and ours

# %% tags=["hide-input"]
from prune_lib.book.tables import commands

commands("cfdp")
