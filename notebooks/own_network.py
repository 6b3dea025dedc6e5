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
# # Your own network
#
# The criteria of this book need no network of this book. `prune_lib.prune` takes any torch model that runs and gives back
# a smaller one with the weights of what stayed. This chapter computes what works on models of torchvision and timm, sets
# it beside Torch-Pruning, prunes a network with published ImageNet weights, and shows the whole way from training to a
# file on a small network.

# %% tags=["parameters", "hide-input"]
models = "torchvision/resnet18 torchvision/convnext_tiny torchvision/shufflenet_v2_x0_5 timm/regnetx_002 timm/vit_tiny_patch16_224"
flops = 0.5  # share of each model's multiply-accumulates that stays
epochs = 10  # of training the small network; a quarter of it afterwards
tables = "dcff/cifar10 cfdp/cifar10"  # whose compact networks are exported, beside one ResNet-50
data_dir = ""  # where ImageNet's sample is; empty: as usual
photographs = 0  # how many of the sample EfficientNet-Lite0 is evaluated on; 0: what was measured is shown
seed = 0

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), models=str, flops=float, epochs=int, tables=str, data_dir=str, photographs=int, seed=int)

# %% [markdown]
# ## What works
#
# The model is run once, and every number followed: through sums, concatenations, reshapes, splits, products and
# convolutions, back to the weights that made it. Channels that go together are one choice. What no channel may leave
# without changing the rest (a LayerNorm's statistics, the network's output, an operation that is not known) stays whole,
# and is named with the reason. Before anything is given back, two networks are computed: one in which whatever makes a
# pruned channel gives zero, BatchNorm's beta included, and one in which the channel is gone. They must agree to
# $10^{-5}$ of the largest output. Groups of channels for which they do not stay whole too.

# %% tags=["hide-input"]
import timm
import torch
import torchvision

import prune_lib
from prune_lib.anynet.checking import shaken, woken
from prune_lib.book.tables import Grid

torch.set_num_threads(1)  # networks this small gain nothing from more
torch.manual_seed(seed)
lines = [["Model", "MACs, and what is left", "Params", "Masked and smaller differ by", "Layers that stay whole"]]
refused = [["Model", "Why it is refused"]]
for name in models.split():
    source, _, called = name.partition("/")
    model = woken(timm.create_model(called) if source == "timm" else getattr(torchvision.models, called)())
    images = torch.randn(1, 3, *getattr(model, "default_cfg", {}).get("input_size", (3, 64, 64))[1:])
    try:
        pruned = prune_lib.prune(model, images, "l1", flops=flops, seed=seed)
    except prune_lib.InputError as error:
        refused.append([name, str(error)])
        continue
    cost = f"{pruned.full_macs:,} ({pruned.macs / pruned.full_macs:.1%})"
    params = f"{pruned.full_params:,} ({pruned.params / pruned.full_params:.1%})"
    why = next((f"; {layer}: {text}" for layer, text in pruned.whole.items() if "output" not in text), "")
    lines.append([name, cost, params, f"{pruned.difference:.1e}", f"{len(pruned.whole)}{why}"])
Grid(
    lines,
    "Random weights in which nothing is hidden: no beta of 0, no branch multiplied by 0. By L1; MACs of one image.",
    prose=True,
)

# %% tags=["hide-input"]
Grid(refused, prose=True) if len(refused) > 1 else None

# %% [markdown]
# ## Beside Torch-Pruning
#
# `python benchmarks/own_networks.py` prunes all of torchvision's models that can be built without weights, seventy of
# timm, and small networks with one habit each, to half of their MACs, by this library and by
# [Torch-Pruning](https://github.com/VainF/Torch-Pruning)'s own call, each in a process of its own. A network counts as
# pruned if what comes back runs and costs less; what else was found is beside it.

# %% tags=["hide-input"]
from prune_lib.book.tables.own_networks import found_grid, side_by_side

side_by_side()

# %% tags=["hide-input"]
found_grid()

# %% [markdown]
# ## Criteria
#
# Each is a function `importance(group, seen)` that gives one number for each channel, for the papers' networks and for
# anyone's alike.

# %% tags=["hide-input"]
from prune_lib.papers.criteria import CRITERIA

Grid([["Criterion", "What it looks at", "Source"], *([name, c.needs, c.source] for name, c in CRITERIA.items())])

# %% [markdown]
# ## A network with published weights
#
# EfficientNet-Lite0, trained on ImageNet, pruned by each criterion to 90, 80 and 70 % of its MACs and not trained on:
# its top-1 before and after BatchNorm's statistics were taken anew. The photographs are some of a thousand of ImageNet's
# training images, one of each class, so that accuracy is flattered; the criteria look at 128 of the same thousand.
# `python benchmarks/lite0.py` measures it anew.

# %% tags=["hide-input"]
from prune_lib.book.tables.own_networks import lite0_grid

try:
    by_criterion = lite0_grid(photographs, data_dir)
except prune_lib.InputError as missing:  # photographs or weights that are not here
    by_criterion = None
    print(missing)
by_criterion

# %% [markdown]
# And where the full network, the one that CFDP left at 80 % and one of random filters look:

# %% tags=["hide-input"]
from prune_lib.book import gallery

gallery.show("gradcam_efficientnet", data_dir)

# %% [markdown]
# ## The whole way
#
# A small network is trained on scikit-learn's digits, pruned by each criterion, and trained on for a quarter as long:

# %%
from torch import nn

from prune_lib.papers import Recipe
from prune_lib.runs import evaluate, train
from prune_lib.tasks import load

few = max(1, epochs // 4)
recipe = Recipe(data="digits", epochs=epochs, batch_size=32, lr=0.1, warmup=1, schedule="cosine", heldout=100)
short = Recipe(data="digits", epochs=few, batch_size=32, lr=0.025, schedule="cosine", heldout=100)
data = load("digits", heldout=100)

torch.manual_seed(seed)
layers = []
for inputs, outputs, stride in ((3, 8, 2), (8, 16, 1), (16, 16, 2), (16, 32, 1)):
    layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))
history = train(model, data, recipe, seed=seed, device="cpu", precision="fp32", progress=False)
print(f"trained: {history.curve[-1]['test_top1']:.1f} % of {len(data.test)} test images")

# %%
example = torch.zeros(1, 3, 32, 32)
kept = {}
lines = [["Criterion", "MACs", "of", "Params", "of", "Top-1 pruned", "trained on"]]
for criterion in ("cdp", "cfdp", "l1", "random"):
    pruned = prune_lib.prune(model, example, criterion, data=data, flops=flops, seed=seed)
    before = evaluate(pruned.model, data, data.test)["top1"]
    after = train(pruned.model, data, short, seed=seed, device="cpu", precision="fp32", progress=False)
    kept[criterion] = pruned
    figures = (pruned.macs, pruned.full_macs, pruned.params, pruned.full_params)
    lines.append([criterion, *map("{:,}".format, figures), f"{before:.1f} %", f"{after.curve[-1]['test_top1']:.1f} %"])
Grid(lines, f"Top-1 on {len(data.test)} test images; one seed and an easy task: no ranking of criteria.")

# %% [markdown]
# DCFF needs no trained network; it trains a compact one whose filters are averages of a bank. `dcff` gives the method and
# the compact model for any network:

# %%
from prune_lib.anynet import dcff

torch.manual_seed(seed)
method, compact = dcff(model, example, flops=flops)
fused = train(compact, data, recipe, method, seed=seed, device="cpu", precision="fp32", progress=False)
print(f"banks of {method.filters} filters; {fused.curve[-1]['test_top1']:.1f} % of the test images")

# %% [markdown]
# ## Take it away
#
# Each compact network of this book at the widths that were published first, and the two from above: as safetensors
# which say their arch and widths and so rebuild themselves, as ONNX, and as torch.export's `.pt2`. Each file is read
# back, ONNX by onnxruntime, and its outputs are compared to the network's at two batch sizes before it gets its name;
# above $10^{-5}$ there is no file.

# %% tags=["hide-input"]
import json

from prune_lib.book.tables import export_grid
from prune_lib.nets import build
from prune_lib.papers import get_row, table_rows

published = [row for name in tables.split() for row in table_rows(name) if not row.unknown]
networks = {}
for row in {row.arch: row for row in [get_row("dcff/imagenet/r50_1.49b"), *reversed(published)]}.values():
    about = {"arch": row.arch, "widths": json.dumps(row.widths)}
    size = 32 if row.dataset.startswith("CIFAR") else 64
    networks[row.id] = shaken(build(row.arch, row.widths)), torch.randn(2, 3, size, size), about
networks["above, pruned by l1"] = kept["l1"].model, torch.randn(2, 3, 32, 32)
networks["above, DCFF"] = method.export(compact), torch.randn(2, 3, 32, 32)
export_grid(networks, "Differences are relative to the largest output.")

# %% [markdown]
# The weights of a published row are drawn at random here, and the ResNet-50 sees 64x64 pixels. Of your own network
# safetensors would hold the weights but not the graph, and so could not rebuild it; ONNX and `.pt2` can. `prune export
# FILE --to onnx --out FILE.onnx` takes a trained one further, and `prune latency` says how much of a cut in FLOPs is a
# cut in time:

# %%
from prune_lib.cost.latency import as_text, latency

print(as_text(latency("resnet20", "[0.5]*12", batches=[1, 32], seconds=1.0)))
