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
# The criteria of this book need no network of this book. `prune_lib.prune` takes any torch model that Torch-Pruning's
# dependency graph can follow, and gives back a smaller one with the weights of what stayed. This chapter computes what
# works on models of torchvision and timm, shows the whole way from training to a file on a small network, and says what
# is refused, and why that is better than a smaller network which computes something else.

# %% tags=["parameters", "hide-input"]
models = "torchvision/resnet18 torchvision/mobilenet_v3_small torchvision/convnext_tiny timm/regnetx_002"
flops = 0.5  # share of each model's multiply-accumulates that stays
epochs = 10  # of training the small network; a quarter of it afterwards
tables = "dcff/cifar10 cfdp/cifar10"  # whose compact networks are exported, beside one ResNet-50
seed = 0

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), models=str, flops=float, epochs=int, tables=str, seed=int)

# %% [markdown]
# ## What works
#
# Channels that are added, gated, concatenated or read one by one go together: a *group*. Every group keeps the same share
# of its channels, the largest with which the network costs no more than asked. Before anything is given back, two networks
# are computed: one in which whatever makes a pruned channel gives zero, BatchNorm's beta included, and one in which the
# channel is gone. They must agree to $10^{-5}$ of the largest output, on the given weights and on others drawn at random,
# in which no beta is zero and no branch is switched off.

# %% tags=["hide-input"]
import timm
import torch
import torchvision

import prune_lib
from prune_lib.anynet.groups import shaken
from prune_lib.book.tables import Grid

torch.set_num_threads(1)  # networks this small gain nothing from more
torch.manual_seed(seed)
images = torch.randn(8, 3, 64, 64)
lines = [["Model", "Criterion", "MACs", "Left", "Params", "Left", "Masked and smaller differ by"]]
refused = [["Model", "Why it is refused"]]
for name in models.split():
    source, _, called = name.partition("/")
    model = shaken(timm.create_model(called) if source == "timm" else getattr(torchvision.models, called)())
    for criterion in ("cdp", "l1"):
        try:
            pruned = prune_lib.prune(model, images[:2], criterion, data=images, flops=flops, seed=seed)
        except prune_lib.InputError as error:
            refused.append([name, str(error)])
            break
        left = f"{pruned.macs / pruned.full_macs:.1%}", f"{pruned.params / pruned.full_params:.1%}"
        full = f"{pruned.full_macs:,}", f"{pruned.full_params:,}"
        lines.append([name, criterion, full[0], left[0], full[1], left[1], f"{pruned.difference:.1e}"])
Grid(lines, "Random weights, shaken BatchNorm, images of 64x64 pixels; MACs of one image.")

# %% tags=["hide-input"]
Grid(refused, prose=True)

# %% [markdown]
# A LayerNorm, unlike a BatchNorm in evaluation, takes the mean of all channels: without some of them, it makes something
# else of those that stay, and no weights of a smaller network can mend that. `python benchmarks/own_networks.py` prints this
# table for all criteria and more models, a U-Net and a DenseNet among them.

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
