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
# # DCFF on CIFAR-10
#
# *Training Compact CNNs for Image Classification using Dynamic-coded Filter Fusion* {cite}`lin2021training` trains a
# compact network from scratch. Each of its filters is a weighted average of a bank of full width, and which averages
# are used is decided anew, by a score, before every epoch. The authors publish four networks for CIFAR-10
# {cite}`krizhevsky2009learning`: VGG-16 {cite}`simonyan2015very`, ResNet-56 and -110 {cite}`he2016deep`, and GoogLeNet
# {cite}`szegedy2015going`.
#
# Everything about it on one page: its <a href="../reviews/dcff.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, under an hour on two cores; also tiny, fast, paper
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # nothing: no row here prunes a trained network
rows = "all"  # which to train: names such as resnet56, or all
cam_arch = "resnet56"  # which network Grad-CAM looks at, full and compact

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(
    globals(), cam_arch=("vgg16", "resnet56", "resnet110", "googlenet")
)  # fmt: skip

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("dcff/cifar10", claims=True)

# %% [markdown]
# ## What the paper says

# %% tags=["hide-input"]
from prune_lib.book.captions import captioned
from prune_lib.book.figures import charts, gradcam
from prune_lib.papers import dcff, table_rows

TABLE = "dcff/cifar10"
table = table_rows(TABLE)

# %% [markdown]
# Each row is a string of rates; for VGG-16, one for each conv:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bar chart: filters of each conv of VGG-16, those kept in front of all"}}
from prune_lib.nets import arch_of

vgg = table[0]
captioned(
    charts.widths(arch_of(vgg.arch).filters, vgg.widths, f"VGG-16, {vgg.rates}"),
    "Filters of each conv of VGG-16: all of them, and in front those that its published rates keep.",
    table=TABLE,
)

# %% [markdown]
# ## The method
#
# **Proxies** (section 3.2). Filter $j$ of a bank $\mathbf W_1, \dots, \mathbf W_C$ is described by how near it is to every other,
#
# $$P_{jl} = \frac{\exp(-T\, \lVert \mathbf W_j - \mathbf W_l \rVert_2)}{\sum_{l'} \exp(-T\, \lVert \mathbf W_j - \mathbf W_{l'} \rVert_2)} .$$

# %% tags=["remove-input"]
charts.source(dcff.similarity)

# %% [markdown]
# **Importance.** A filter matters when its distribution is unlike the others',
#
# $$I_j = \frac 1C \sum_k \mathrm{KL}(P_j \,\Vert\, P_k)
#       = \sum_l P_{jl} \log P_{jl} - \frac 1C \sum_l P_{jl} \sum_k \log P_{kl} .$$
#
# The right-hand side needs no $C \times C \times C$ tensor, nor even a $C \times C$ table of divergences: it is a
# matrix-vector product.

# %% tags=["remove-input"]
charts.source(dcff.importance)

# %% [markdown]
# **Fusion** (section 3.3). The rows of $P$ with the highest scores give the compact conv its filters,
# $\tilde{\mathbf W} = P_{\mathrm{best}} \mathbf W$. The bank $\mathbf W$ is what is trained, biases alike. At the end
# $\tilde{\mathbf W}$ is exported as plain weights.

# %% [markdown]
# (temperature)=
# ### What the temperature schedule really does
#
# The paper lets $T$ grow from 1 to 10,000, so that averages turn gradually into single filters.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The temperature jumps from 1 to 4,622 in one epoch and is at its end of 10,000 after ten"}}
captioned(
    charts.temperature(dcff.temperature),
    "The temperature of the published schedule over a run of 300 epochs, and over the first epochs of it.",
)

# %% [markdown]
# There is nothing gradual: with the published constants $T$ is 1 in the first epoch and 4,622 in the second, whatever
# the length of the run. At $T = 4622$ a filter at a distance of 0.0225 already weighs $e^{-104}$, which is less than
# float32 can hold. What is left of $P$ is exactly one-hot, $0 \log 0$ is not a number, and the published code keeps a
# layer's former ranking whenever its scores are not all finite. The next cell takes freshly drawn banks and counts.

# %%
import torch

from prune_lib.nets import build

print("epoch  T        layers with finite scores: authors | paper        one-hot rows of P")
for arch in ("vgg16", "resnet56", "googlenet"):
    torch.manual_seed(seed)
    convs = [m.weight for m in build(arch).modules() if isinstance(m, torch.nn.Conv2d)]
    for epoch in (0, 1):
        heat = dcff.temperature(epoch, 300)
        finite = [sum(bool(dcff.importance(w, heat, v).isfinite().all()) for w in convs) for v in dcff.VARIANTS]
        proxies = [dcff.similarity(w, heat) for w in convs]
        one_hot = sum(int((p.max(1).values == 1).sum()) for p in proxies) / sum(len(p) for p in proxies)
        print(f"{epoch:5}  {heat:7.1f}  {arch:10} {finite[0]:3} | {finite[1]:3} of {len(convs):3}        {one_hot:.0%}")

# %% [markdown]
# So the ranking of epoch 0, of *random* filters, decides which filters are used; from epoch 1 on they are used as they
# are, and the others receive nothing but weight decay. That is random selection at initialisation, followed by ordinary
# training of a narrow network.
#
# The variant `paper` computes the same formula from logarithms, which cannot underflow, and so goes on ranking. Its
# limit is a known criterion: as $T \to \infty$,
#
# $$\frac{I_j}{T} \to \frac 1C \sum_k \lVert \mathbf W_j - \mathbf W_k \rVert_2 ,$$
#
# the mean distance to the others. DCFF then keeps the filters farthest from all others, as pruning by the geometric
# median does {cite}`he2019filter`.
#
# A ranking that is taken anew need not change, though. Only the chosen filters learn; the others get nothing but weight
# decay, which draws all of them together alike. The order can change most easily in the second epoch, when $T$ jumps.
# ResNet-20 was trained by both variants at the arena's budget, from the same first weights. Whether the formula makes
# the better network is one of [the claims](claims).

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars, one for each epoch: by the formula layers are ranked in all of them, by the published code in the first alone"}}
from prune_lib.papers.rows import get_row
from prune_lib.runs.records import best_record, records

variants = table_rows("arena/scratch50")
anew = {
    run["seed"]: sum(run["curves"]["layers_reranked"]) for run in records(get_row("arena/scratch50/dcff_paper"), "fast")
}
changed = ", ".join(f"{layers} of seed {seed}" for seed, layers in sorted(anew.items()))
both = {row.title: best for row in variants if row.method["name"] == "dcff" and (best := best_record(row))}
captioned(
    charts.rankings(both) if both else None,
    "ResNet-20 from scratch by the published code and by the formula: in how many layers the scores were finite, and "
    f"in how many the choice of filters changed, in each epoch. Layers that changed by the formula, over all epochs: {changed}.",
    both.values(),
)

# %% [markdown]
# ## Run
#
# Each row is trained once at the budget of this notebook; a run that has a record is not repeated.

# %% tags=["hide-input"]
from prune_lib.book.trained import train
from prune_lib.runs import changed_rows, run

trained = train(TABLE, rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights)
trained

# %% [markdown]
# ## Reported, recounted, measured, verdict
#
# Each row shows its records of the highest budget there is; the column says which.

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table(TABLE)

# %% [markdown]
# ## Training curves

# %% tags=["hide-input"] mystnb={"image": {"alt": "Training and test top-1 over the epochs, a panel for each network"}}
from prune_lib.papers.rows import TRIALS

best = {row.title: best_record(row) for row in trained.rows or table}
if any(record["budget"] not in TRIALS for record in best.values()):  # then trials on digits are left out
    best = {title: record for title, record in best.items() if record["budget"] not in TRIALS}
captioned(
    charts.curves(best),
    "Top-1 on training and test images over the epochs, a panel for each network, with its budget and seed.",
    best.values(),
)

# %% [markdown]
# In how many layers the scores were finite, and in how many the choice of filters changed, epoch by epoch, as measured
# in the same runs:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bars: in how many layers scores were finite, and the choice of filters changed, in each epoch"}}
captioned(
    charts.rankings(best),
    "In how many layers the scores were finite, and in how many the choice of filters changed, in each epoch.",
    best.values(),
)

# %% [markdown]
# ## Grad-CAM, full against compact
#
# Where do the two networks look {cite}`selvaraju2017gradcam`? Images, layer and class were fixed beforehand: the first
# test image of each class, the last layer with maps of at least 4x4 pixels, the true class. Both networks are the last
# epoch's, trained by the same recipe. Below each map stand the class its network predicts and, for the compact one, its
# correlation with the full network's map and the overlap of their hottest fifths. An untrained network of the same
# widths is the control: what chance gives. Digits have nothing to look at: at `smoke` no map is drawn here, and
# [a chapter of its own](grad_cam) shows maps of real images.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten images and, below each, the Grad-CAM maps of the full, the compact and an untrained network"}}
from prune_lib.papers import get_row, open_data
from prune_lib.runs import network
from prune_lib.system import InputError


def look(model):
    """Predicted classes and Grad-CAM maps of the images below."""
    with torch.inference_mode():
        predicted = model.eval()(inputs).argmax(1)
    return [data.classes[c] for c in predicted], gradcam.grad_cam(model, arch_of(cam_arch).cam_layer, inputs, labels)


both = [get_row(f"{TABLE}/{cam_arch}"), get_row(f"{TABLE}-dense/{cam_arch}")]
compact_row, full_row = changed_rows(both, budget, set)
recipe = compact_row.recipes[budget]
data = open_data(recipe, data_dir or None)
first = torch.tensor([int((data.test.labels == label).nonzero()[0]) for label in range(len(data.classes))])
inputs, labels = data.normalise(data.test.images[first]), data.test.labels[first]
try:
    if recipe.data == "digits":
        raise InputError("No map is drawn of digits.")
    run(full_row, budget, seed, device=device, data_dir=data_dir or None, progress=budget != "smoke")
    networks = {"full": network(full_row, budget, seed), "compact": network(compact_row, budget, seed)}
except InputError as missing:  # a record from elsewhere, whose weights are not here
    networks = {}
    print(missing)
if networks:
    torch.manual_seed(seed)
    networks["untrained"] = build(cam_arch, compact_row.widths, len(data.classes))
    looks = {name: look(model) for name, model in networks.items()}
    maps, notes = {name: maps for name, (_, maps) in looks.items()}, {"full": looks["full"][0]}
    for name in ("compact", "untrained"):
        alike = gradcam.agreement(maps["full"], maps[name])
        notes[name] = [f"{c}\nr {r:.2f}, IoU {o:.2f}" for c, (r, o) in zip(looks[name][0], alike, strict=True)]
        r, o = (sum(values) / len(values) for values in zip(*alike, strict=True))
        print(f"{name:9} against full, mean of {len(alike)} images: correlation {r:.2f}, overlap {o:.2f}")
shown = gradcam.cams(data.test.images[first], [data.classes[c] for c in labels], maps, notes) if networks else None
captioned(
    shown,
    f"Grad-CAM of {cam_arch}: the first test image of each class, and maps of the full, the compact and an untrained network.",
)

# %% [markdown]
# The same for networks that were trained on CIFAR-10 at the arena's budget: ResNet-20 from scratch with half of its MACs,
# full, by DCFF, and with plain convs of the same widths.

# %% tags=["hide-input"]
from prune_lib.book import gallery

gallery.show("gradcam_dcff", data_dir)

# %% [markdown]
# ## What to know of these rows
#
# What does not follow from the published rates, VGG-16's parameters among it, is listed in [the errata](errata), computed
# from the rows. What else reading the code shows:
#
# - **The temperature** is not gradual, and with the published code the ranking never changes after the first epoch: see
#   [above](temperature).
# - **Accuracy is the best epoch on the test set.** The published code saves its compact network whenever *test* accuracy
#   improves. The column *best on test* repeats that; *selected* and *last* do not.
# - **`--lr_type` is ignored for CIFAR-10** by the published code; all four rows use the step schedule.

# %% [markdown]
# ## The published commands, and ours

# %% tags=["hide-input"]
from prune_lib.book.tables import commands

commands("dcff")
