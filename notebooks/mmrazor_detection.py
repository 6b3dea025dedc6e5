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
# # DCFF in detection
#
# mmrazor puts DCFF's ResNet-50 under Faster R-CNN with a feature pyramid. Only the backbone is pruned; pyramid, region
# proposals and box head are as they were, and have more than half of the parameters.
#
# Everything about it on one page: its <a href="../reviews/mmrazor.html">review sheet</a>.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: seconds; short: minutes; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where coco/ is, for paper; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
net = "small"  # small: a thin ResNet-18 on drawn images; published: the network of the table

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), budget=("smoke", "tiny", "short", "paper"), seed=int, device=str, data_dir=str, set=(str, dict),
    net=("small", "published"),
)  # fmt: skip

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("mmrazor/detection")

# %% [markdown]
# ## What mmrazor says

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.compared import counted_for
from prune_lib.book.tables import load_table
from prune_lib.papers import get_row

TABLE = "mmrazor/detection"
display(load_table(TABLE), Markdown(counted_for(get_row(f"{TABLE}/faster_rcnn"))))

# %% [markdown]
# The printed parameters hold a classifier of 1,000 classes that a detector has no use for: 1,843 channels times 1,000
# classes and their biases are 1,844,000, and with them the count prints as 33.31M. Without them it does not.

# %% [markdown]
# ## Run
#
# The same network twice: all its filters, and DCFF's. DCFF is the parametrization that
# [classification](dcff_cifar10) uses, with no line of its own here; the recipe says how often the filters are scored.
# Every set has the published format, the drawn one too, and goes through the same reader, training and metric.

# %% tags=["hide-input"]
from prune_lib.book.compared import compare, fused

names = {"full": f"{TABLE}-small/dense", "compact": f"{TABLE}-small/dcff"}
if net == "published":
    names = {"full": f"{TABLE}-dense/faster_rcnn", "compact": f"{TABLE}/faster_rcnn"}
both = compare(names, budget, seed, device=device, data_dir=data_dir, given=set)
print(fused(both.rows["compact"]))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Training loss and test metric of each epoch, of the full and of the compact network"}}
from prune_lib.book.captions import captioned

captioned(
    both.losses(),
    "Training loss, and the test metric of the epochs that were evaluated, of the full and of the compact network.",
    both.records.values(),
)

# %% tags=["hide-input"]
both.table()

# %% [markdown]
# On drawn data this shows that the line works, and says nothing about the table above.

# %% [markdown]
# ## The same images, full and compact

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four test images with annotated boxes, and those of the full and of the compact network"}}
from prune_lib.book.figures import scenes

captioned(
    scenes.detections(both.data, both.data.test[:4], both.predict(4), least=0.3),
    "Four test images: what is annotated, and what the full and the compact network find.",
    both.records.values(),
)

# %% [markdown]
# ## What stands on what
#
# Anchors, sampling, box coding, losses and suppression are torchvision's, around layers that are counted as mmdet has
# them; AP is pycocotools'. What differs from mmdet's training: torchvision's smooth L1 for boxes, and each image padded
# to the largest of its batch. CHEX's SSD300 and Mask R-CNN are in [a chapter of their own](filterexpo_detection).

# %% [markdown]
# ## The published commands, and ours

# %% tags=["hide-input"]
from prune_lib.book.tables import commands

commands("mmrazor")
