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
# # CDP on CIFAR-10
#
# *Towards Optimal Filter Pruning via Class-wise Discriminative Power* {cite}`xu2021cdp` borrows from text retrieval. A
# filter is a word, an image a document; a filter that answers strongly, to few images, is worth keeping. A trained network
# is looked at once, filters are masked, and it is trained on.
#
# Everything about it on one page: its <a href="../reviews/cdp.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, minutes a row on two cores; also tiny, paper
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # a trained dense network to prune; empty: the one that the dense row leaves, trained first
rows = ""  # which of the paper's own to train: names such as resnet20, or all; empty: only the study below
net = "resnet20"  # whose study is shown: resnet20 or resnet56

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals(), net=("resnet20", "resnet56"))

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("cdp/cifar10", studies=["cdp/resnet20-study"], claims=True)

# %% [markdown]
# ## What the paper says
#
# Four rows. Which filters are masked depends on the data and on a checkpoint, and neither that nor the sparsity is
# published; only the full networks can be recounted.

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table("cdp/cifar10")

# %% tags=["hide-input"]
from prune_lib.book.trained import train

OWN = "cdp/cifar10"
train(OWN, rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights) if rows else None

# %% [markdown]
# ## The method
#
# Let $f_{cn}$ be the mean of filter $c$'s rectified answer to image $n$, before its BatchNorm, and
# $\mathcal A_c$ the images to which it answers at least as much as on average. Then
#
# $$I_c = \frac{1}{|\mathcal A_c|} \sum_{n \in \mathcal A_c} \frac{b\, f_{cn}}{\sum_{c'} f_{c'n}}
#        \cdot \ln \frac{N}{|\mathcal A_c| + 1},$$
#
# with $b = 1$, or $b = \ln(e\,C/\mathrm{coe})$ to make up for the small shares of wide layers.

# %% tags=["remove-input"]
from prune_lib.book.figures import charts
from prune_lib.papers import cdp

charts.source(cdp.importance)

# %% [markdown]
# **One threshold for all layers.** Scores are not normalised; the published code masks every filter that is not *above*
# the lowest of the best, and lets a layer lose everything. Here such a layer keeps its best filter, and the record names it.

# %% tags=["remove-input"]
charts.source(cdp.keep_above)

# %% [markdown]
# **Masks are not removal.** The published masks multiply a filter's weights by 0, and nothing else: its BatchNorm still
# emits a constant, which the next layer reads. Such a network has no smaller form with the same outputs. The studies below
# mask the BatchNorm too; then `slim` builds the smaller network and refuses if the two differ by more than 1e-5. And where
# outputs are added, a channel goes only if *no* conv, and no shortcut, still writes to it. So there are two counts:

# %% tags=["hide-input"]
from tqdm import tqdm

from prune_lib.papers import table_rows
from prune_lib.runs import best_record, changed_rows, run

STUDY = f"cdp/{net}-study"
study = table_rows(STUDY)
options = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke", "weights": weights or None}
chosen = study if budget != "smoke" else [row for row in study if row.method["sparsity"] in (0.3, 0.4)][:3]
if set:
    study = chosen = changed_rows(chosen, budget, set)
made = [run(row, budget, seed, **options) for row in tqdm(chosen, desc=f"{STUDY}, {budget}", unit="row")]

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid
from prune_lib.cost import cost

best = {row.id: record for row in study if (record := best_record(row))}
full = cost(net, None, "cdp").flops
lines = [
    ["Row", "Budget", "Masked, by CDP's counter", "Removed, multiply-accumulates", "Before", "After", "Emptied layers"]
]
for row in study:
    if record := best.get(row.id):
        metrics, found = record["metrics"], record["found"]
        lines.append([
            row.title, record["budget"], f"{metrics['flops']:,} ({metrics['flops'] / full:.1%})",
            f"{metrics['macs_slim']:,} ({metrics['macs_slim'] / full:.1%})", f"{metrics['top1_before']:.2f}",
            f"{metrics['top1_last']:.2f}", ", ".join(found["emptied"]) or "none",
        ])  # fmt: skip
Grid(lines, f"{net}: sparsity and criterion; test top-1 (%) as pruned, and at the last epoch of the training after it. "
     f"The full network has {full:,}.", records=list(best.values()))  # fmt: skip

# %% [markdown]
# The first count is the paper's. The second is what one can deploy: it is smaller where inner filters went, and larger
# where filters of the residual stream were masked in some convs only, since their channels stay.

# %% [markdown]
# ## Does the criterion matter?
#
# Every baseline has as many filters in each layer as CDP chose, the same recipe and seed; *uniform* has one share for all
# layers, at CDP's FLOPs; *scratch* has CDP's masks on fresh weights.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Top-1 over the share of FLOPs that stays, before and after training on, for CDP and the baselines"}}
from prune_lib.book.captions import captioned

captioned(
    charts.tradeoff([(row, best[row.id]) for row in study if row.id in best], full),
    f"{net}: test top-1 over the share of the FLOPs that stays, as pruned and after training on; a line for each criterion, "
    "with its budget.",
    best.values(),
)

# %% [markdown]
# How to read it: the left panel is the criterion alone. The right panel is what a short training makes of it, at the
# budget that the table names; at `short` that is one or two passes over 10,000 images, which favours whoever starts
# higher, and is no basis for a verdict on the paper.

# %% [markdown]
# ## Which layers lose
#
# A threshold over all layers compares shares: in a wide layer each filter's share is small, so wide layers lose most.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Filters of each conv of the full network and those that CDP keeps"}}
from prune_lib.nets import arch_of

shown = next(
    (
        best[row.id]
        for row in study
        if row.id in best and row.method["criterion"] == "cdp" and row.method["sparsity"] >= 0.3
    ),
    None,
)
kept = (
    charts.widths(arch_of(net).filters, shown["found"]["kept"], f"{shown['row']}, {shown['budget']}") if shown else None
)
captioned(
    kept, f"Filters of each conv of {net}: all of them, and in front those that CDP keeps.", [shown] if shown else []
)

# %% [markdown]
# ## The published commands, and ours

# %% tags=["hide-input"]
from prune_lib.book.tables import commands

commands("cdp")
