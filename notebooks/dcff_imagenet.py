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
# # DCFF on ImageNet
#
# The same method as [on CIFAR-10](dcff_cifar10), on ResNet-50 and a thousand classes {cite}`lin2021training`: six
# ResNet-50s by two schedules, and a MobileNetV2 whose widths were never published.

# %% tags=["parameters", "hide-input"]
budget = (
    "smoke"  # smoke: digits, seconds; short: 1,000 sample images, minutes; paper: ImageNet, 90 or 180 epochs; also tiny
)
seed = 0
device = "auto"
data_dir = ""  # where imagenet/ or imagenet-sample/ is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # nothing: no row here prunes a trained network
rows = "r50_1.49b"  # which to train here, the first of them in full detail: names, or all

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_training

check_training(globals())

# %% tags=["remove-input"]
from prune_lib.book.tables import opening

opening("dcff/imagenet")

# %% [markdown]
# ## What the paper says
#
# A list of 37 rates stands for a ResNet-50: the stem, the first conv of each of 16 blocks, the second of each, and one
# rate for the output of each of four stages, which the shortcut's conv shares. That conv is the only one that DCFF leaves
# as it is; all others have a bank of full width.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bar chart: filters of each conv of ResNet-50, those kept in front of all"}}
from prune_lib.book.figures import charts
from prune_lib.nets import arch_of
from prune_lib.papers import table_rows

TABLE = "dcff/imagenet"
known = [row for row in table_rows(TABLE) if not row.unknown]
shown = next((row for row in known if row.id.split("/")[-1] in rows.split()), known[0])
from prune_lib.book.captions import captioned

captioned(
    charts.widths(arch_of(shown.arch).filters, shown.widths, f"{shown.title}: {shown.rates}"),
    "Filters of each conv of ResNet-50: all of them, and in front those that the published rates keep.",
    table=TABLE,
)

# %% [markdown]
# ## Run
#
# One row unless more are named, at the budget of this notebook. `paper` is the published recipe on the whole of ImageNet.
# `short` passes twice over a sample of one image for each class through the real loader, to show that everything runs
# and how fast; **no accuracy can be read off it**, since its images are those it was trained on. `tiny` takes a few
# images of the real set, `smoke` the embedded digits.

# %% tags=["hide-input"]
from prune_lib.book.trained import train
from prune_lib.runs import best_record

trained = train(TABLE, rows, budget, seed, device=device, data_dir=data_dir, given=set, weights=weights)
for row, record in zip(trained.rows, trained.records, strict=True):
    where, curves = record["provenance"], record["curves"]
    print(f"{row.called}: {where['precision']} on {where['hardware']['name']}")
    for epoch, (loss, speed) in enumerate(zip(curves["loss"], curves["images_per_second"], strict=True), 1):
        print(f"epoch {epoch}: training loss {loss:.3f}, {speed:,.0f} images/s")
trained

# %% [markdown]
# ## Reported, recounted, measured, verdict

# %% tags=["hide-input"]
from prune_lib.book.tables import load_table

load_table(TABLE)

# %% [markdown]
# All six ResNet-50s recount to every printed digit, under the rule that the CIFAR-10 rows need too. The MobileNetV2 row
# cannot be rebuilt: neither its code at that commit nor its widths are public.

# %% [markdown]
# ## What a run costs
#
# ImageNet has 1,281,167 training images. The first line is measured, by the record of the highest budget that this
# book has for a row of the table; everything below it is **computed**, from a speed that is stated.

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid

IMAGES, EPOCHS = 1_281_167, 90
records = [
    r for r in map(best_record, table_rows(TABLE)) if r and r["provenance"]["data"]["name"].startswith("imagenet")
]
lines = [["Where", "Images/s", f"{EPOCHS} epochs", ""]]


def line(name, speed, how):
    hours = IMAGES * EPOCHS / speed / 3600
    return [name, f"{speed:,.0f}", f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} days", how]


for found in records[:1]:
    hardware, speed = found["provenance"]["hardware"], found["curves"]["images_per_second"][-1]
    lines.append(
        line(
            f"{hardware['name']}, {hardware['threads']} threads", speed, f"measured: {found['row']}, {found['budget']}"
        )
    )
lines += [
    line("one H200", 3500, "computed, at 3,500 images/s for the full ResNet-50 in bf16"),
    line("eight H200", 8 * 3500 * 0.9, "computed, at nine tenths of eight times that"),
]
Grid(lines, "What 90 epochs cost. The speed of one H200 is an assumption, not a measurement: NVIDIA's examples reach "
     "2,470 images/s on one A100, ffcv about 3,040.")  # fmt: skip

# %% [markdown]
# On several GPUs it is the same command, started by `torchrun`; each process takes its part of every batch of 256, and
# BatchNorm's statistics are shared, so that the result does not depend on how many there are:
#
# ```bash
# torchrun --nproc-per-node 8 -m prune_lib run dcff/imagenet/r50_1.49b --budget paper
# ```

# %% [markdown]
# ## Errata
#
# What does not follow from the tables' own rates is listed, with every other paper's, in [the errata](errata). Beyond
# that: the best epoch *on the validation set* is what is reported as accuracy, and validation is the only test that
# ImageNet has. Here 10,000 training images are held out to select an epoch.
