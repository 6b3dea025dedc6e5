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
# # What is a FLOP? One network under every rule
#
# Every paper here prints "FLOPs". No two of their counters add up the same things. This chapter counts one network by
# each rule, shows which layers make the difference, and settles two cases in which the same network is printed with two
# figures.

# %% tags=["parameters", "hide-input"]
arch = "resnet50"  # any network of prune_lib.nets.ARCHS
rates = "[0.0]+[0.35]*10+[0.3]*6+[0.4]*10+[0.3]*6+[0.1]*4"  # a rate list of that network's first layout

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), arch=str, rates=str)

# %% [markdown]
# ## What there is to count
#
# An image passes convs, biases, BatchNorm, activations, pools and a linear layer. Each term below is counted once:

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid
from prune_lib.cost import RULES, cost, terms
from prune_lib.nets import arch_of, read_spec

widths = read_spec(arch, rates)[1]
full, compact = terms(arch), terms(arch, widths)
Grid(
    [["Term", "Full", "Pruned", "Left"]]
    + [
        [name, f"{full[name]:,}", f"{n:,}", f"{n / full[name]:.1%}" if full[name] else "–"]
        for name, n in compact.items()
    ],
    f"{arch}, full and at the rates {rates}, for one image of {'x'.join(map(str, arch_of(arch).image))}.",
)

# %% [markdown]
# ## How each rule adds them up
#
# One FLOP is one multiply-accumulate throughout, as in all of these papers; sources that count it as two print twice as
# much. The rules differ in everything else.

# %% tags=["hide-input"]
counted = {name: cost(arch, widths, name) for name in RULES}
Grid(
    [["Rule", "Full", "Pruned", "Cut", "Counts"]]
    + [[n, f"{c.base_flops:,}", f"{c.flops:,}", f"{c.flops_cut:.2f}%", RULES[n].text] for n, c in counted.items()],
    f"{arch} under every rule. By most of them {counted['macs'].params:,} of {counted['macs'].base_params:,} parameters.",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars: by how many operations each rule exceeds the multiply-accumulates of the pruned network"}}
from prune_lib.book.captions import captioned
from prune_lib.book.figures import charts

captioned(
    charts.above({name: c.flops for name, c in counted.items()}, "macs", f"{arch}, pruned"),
    f"{arch}, pruned: how much more than multiply-accumulates each rule counts.",
)

# %% [markdown]
# The spread looks small beside billions of multiply-accumulates. It is not small beside what is claimed: papers compare
# cuts to a tenth of a per cent, and two counters can disagree by more than the difference between two methods.
#
# `cdp` is another matter. It counts a network with *masks*: a filter that is masked is not computed, but the convs that
# read the residual stream still read its channel. The network that one would deploy is smaller than that figure.

# %% [markdown]
# ## What other people's counters print
#
# The packages of the field have rules of their own. Each line begins from the multiply-accumulates; what is named behind
# it adds up to the figure, to the last operation. [By running the packages](../howto/counters.md) we know that they print
# just these.

# %% tags=["hide-input"]
from prune_lib.cost import compared
from prune_lib.cost.counting import layers_of

found = compared(layers_of(arch, widths))
Grid(
    [["Counter", "Figure", "What makes the difference"]]
    + [[line.counter, f"{line.figure:,}", line.why()] for line in found.lines],
    f"{arch} at the rates {rates}: {found.macs:,} multiply-accumulates.",
)

# %% [markdown]
# ## Why two papers print different FLOPs for the same ResNet-50
#
# The authors of DCFF print 2.25B for their third ResNet-50; mmrazor prints 2260M for DCFF. Are these two networks?

# %% tags=["hide-input"]
from prune_lib.book.tables import recount
from prune_lib.cost import prints_like
from prune_lib.papers import get_row

theirs, razor = get_row("dcff/imagenet/r50_2.25b"), get_row("mmrazor/classification/resnet50")
print("same widths:", theirs.widths == razor.widths)
lines = [["Row", "Reported", "thop-0.0.31", "mmrazor"]]
for row in (theirs, razor):
    figures = [recount(row, rule)["flops"] for rule in ("thop-0.0.31", "mmrazor")]
    printed = row.reported["flops"]
    lines.append([row.id, printed, *(f"{n:,} ({prints_like(n, printed)})" for n in figures)])
Grid(lines, "The same widths under the two rules; in brackets as that row prints its figure.")

# %% tags=["hide-input"]
parts = terms(theirs.arch, theirs.widths)
thop, mmrazor = (recount(theirs, rule)["flops"] for rule in ("thop-0.0.31", "mmrazor"))
pool = thop - parts["conv MACs"] - parts["conv bias"] - parts["linear MACs"] - 2 * parts["BatchNorm elements"]
print(f"thop-0.0.31  {thop:,} = MACs, bias, 2 x BatchNorm, and {pool:,} for the last pool")
print(f"mmrazor      {mmrazor:,} = the same without that {pool:,},")
print(f"             with {parts['ReLU outputs']:,} ReLU outputs and {parts['pooling inputs']:,} pooling inputs")
assert mmrazor - thop == parts["ReLU outputs"] + parts["pooling inputs"] - pool

# %% [markdown]
# They are one network. The two figures differ by what the counters make of activations and pools, and each is right
# under its own rule. Their accuracies are another story: the same widths are reported with different top-1, from
# different recipes; see {ref}`the errata <same-network>`.

# %% [markdown]
# ## The same trap inside one table
#
# DCFF's comparison with searched structures copies the figures of ABCPruner's README, which an older thop counted, into
# a table of figures counted by the newer one:

# %% tags=["hide-input"]
lines = [["Row", "Reported", "thop-0.0.30", "thop-0.0.31"]]
for name in ("p1_manual", "p1_abcpruner"):
    row = get_row(f"dcff/structures/{name}")
    lines.append(
        [row.title, row.reported["flops"], *(f"{recount(row, r)['flops']:,}" for r in ("thop-0.0.30", "thop-0.0.31"))]
    )
Grid(lines, "Two rows that the table compares, under both counters.")

# %% [markdown]
# ## Which to use
#
# `macs` for one's own work: it names what it counts, every tool can give it, and nothing in it depends on how a module
# happens to be written. Beside it the paper's own rule, when a paper is compared. Both are one command:
#
# ```bash
# prune cost resnet50 --rates '[0.0]+[0.35]*10+[0.3]*6+[0.4]*10+[0.3]*6+[0.1]*4' --rule all
# ```
