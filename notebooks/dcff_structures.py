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
# # Structures by hand against structures that were searched
#
# DCFF's README sets seven of its hand-made ResNet-50s beside structures found by search: five by ABCPruner
# {cite}`lin2020abcpruner` and two by EagleEye {cite}`li2020eagleeye`, all trained by DCFF. The question is a good one: is
# it the widths that matter, or which filters fill them? The table answers it only if the pairs cost the same.

# %% tags=["parameters", "hide-input"]
budget = ""  # tiny: a few images, minutes; short: 1,000 sample images; paper: all of ImageNet; empty: recounts only
seed = 0
device = "auto"
data_dir = ""  # where imagenet/ or imagenet-sample/ is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # nothing: no row here prunes a trained network
rows = "all"  # which to train: names such as p1_abcpruner or structures-plain/p6_eagleeye, or all
rule = "macs"  # the counting rule beside the table's own, at the end of this chapter

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals(), needed=False, rule=str)

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("dcff/structures", studies=["dcff/structures-plain"])

# %% [markdown]
# ## The table

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid, load_table

TABLE = "dcff/structures"
table = load_table(TABLE)
table

# %% [markdown]
# The hand-made rows and EagleEye's recount under `thop-0.0.31`, ABCPruner's under the older `thop-0.0.30`: its README's
# figures were copied. EagleEye publishes its widths, 37 fractions each; it truncates what is *pruned*, where everyone else
# truncates what is kept.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Reported top-1 over reported FLOPs, for structures made by hand, by ABCPruner and by EagleEye"}}
from prune_lib.book.figures import charts
from prune_lib.cost import Printed

points = {}
for line in table.lines:
    kind, figures = line.row.title.split(",")[0], line.row.reported
    low, high = Printed.read(figures["flops"]).range
    points.setdefault(kind, []).append(((low + high) / 2e9, Printed.read(figures["top1"]).number))
from prune_lib.book.captions import captioned

captioned(
    charts.scatter(points, "reported GFLOPs", "reported top-1 (%)"),
    "Reported top-1 over reported FLOPs, for structures made by hand and for those that were searched.",
    table=TABLE,
)

# %% [markdown]
# The pairs do not cost the same: all of them differ, most by more than a tenth. Read as curves, the searched structures lie
# on or above the ones made by hand, EagleEye's highest. But each point is one run, without seeds, at the best epoch on
# the validation set; a few tenths say nothing.

# %% [markdown]
# ## Which widths did ABCPruner find?
#
# They are not public: its README prints totals. But a *honey* is sixteen whole numbers from 1 to 10, everything else stays
# full, and each block's cost depends on its own number alone. So every honey with the printed totals can be listed.

# %% tags=["hide-input"]
from prune_lib.papers import abcpruner, get_row

PRINTED = {  # ABCPruner's README: its cap on a width in tenths, FLOPs, parameters, filters
    "p1_abcpruner": (3, "944.85M", "7.35M", 20576),
    "p2_abcpruner": (5, "1295.40M", "9.10M", 21426),
    "p3_abcpruner": (7, "1794.45M", "11.24M", 22348),
}
lines = [["Row", "Printed there", "Honeys that have it", "The first of them"]]
for name, (most, flops, params, filters) in PRINTED.items():
    found = abcpruner.fitting(*(Printed.read(text).range for text in (params, flops)), filters, most)
    first = ",".join(map(str, found[0]))
    lines.append(
        [get_row(f"{TABLE}/{name}").title, f"{flops}, {params}, {filters:,} filters", f"{len(found):,}", first]
    )
Grid(
    lines, "Within a stage the order of the blocks after the first cannot be told from totals; each set is given once."
)

# %% [markdown]
# One row is thereby recovered: a single set of widths has the totals of the 945M network, and it is the row's rate list in
# this library. The others are not determined, and stay *not public*.

# %% [markdown]
# ## What the pairs would read under one rule

# %% tags=["hide-input"]
from prune_lib.book.tables import recount

lines = [["Row", "Reported", "thop-0.0.31", rule]]
for line in table.lines:
    if not line.row.unknown:
        lines.append(
            [
                line.row.title,
                line.row.reported["flops"],
                *(f"{recount(line.row, r)['flops']:,}" for r in ("thop-0.0.31", rule)),
            ]
        )
Grid(lines, "Rows whose widths are known, all by the same counter.")

# %% [markdown]
# ## Run
#
# By DCFF as the table has it, and the searched structures also as plain networks, by the recipes of those who searched
# them. The hand-made rows are those of [DCFF on ImageNet](dcff_imagenet), and share their runs.

# %% tags=["hide-input"]
from prune_lib.book.trained import train

train([TABLE, f"{TABLE}-plain"], rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights)
