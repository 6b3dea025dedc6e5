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
# # Explorer
#
# Move the rates of a published row, look at the filters of a trained network in the order of a criterion, take some out
# and watch accuracy and Grad-CAM. In JupyterLab (`make lab`, then *Run > Run All Cells*) what follows are sliders that
# answer within a second; in the book, and wherever papermill runs this notebook, it is one position of each.

# %% [markdown] tags=["remove-cell"]
# **By keyboard:** Tab goes from one control to the next, and Shift+Tab back. Arrow keys move a slider or change a choice;
# the number beside a slider can be typed. [Back to the start page](start_here.py).

# %% tags=["parameters", "hide-input"]
interactive = "auto"  # widgets: yes, no, or auto: where a Jupyter server runs this notebook
row = "dcff/cifar10/vgg16"  # the row to begin with
weights = ""  # a trained network to look into; empty: the ResNet-20 that is committed with this book
arch = "resnet20"  # whose weights they are
data = "auto"  # what it is tested on: cifar10, digits, none; auto: cifar10, or none where it is not at hand
normalise = "own"  # the constants that they were trained with: own (the set's), imagenet, cdp
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
images = 200  # how many test images each position is evaluated on

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), interactive=("auto", "yes", "no"), row=str, weights=str, arch=str, data=("auto", "cifar10", "digits", "none"),
    normalise=("own", "imagenet", "cdp"), data_dir=str, images=int,
)  # fmt: skip

# %% [markdown]
# ## What a spec costs
#
# One slider for each run of equal rates in the list. The counts are those of `prune cost --rule all`, from one pass over
# shapes.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bar chart: filters of each conv, those that the spec keeps in front of all"}}
from prune_lib.book.explorer import pictures, subject, widgets
from prune_lib.papers import get_row

moving = subject.in_lab(interactive)
shown = get_row(row)
counted = subject.recount(shown.arch, shown.rates or subject.unpruned(shown.arch, shown.layout), shown.layout)
widgets.specs(row) if moving else counted.chart

# %% tags=["hide-input"]
None if moving else counted.grid

# %% [markdown]
# ## A trained network
#
# The ResNet-20 that the arena of this book prunes. Another one: `papermill text:notebooks/explorer.py out.ipynb
# -p normalise imagenet -p weights FILE`, or the same words in the cell of parameters.

# %% tags=["hide-input"]
import torch

torch.set_num_threads(
    1
)  # networks this small gain nothing from more, and on a busy machine threads wait for each other
own = bool(weights) or data == "digits"  # not the network whose figures are committed
network = None
if moving or own:
    network = subject.make_subject(weights, arch, data, normalise=normalise, data_dir=data_dir or None, images=images)
    if network.images is None:
        print(
            f"{network.arch.name}: {network.accuracy:.1f} % as recorded. CIFAR-10 is not here, so what needs its images "
            "is as recorded too; 'prune data cifar10 --download' fetches it"
        )
    else:
        print(
            f"{network.arch.name}: {network.accuracy:.1f} % of {len(network.data.test)} test images of {network.data.name}"
        )

# %% [markdown]
# ### Its filters, best first
#
# Weights, and below them what each filter answers to an image; the best first, then the worst. The first layer sees
# colours; of later ones the mean over their inputs is shown.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The filters of a conv with the highest and the lowest scores, and their answers to one image"}}
from IPython.display import Image

from prune_lib.book import gallery

if moving:
    shown = widgets.filters(network)
elif own:
    conv = "layer2.0.conv1" if "layer2.0.conv1" in network.arch.filters else next(iter(network.arch.filters))
    shown = Image(pictures.best_and_worst(network, conv, "cdp", 3))
else:
    shown = None
    gallery.show("filters_resnet20", data_dir)
shown

# %% [markdown]
# ### Some of them taken out
#
# As pruned, not trained on. Convs whose outputs are added lose the same channels, by the sum of their scores, so that the
# smaller network exists; `slim` compares the two before anything is shown.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Test accuracy over the share of filters that go, for each criterion"}}
from prune_lib.book.figures import charts, gradcam

if moving:
    shown = widgets.sparsity(network)
elif own:
    curves = subject.curves(network, [0.0, 0.1, 0.2, 0.4])
    shown = charts.scatter(curves, "share of each layer's filters that goes", "top-1 (%)", f"{arch}, as pruned")
else:
    shown = None
    gallery.show("explorer_curves", data_dir)
shown

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six images and, below each, the Grad-CAM maps of the full and of the pruned network"}}
if own and not moving:
    pruned = subject.prune(network, "cdp", subject.BEGIN)
    _, pixels, labels = network.batch(6)
    maps = {"full": subject.maps(network, network.model), "pruned": subject.maps(network, pruned.model)}
    shown = gradcam.cams(
        pixels,
        [network.data.classes[c] for c in labels],
        {name: found for name, (found, _) in maps.items()},
        {name: said for name, (_, said) in maps.items()},
    )
else:
    shown = None
    if not moving:
        gallery.show("explorer_gradcam", data_dir)
shown

# %% tags=["hide-input"]
subject.compared(network, pruned) if own and not moving else None

# %% [markdown]
# The curves are of one network and the images above; how criteria compare after training on is the matter of the chapters
# on CDP and CFDP.

# %% [markdown]
# ## Where a figure comes from
#
# Which ways of counting print it, as `prune check` says; and whether a figure, its base and its cut agree.

# %% tags=["hide-input"]
from prune_lib.cost import check

widgets.figure() if moving else print(
    check("55.84M", "resnet56", get_row("dcff/cifar10/resnet56").rates, base="125.49M", cut="55.5%")
)
