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
# # DCFF in segmentation
#
# PointRend {cite}`kirillov2020pointrend` on a feature pyramid over DCFF's ResNet-50 v1c. It scores classes coarsely,
# at a quarter of the resolution, and then asks again at the points where it is least sure: along edges.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: seconds; short: minutes; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where cityscapes/ is, for paper; empty: $PRUNE_DATA, else data/
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

opening("mmrazor/segmentation")

# %% [markdown]
# ## What mmrazor says

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.compared import counted_for
from prune_lib.book.tables import load_table
from prune_lib.papers import get_row

TABLE = "mmrazor/segmentation"
display(load_table(TABLE), Markdown(counted_for(get_row(f"{TABLE}/pointrend"))))

# %% [markdown]
# Parameters and FLOPs print exactly, but under a reading that was *inferred because it fits*: BatchNorm counts nothing,
# as SyncBN does in mmrazor's counter, and the points of both refinements are counted.

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
    names = {"full": f"{TABLE}-dense/pointrend", "compact": f"{TABLE}/pointrend"}
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

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three test streets, their labels, and the classes by the full and by the compact network"}}
import torch

from prune_lib.book.figures import scenes

opened = [both.data.open(item) for item in both.data.test[:3]]
with torch.inference_mode():
    classes = {
        name: [both.data.predict(model, both.data.images([pixels]))[0] for pixels, _ in opened]
        for name, model in both.networks.items()
    }
captioned(
    scenes.streets([pixels for pixels, _ in opened], {"labels": [labels for _, labels in opened], **classes}),
    "Three test streets: their labels, and the classes that the full and the compact network give.",
    both.records.values(),
)

# %% [markdown]
# **Refined by points.** Left to right: the labels; the compact network's coarse scores, enlarged; the same with its least
# sure points asked again, in two steps; and the full network's.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A part of a street: labels, coarse and refined classes of the compact network, refined ones of the full network"}}
pixels, labels = opened[0]
images, (tall, wide) = both.data.images([pixels]), labels.shape
with torch.inference_mode():
    coarse = both.networks["compact"].refine(images, 0).argmax(1)[0]
window = (tall // 8, wide // 4, tall * 3 // 4, wide // 2)
maps = {"labels": labels, "compact, coarse": coarse, "compact, refined": classes["compact"][0]}
captioned(
    scenes.edges(pixels, {**maps, "full, refined": classes["full"][0]}, window),
    "A part of a street: its labels, the compact network's coarse classes, the same refined by points, and the full network's.",
    both.records.values(),
)

# %% [markdown]
# ## What stands on what
#
# mIoU is over the 19 classes of Cityscapes; one that is neither in the labels nor guessed anywhere is left out, so on
# drawn streets it is over fewer. Training crops, scales and mirrors; mmseg's changes of colour are left out.
