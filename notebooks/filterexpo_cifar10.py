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
# # FilterExpo on CIFAR-10
#
# FilterExpo, published as *CHEX: CHannel EXploration for CNN Model Compression* {cite}`hou2022chex`, needs no trained
# network. While one trains from scratch, channels are pruned and some of the pruned ones come back, in turns; fewer come
# back each time, and by the end the budget is met. Its tables are of ImageNet ({doc}`filterexpo_imagenet`). Here the same
# method runs on the networks of the other papers, which nobody has published.
#
# Everything about it on one page: its <a href="../reviews/filterexpo.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, minutes a row on two cores; also tiny, paper
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # nothing: no row here prunes a trained network
rows = ""  # which other networks to train too: vgg16, resnet56, resnet110, googlenet, or all; empty: only ResNet-20

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals())

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("filterexpo/imagenet", studies=["filterexpo/resnet20-study"], claims=True)

# %% [markdown]
# ## The method
#
# **Which filters a layer keeps.** Column subset selection {cite}`boutsidis2009improved`: with the layer's filters as the
# columns of $X$ and $V_k$ its first $k$ right singular vectors, filter $j$ scores $\lVert (V_k)_{j\cdot}\rVert_2$, its part
# in the best approximation of rank $k$. A filter that others can replace scores low however large it is.

# %% tags=["remove-input"]
from prune_lib.book.figures import charts
from prune_lib.papers import filterexpo

charts.source(filterexpo.leverage_scores)

# %% [markdown]
# **How many a layer keeps** is decided over all layers at once, by the size of the BatchNorm scales. The published code
# compares with a threshold and rounds layer by layer, so that the budget is met only nearly, and a layer can lose
# everything; here the number is met to the channel, and the last of a layer always stays.

# %% tags=["remove-input"]
charts.source(filterexpo.allocate)

# %% [markdown]
# **Which come back.** At epoch $e$ of $E$ explored, a share $\delta_0 (1 + \cos \pi e / E)/2$ of the channels is regrown, with
# the weights that they had when they were pruned. They are drawn with the probability
# $\operatorname{softmax}_j \lVert w_j - \Pi w_j \rVert$, $\Pi$ the projection onto the span of those that stayed: what the
# layer cannot yet say. An earlier commit draws by the distance of a Gram matrix from the identity instead.

# %% tags=["remove-input"]
charts.source(filterexpo.growth)

# %% [markdown]
# ## Run
#
# ResNet-20 from scratch with half of its inner channels, beside four others with the same number of channels, recipe and
# seed: *prune only* (nothing comes back), selection *by L1 norm*, regrowth as in the *earlier commit*, and *uniform width*,
# which is half of every layer from the start; and the network with nothing pruned.

# %% tags=["hide-input"]
from tqdm import tqdm

from prune_lib.papers import table_rows
from prune_lib.runs import best_record, changed_rows, run

STUDY = "filterexpo/resnet20-study"
study = table_rows(STUDY)
options = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke"}
chosen = study if budget != "smoke" else study[:2]
if set:
    study = chosen = changed_rows(chosen, budget, set)
made = [run(row, budget, seed, **options) for row in tqdm(chosen, desc=f"{STUDY}, {budget}", unit="row")]

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid, load_line, mean_sd

best = {row.id: record for row in study if (record := best_record(row))}
lines = [["Row", "Budget", "Seeds", "Channels", "FLOPs (chex)", "Top-1, last epoch", "Best on test, in budget"]]
for line in map(load_line, study):
    if record := best.get(line.row.id):
        metrics, seeds = record["metrics"], ", ".join(map(str, line.accuracy.seeds))
        lines.append([
            line.row.title, record["budget"], seeds, str(record["curves"]["channels"][-1]), f"{metrics['flops']:,}",
            mean_sd(line.accuracy, "last"), mean_sd(line.accuracy, "test_best"),
        ])  # fmt: skip
Grid(
    lines,
    "ResNet-20: channels of the nine inner convs that are kept, of 336, and FLOPs, of the first seed; test top-1 in "
    "percent, mean and standard deviation over the seeds. Epochs with more channels than the budget count for nothing.",
    records=list(best.values()),
)

# %% [markdown]
# How to read it: all rows but the last have the same number of channels, not of FLOPs, since a channel of an early layer
# costs more; a row with more FLOPs and a better accuracy proves nothing by itself. Three seeds of a short training cannot
# rank rows that are within a point of each other.

# %% [markdown]
# ## Where the channels go
#
# From the run of *FilterExpo* above with the highest budget there is a record of. Blue: channels of the layer. Shaded:
# those among them that had been pruned before.

# %% tags=["hide-input"] mystnb={"image": {"alt": "One panel for each conv: its number of channels after each exploration, and how many of them had come back"}}
from prune_lib.nets import arch_of
from prune_lib.nets.slim import from_text

shown = next(best[row.id] for row in study if (row.of or row.id) == f"{STUDY}/explore")
filters = {conv: arch_of(shown["arch"]).filters[conv] for conv in shown["found"]["layers"]}
explorations = [
    (epoch, from_text(text, filters)) for epoch, text in enumerate(shown["curves"]["kept"]) if text is not None
]
from prune_lib.book.captions import captioned

captioned(
    charts.channel_flow(explorations, f"{shown['row']}, {shown['budget']}, seed {shown['seed']}"),
    "Channels of each conv after each exploration; shaded, those among them that had been pruned before.",
    [shown],
)

# %% [markdown]
# ## Which were pruned, and came back

# %% tags=["hide-input"] mystnb={"image": {"alt": "A line for each filter, over the epochs: kept so far, pruned, or kept again after it had been pruned"}}
captioned(
    charts.filter_lives(explorations, f"every filter of the inner convs, {shown['budget']}"),
    "What became of every filter over the epochs, a line each: kept so far, pruned, or kept again.",
    [shown],
)

# %% [markdown]
# ## Final widths

# %% tags=["hide-input"] mystnb={"image": {"alt": "Filters of each conv of the full network and those that FilterExpo keeps"}}
captioned(
    charts.widths(
        arch_of(shown["arch"]).filters,
        {**arch_of(shown["arch"]).filters, **shown["found"]["kept"]},
        f"{shown['row']}, {shown['budget']}",
    ),
    "Filters of each conv: all of them, and in front those that FilterExpo keeps at the end.",
    [shown],
)

# %% tags=["hide-input"]
from prune_lib.book.trained import train

OWN = "filterexpo/cifar10"
train(OWN, rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights) if rows else None

# %% [markdown]
# ## Beside the other papers
#
# Rows of all papers for ResNet-56, by the share of the FLOPs that stays under each paper's own rule. What is measured has
# the budget that is printed with it; a `short` run and a reported accuracy cannot be compared.

# %% tags=["hide-input"]
from prune_lib.cost import Printed, cost
from prune_lib.papers import all_rows

lines = [["Row", "Share of the FLOPs", "Top-1 reported", "Best on test, measured", "Budget"]]
for row in all_rows().values():
    record = best_record(row) if row.method else None
    if row.arch == "resnet56" and "study" not in row.id and "dense" not in row.id and (record or row.reported):
        full = cost(row.arch, None, row.rule, row.layout).flops
        flops = record["metrics"]["flops"] if record else Printed.read(row.reported["flops"]).value
        lines.append([
            row.id, f"{flops / full:.1%}", row.reported.get("top1", "–"),
            f"{record['metrics']['top1_test_best']:.2f}" if record else "–", record["budget"] if record else "–",
        ])  # fmt: skip
Grid(lines, "Every row of ResNet-56 on CIFAR-10 that reports an accuracy or has a record here.")
