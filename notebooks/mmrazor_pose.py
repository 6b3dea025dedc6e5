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
# # DCFF in pose estimation
#
# Three transposed convs on DCFF's ResNet-50 give a heatmap for each of 17 keypoints of a person
# {cite}`xiao2018simple`. The image is cropped to the person first.

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

opening("mmrazor/pose")

# %% [markdown]
# ## What mmrazor says

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.compared import counted_for
from prune_lib.book.tables import load_table
from prune_lib.papers import get_row

TABLE = "mmrazor/pose"
display(load_table(TABLE), Markdown(counted_for(get_row(f"{TABLE}/topdown_heatmap"))))

# %% [markdown]
# Both counts print exactly, under mmrazor's rule; multiply-accumulates alone would not.

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
    names = {"full": f"{TABLE}-dense/topdown_heatmap", "compact": f"{TABLE}/topdown_heatmap"}
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

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six test figures with annotated keypoints, and those of the full and of the compact network"}}
from prune_lib.book.figures import scenes

captioned(
    scenes.keypoints(both.data, both.data.test[:6], both.predict(6)),
    "Six test figures: annotated keypoints, and those that the full and the compact network find.",
    both.records.values(),
)

# %% [markdown]
# ## What stands on what
#
# AP is pycocotools', by the likeness of keypoints (OKS). Every test image is seen twice, the second time in a mirror, and
# the heatmaps are averaged. Persons are cropped by their annotated boxes; the table has a detector's, with which AP is
# lower. mmpose's crops of half a body are left out of the training.
