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

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: seconds; short: minutes; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where coco/ is, for paper; empty: $PRUNE_DATA, else data/
net = "small"  # small: a thin ResNet-18 on drawn images; published: the network of the table

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), budget=("smoke", "short", "paper"), seed=int, device=str, data_dir=str, net=("small", "published")
)

# %% [markdown]
# ## What mmrazor says

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.tables.table import load_table
from prune_lib.nets import arch_of
from prune_lib.papers.rows import get_row

TABLE = "mmrazor/detection"
published = get_row(f"{TABLE}/faster_rcnn")
_, height, width = arch_of(published.arch).image
display(load_table(TABLE))
display(Markdown(f"Counted for one image of {width} x {height} pixels. {published.note}"))

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
from prune_lib.papers.dcff import DCFF
from prune_lib.runs.runner import run

names = {"full": f"{TABLE}-small/dense", "compact": f"{TABLE}-small/dcff"}
if net == "published":
    names = {"full": f"{TABLE}-dense/faster_rcnn", "compact": f"{TABLE}/faster_rcnn"}
rows = {name: get_row(row) for name, row in names.items()}
options = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke"}
records = {name: run(row, budget, seed, **options) for name, row in rows.items()}
arch = arch_of(rows["compact"].arch)
print(
    f"{arch.name}: {len(DCFF.for_arch(arch, shortcuts=True).filters)} of its {len(arch.filters)} convs in the backbone are fused"
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Training loss and test score of each epoch, of the full and of the compact network"}}
from prune_lib.book.figures import charts, scenes

charts.losses(records, rows["compact"].score)

# %% tags=["hide-input"]
from prune_lib.book.tables.table import side_by_side

side_by_side(records, rows["compact"].score)

# %% [markdown]
# On drawn data this shows that the line works, and says nothing about the table above.

# %% [markdown]
# ## The same images, full and compact

# %% tags=["hide-input"]
import torch

from prune_lib.runs.runner import network
from prune_lib.tasks.images import load

recipe = rows["compact"].recipes[budget]
data = load(recipe.data, data_dir or None, heldout=recipe.heldout, train_images=recipe.train_images)
networks = {name: network(row, budget, seed, "last") for name, row in rows.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four test images with annotated boxes, and those of the full and of the compact network"}}
with torch.inference_mode():
    found = {name: data.predict(model, data.test[:4]) for name, model in networks.items()}
scenes.detections(data, data.test[:4], found, least=0.3)

# %% [markdown]
# ## What stands on what
#
# Anchors, sampling, box coding, losses and suppression are torchvision's, around layers that are counted as mmdet has
# them; AP is pycocotools'. What differs from mmdet's training: torchvision's smooth L1 for boxes, and each image padded
# to the largest of its batch. CHEX's SSD300 and Mask R-CNN are in [a chapter of their own](filterexpo_detection).
