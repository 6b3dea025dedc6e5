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
# # FilterExpo in detection
#
# CHEX {cite}`hou2022chex` trains Mask R-CNN and SSD300 over ResNet-50 too, and prunes and regrows the filters of the
# backbone as in [classification](filterexpo_imagenet). Mask R-CNN gives boxes and masks: one training, two rows.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: a minute or two; short: longer; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where coco/ is, for paper; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
net = "small"  # small: a thin ResNet-18 on drawn images; published: the networks of the tables

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), budget=("smoke", "tiny", "short", "paper"), seed=int, device=str, data_dir=str, set=(str, dict),
    net=("small", "published"),
)  # fmt: skip

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("filterexpo/detection", "filterexpo/segmentation")

# %% [markdown]
# ## What CHEX says

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.tables import load_table
from prune_lib.papers import get_row

display(load_table("filterexpo/detection"), load_table("filterexpo/segmentation"))

# %% tags=["hide-input"]
for name in ("mask_rcnn_bbox", "ssd_50"):
    row = get_row(f"filterexpo/detection/{name}")
    display(Markdown(f"**{row.title}.** {row.note}"))

# %% [markdown]
# ## What pruning the backbone can save
#
# The published code prunes the backbone and nothing else. So the cut of the whole network is at most the backbone's share
# of it, whatever the sparsity; here it is beside the printed cut, counted on shapes alone by CHEX's counter.

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid
from prune_lib.cost import cost
from prune_lib.nets import arch_of, build
from prune_lib.papers.filterexpo import norms

lines = [["Network", "Input", "FLOPs", "Channels that can go", "All but one of each gone", "Printed cuts"]]
for arch, printed in (("mask_rcnn", "63%"), ("ssd300", "50%, 75%")):
    about = arch_of(arch)
    can_go = {conv: about.filters[conv] for conv in norms(build(arch), about)}
    counted = cost(arch, {conv: 1 for conv in can_go if "downsample" not in conv}, "chex")
    lines.append([
        arch, "{2} x {1}".format(*about.image), f"{counted.base_flops:,}", f"{sum(can_go.values()):,}",
        f"{counted.flops_cut:.1f}% less", printed,
    ])  # fmt: skip
Grid(lines, "A network whose convs keep one filter each where they can lose any is as small as the method can make it.")

# %% [markdown]
# ## Run
#
# Each network twice, with nothing pruned and by FilterExpo: the class that [classification](filterexpo_cifar10) uses.
# Every set has COCO's own format, the drawn one too, and goes through the same reader, training and metric.

# %% tags=["hide-input"]
from prune_lib.book.compared import compare

names = {
    "Mask R-CNN, full": "filterexpo/detection-small/dense", "Mask R-CNN, compact": "filterexpo/detection-small/explore",
    "SSD, full": "filterexpo/ssd-small/dense", "SSD, compact": "filterexpo/ssd-small/explore",
}  # fmt: skip
if net == "published":
    published = ("detection-dense/mask_rcnn", "detection/mask_rcnn_bbox", "detection-dense/ssd300", "detection/ssd_50")
    names = {name: f"filterexpo/{row}" for name, row in zip(names, published, strict=True)}
all_four = compare(names, budget, seed, device=device, data_dir=data_dir, given=set)

# %% tags=["hide-input"]
heads = ("AP", "AP50", "AP75", "segm_AP", "segm_AP50", "segm_AP75")
lines = [["Network", "Budget", "Data", "FLOPs", "Filters of the backbone", *heads]]
for name, record in all_four.records.items():
    metrics, found = record["metrics"], record.get("found", {})
    full = arch_of(record["arch"]).filters
    figures = [metrics.get(f"{head}_last") for head in heads]
    kept = sum((found.get("widths") or full).values())
    lines.append([
        name, budget, record["provenance"]["data"]["name"], f"{metrics['flops']:,}", f"{kept:,} of {sum(full.values()):,}",
        *("–" if figure is None else f"{figure:.1f}" for figure in figures),
    ])  # fmt: skip
Grid(
    lines,
    "Test, last epoch, in percent; segm: of masks. On drawn data it shows that the line works, no more.",
    records=list(all_four.records.values()),
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Training loss and test AP of each epoch, of Mask R-CNN in full and compact"}}
from prune_lib.book.captions import captioned

masks = all_four.only("Mask R-CNN, ")
captioned(
    masks.losses(),
    "Mask R-CNN, full and compact: training loss, and test AP of the epochs that were evaluated.",
    masks.records.values(),
)

# %% [markdown]
# ## The same images, full and compact

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four test images with annotated boxes and masks, and those that a network finds in full and compact"}}
from prune_lib.book.figures import scenes

for kind, least in (("Mask R-CNN", 0.5), ("SSD", 0.3)):
    both = all_four.only(f"{kind}, ")
    display(
        captioned(
            scenes.detections(both.data, both.data.test[:4], both.predict(4), least),
            f"{kind}: what is annotated in four test images, and what the networks find with a score of {least} or more.",
            both.records.values(),
        )
    )

# %% [markdown]
# ## What stands on what
#
# Anchors, sampling, box coding, losses, suppression and the pasting of masks are torchvision's, around our layers; AP is
# pycocotools'. Mask R-CNN has mmdet's layers but for one mask more, that of the background, which no loss and no answer
# uses. What differs from the published training stands in the notes above.
