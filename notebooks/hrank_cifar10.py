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
# # HRank
#
# *Filter Pruning using High-Rank Feature Map* {cite}`lin2020hrank` keeps the filters whose feature maps have the highest
# rank. Two repositories print figures. `lmbxmu/HRank`, the paper's, masks filters; `lmbxmu/HRankPlus` cuts them. CFDP's
# widths and counts are the second one's.
#
# Everything about it on one page: its <a href="../reviews/hrank.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, minutes a row on two cores; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
images = 64  # on which ranks are compared, twice so many in all

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(),
    budget=("smoke", "tiny", "short", "paper"),
    seed=int,
    device=str,
    data_dir=str,
    set=(str, dict),
    images=int,
)

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening(
    "hrank/cifar10", "hrank/imagenet", "hrank/cifar10-plus", "hrank/imagenet-plus", studies=["hrank/resnet20-study"]
)

# %% [markdown]
# ## Masks, and what they are said to cost

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("hrank/cifar10")

# %% tags=["hide-input"]
load_table("hrank/imagenet").parts[0]

# %% [markdown]
# The README says that "the actual pruning rates are much higher than these presented in the paper since we do not count
# the next-layer channel removal". Its counter takes the filters that a mask keeps times *all* inputs, and counts neither
# BatchNorm nor its parameters: the rule `hrank` of this library. It gives ResNet-56, GoogLeNet and ResNet-50 to every
# digit, GoogLeNet with a slip in it (one inception is counted at its neighbour's rate). Here is what the same rates leave
# of each network when the filters are cut.

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid
from prune_lib.cost import cost
from prune_lib.papers import table_rows

lines = [["Network", "FLOPs printed", "FLOPs cut for real", "Params printed", "Params cut for real"]]
for row in table_rows("hrank/cifar10"):
    real = cost(row.arch, row.widths, "macs", "hrank")
    printed = row.reported
    lines.append([
        row.title, f"{printed['flops']} (-{printed['flops_cut']})", f"{real.flops:,} (-{real.flops_cut:.1f}%)",
        f"{printed['params']} (-{printed['params_cut']})", f"{real.params:,} (-{real.params_cut:.1f}%)",
    ])  # fmt: skip
Grid(lines, "Cut for real: MACs, and all parameters, of the network with as many filters as the masks keep.")

# %% [markdown]
# ## Where VGG-16's figures come from
#
# The published code gives neither of the two printed counts. Another rounding does: filters that *stay* rounded down, not
# those that go. The FLOPs are then the printed ones; the params are not, but their printed cut is.

# %%
from prune_lib.cost import check
from prune_lib.papers import get_row

vgg = get_row("hrank/cifar10/vgg16")
print(check(vgg.reported["flops"], vgg.arch, vgg.rates, layout="units", cut=vgg.reported["flops_cut"]))

# %%
for params in (vgg.reported["params"], "2.69M"):
    found = check(
        f"{params} params", vgg.arch, vgg.rates, layout="units", base="14.98M params", cut=vgg.reported["params_cut"]
    )
    print(
        *(f"{'agrees' if said.holds else 'disagrees':9}  {said.text}" for said in found.statements),
        sep="\n",
        end="\n\n",
    )

# %% [markdown]
# And the full network's 313.73M, with which the pruned figures are compared here, in HRankPlus, and in papers that took
# them over, are no count of one kind either:

# %%
print(check(get_row("hrank/cifar10-plus/vgg16_base").reported["flops"], vgg.arch))

# %% [markdown]
# ## Cut networks
#
# HRankPlus prints no rates with its rows. Lists that others publish as its own, and four of the examples in its README,
# which "may not be used in our experiment", give every pruned network of the table: its params and FLOPs are those printed,
# cut off where they should be rounded. The percentages are not, for they are taken from full networks that were counted
# by the other rule.

# %% tags=["hide-input"]
load_table("hrank/cifar10-plus")

# %% tags=["hide-input"]
load_table("hrank/imagenet-plus")

# %% [markdown]
# ## The method
#
# With $o(I)$ the map that a filter gives for an image $I$, behind its ReLU, a filter's score is
#
# $$ s = \frac1g \sum_{t=1}^{g} \operatorname{Rank}\big(o(I_t)\big) . $$

# %% tags=["remove-input"]
from prune_lib.book.figures import charts
from prune_lib.papers import hrank

charts.source(hrank.ranks)

# %% [markdown]
# "The average rank of multiple feature maps generated by a single filter is always the same, regardless of the number of
# image batches", says the abstract. On a network that was trained here: the mean ranks over some images beside those over
# others, conv by conv.

# %% tags=["hide-input"]
import torch

from prune_lib.nets import arch_of, load_network
from prune_lib.papers import Start
from prune_lib.runs import Run, run
from prune_lib.tasks import load

source = Run(get_row("cdp/cifar10-dense/resnet20"), budget, seed)
run(
    source.row,
    budget,
    seed,
    device=device,
    data_dir=data_dir or None,
    progress=False,
    again=source.weights("selected") is None,
)
dense = load_network(source.weights("selected")).eval()
recipe = source.row.recipes[budget]
data = load(recipe.data, data_dir or None, heldout=recipe.heldout, train_images=recipe.train_images)
means = []
for half in (0, 1):
    method = hrank.HRank(arch_of("resnet20"), variant="corrected", images=images)
    means.append(method.scores(Start(dense, data, seed + half, "fp32", None)))
lines = [["Convs", "Filters", "Mean rank", "of at most", "Difference of two means", "Same half kept"]]
for stage, side in (("layer1", 32), ("layer2", 16), ("layer3", 8)):
    pairs = [(means[0][conv], means[1][conv]) for conv in means[0] if conv.startswith(stage)]
    one, other = (torch.cat(of) for of in zip(*pairs, strict=True))
    same = [
        len({*a.topk(len(a) // 2).indices.tolist()} & {*b.topk(len(b) // 2).indices.tolist()}) / (len(a) // 2)
        for a, b in pairs
    ]
    lines.append([
        stage, str(len(one)), f"{one.mean():.2f}", str(side), f"{(one - other).abs().mean():.2f}",
        f"{sum(same) / len(same):.0%}",
    ])  # fmt: skip
Grid(lines, f"ResNet-20 at {budget}, {images} images and {images} drawn anew; by chance a half has 50% in common.")

# %% [markdown]
# And of a ResNet-20 of the arena, trained on CIFAR-10 for 18 epochs:

# %% tags=["hide-input"]
from prune_lib.book import gallery

gallery.show("ranks_resnet20", data_dir)

# %% [markdown]
# ## Run

# %% tags=["hide-input"]
from prune_lib.runs import best_record, changed_rows

rows = table_rows("hrank/resnet20-study")
chosen = [row for row in rows if budget != "smoke" or row.title in ("hrank", "random")]
if set:
    rows = chosen = changed_rows(chosen, budget, set)
made = [run(row, budget, seed, device=device, data_dir=data_dir or None, progress=budget != "smoke") for row in chosen]
lines = [["Criterion", "Budget", "FLOPs", "Before", "After"]]
for row in rows:
    if record := best_record(row):
        metrics = record["metrics"]
        lines.append([
            row.title, record["budget"], f"{metrics['flops']:,}", f"{metrics['top1_before']:.2f}",
            f"{metrics['top1_last']:.2f}",
        ])  # fmt: skip
best = [record for row in rows if (record := best_record(row))]
Grid(
    lines,
    "ResNet-20 at a rate of 20 %: test top-1 (%) as pruned, and at the last epoch of the training after it.",
    records=best,
)
