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
# # Grad-CAM: does a pruned network look where the full one looks?
#
# CFDP shows three Grad-CAM pictures in which the pruned network looks at the same place as the full one, or a better one
# {cite}`khaki2023cfdp`. Pictures that were chosen show little. Here everything is fixed before anything is looked at: the
# first test images of each class, the layer (the last with maps of at least 4x4 pixels), the class (the true one). There
# is a figure for the likeness, a control pruned *at random* to the same widths, and the worst cases beside the best
# {cite}`selvaraju2017gradcam`.

# %% tags=["parameters", "hide-input"]
resnet56 = ""  # a trained ResNet-56, to make its figures anew (minutes); empty: as they are committed
budget = ""  # train a pair of rows and look at them: smoke (digits, seconds), short, paper; empty: nothing is trained
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # with a budget: a trained dense network to prune; empty: the one that the dense row leaves, trained first
pruned = "cdp/resnet20-study/s30_cdp"  # with a budget: the row whose network is looked at
control = "cdp/resnet20-study/s30_random"  # with a budget: the same widths, filters at random
per_class = 10  # with a budget: how many test images of each class the figures are over

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), resnet56=str, budget=("", "smoke", "tiny", "short", "paper"), seed=int, device=str, data_dir=str,
    set=(str, dict), weights=str, pruned=str, control=str, per_class=int,
)  # fmt: skip

# %% [markdown]
# ## The paper's figure, on CIFAR-10
#
# An image, and beside it the map of the full network and that of the pruned one; the last column is the control, which
# the paper does not have.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three images of CIFAR-10; beside each, where the full ResNet-56, the one pruned by CFDP and the one pruned at random look"}}
from prune_lib.book import gallery

paper = gallery.show("gradcam_resnet56", data_dir, resnet56=resnet56)

# %% [markdown]
# ## How alike, in figures
#
# The same three networks over a hundred images. If the row of the control is about as good as that of the criterion, the
# likeness says nothing for the criterion.

# %% tags=["hide-input"]
from prune_lib.book.figures.looks import table
from prune_lib.book.tables import Grid

SAID = "Mean and standard deviation over the first ten test images of each class"
Grid(table(paper.found), f"ResNet-56 at CFDP's published rates. {SAID}.")

# %% [markdown]
# ## One image of each class

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten images of CIFAR-10 and, below each, the maps of the full ResNet-56, the one pruned by CFDP and the one pruned at random"}}
every = gallery.show("gradcam_resnet56_classes", data_dir, resnet56=resnet56)

# %% [markdown]
# ## With less than half of the operations, and more training
#
# The same with networks that are committed with this book, so that anyone with CIFAR-10 makes these figures anew in
# seconds: ResNet-20 at half of its multiply-accumulates, trained on for four epochs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten images of CIFAR-10 and, below each, the maps of the full ResNet-20, the one pruned by CFDP and the one pruned at random"}}
half = gallery.show("gradcam_resnet20", data_dir)

# %% tags=["hide-input"]
Grid(table(half.found), f"ResNet-20 at half of its multiply-accumulates. {SAID}.")

# %% [markdown]
# ### The best and the worst
#
# Five images in which the pruned network's map is most like the full one's, and the five in which it is least.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five images with the most similar maps and five with the least similar ones"}}
extremes = gallery.show("gradcam_resnet20_extremes", data_dir)

# %% [markdown]
# ## Trained from scratch
#
# Is it the weights that are inherited? Two networks of the same widths that never saw the full one's weights: DCFF's, and
# plain convs trained in the usual way, each for eighteen epochs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten images of CIFAR-10 and, below each, the maps of the full ResNet-20, of DCFF's, and of plain convs of the same widths"}}
scratch = gallery.show("gradcam_dcff", data_dir)

# %% tags=["hide-input"]
Grid(table(scratch.found), f"ResNet-20 at half of its multiply-accumulates, from scratch. {SAID}.")

# %% [markdown]
# ## ImageNet
#
# EfficientNet-Lite0 at the true class of photographs of ImageNet. The photographs are not ours to pass on, so the maps
# stand alone; with the sample at hand, `python -m prune_lib.book.gallery gradcam_photographs --out FOLDER` draws them over
# the photographs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Maps of the full EfficientNet-Lite0, the one pruned by CFDP and the one pruned at random, for six photographs that are not shown"}}
large = gallery.show("gradcam_efficientnet", data_dir)

# %% tags=["hide-input"]
Grid(table(large.found), "EfficientNet-Lite0. Mean and standard deviation over two dozen photographs.")

# %% [markdown]
# What to take from it: where the network that was pruned at random is about as like the full one as the network that was
# pruned by a criterion, the likeness says nothing for the criterion. And where networks that were trained from scratch
# are hardly less like it, it says little for the inherited weights either: networks that tell these classes apart look at
# the same places.
#
# ## A pair of your own
#
# `papermill text:notebooks/grad_cam.py out.ipynb -p budget short` trains two rows and looks at them in the same way; any
# two rows, by `-p pruned ROW -p control ROW`. With ImageNet's sample images and torchvision's ResNet-50 weights at hand:
# `-p pruned cfdp/imagenet-study/corrected -p control cfdp/imagenet-study/random -p budget short -p per_class 1 -p weights FILE`,
# over the first ten classes.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The first image of each class and, below each, the maps of the full, the pruned and the randomly pruned network"}}
if budget:
    looks = gallery.pair(
        pruned, control, budget, seed, per_class=per_class, device=device, data_dir=data_dir, given=set, weights=weights
    )
looks.figure(range(0, len(looks.truth), per_class)) if budget else None

# %% tags=["hide-input"]
Grid(table(looks.found()), f"{pruned} and {control}, {budget}, seed {seed}.") if budget else None

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five images with the most similar maps and five with the least similar ones"}}
order = looks.by_likeness("pruned") if budget else []
looks.figure(order[:5] + order[-5:]) if budget else None
