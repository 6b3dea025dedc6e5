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
# first test image of each class, the layer (the last with maps of at least 4x4 pixels), the class (the true one). There is
# a figure for the likeness, a control pruned *at random* to the same widths, and the worst cases beside the best
# {cite}`selvaraju2017gradcam`.

# %% tags=["parameters", "hide-input"]
budget = "smoke"  # smoke: digits, seconds; short: CIFAR-10, minutes a row on two cores; paper: the whole recipe
seed = 0
device = "auto"
data_dir = ""  # where cifar10.npz is; empty: $PRUNE_DATA, else data/
set = ""  # otherwise than the rows have it, as after prune run --set: epochs, lr and others; recorded apart
weights = ""  # a trained dense network to prune; empty: the one that the dense row leaves, trained first
pruned = "cdp/resnet20-study/s30_cdp"  # the row whose network is looked at
control = "cdp/resnet20-study/s30_random"  # the same widths, filters at random
per_class = 10  # how many test images of each class the figures are over

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(
    globals(), budget=("smoke", "tiny", "short", "paper"), seed=int, device=str, data_dir=str, set=(str, dict), weights=str,
    pruned=str, control=str, per_class=int,
)  # fmt: skip

# %% tags=["hide-input"]
from prune_lib.nets import arch_of, build
from prune_lib.nets.weights import fit, read_weights
from prune_lib.papers import get_row, open_data
from prune_lib.runs import changed_rows, network, run

both = changed_rows([get_row(pruned), get_row(control)], budget, set)
rows = dict(zip(("pruned", "random"), both, strict=True))
arch = arch_of(rows["pruned"].arch)
options = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke", "weights": weights or None}
networks = {}
for name, row in rows.items():
    record = run(row, budget, seed, **options)
    networks[name] = network(row, budget, seed)
    print(
        f"{name:7} {row.called}: top-1 {record['metrics']['top1_before']:.2f} % as pruned, {record['metrics']['top1_last']:.2f} % trained on"
    )
recipe = rows["pruned"].recipes[budget]
data = open_data(recipe, data_dir or None)
if weights:
    full = build(arch.name, None, len(data.classes))
    fit(full, read_weights(weights), weights)
else:
    full = network(get_row(rows["pruned"].start), budget, seed, "selected")
networks = {"full": full.eval(), **networks}

# %% tags=["hide-input"]
import torch

from prune_lib.book.figures import gradcam

index = torch.cat([(data.test.labels == c).nonzero().flatten()[:per_class] for c in range(min(10, len(data.classes)))])
chosen_images = data.test.take(index)
images, labels = next(iter(data.whole(chosen_images, len(index))))
mean, std = (torch.tensor(c).view(3, 1, 1) for c in (data.mean, data.std))
pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
maps, said = {}, {}
for name, model in networks.items():
    maps[name] = gradcam.grad_cam(model, arch.cam_layer, images, labels.tolist())
    with torch.inference_mode():
        said[name] = model(images).argmax(1)

# %% [markdown]
# ## How alike, in figures

# %% tags=["hide-input"]
from prune_lib.book.tables import Grid

alike = {name: gradcam.agreement(maps["full"], maps[name]) for name in ("pruned", "random")}
lines = [["Network", "Correlation with full", "Overlap of the top fifth", "Same class as full", "Right"]]
for name, pairs in alike.items():
    r, o = (torch.tensor(values) for values in zip(*pairs, strict=True))
    same, right = (said[name] == said["full"]).float().mean(), (said[name] == labels).float().mean()
    lines.append(
        [name, f"{r.mean():.2f} ± {r.std():.2f}", f"{o.mean():.2f} ± {o.std():.2f}", f"{same:.0%}", f"{right:.0%}"]
    )
lines.append(["full", "1", "1", "100%", f"{(said['full'] == labels).float().mean():.0%}"])
Grid(
    lines,
    f"Mean and standard deviation over {len(labels)} test images of {data.name}, the first {per_class} of each class; {budget}, seed {seed}.",
)

# %% [markdown]
# ## The first image of each class


# %% tags=["hide-input"] mystnb={"image": {"alt": "Ten images and, below each, the Grad-CAM maps of the full, the pruned and the randomly pruned network"}}
def panel(chosen):
    """Pictures of the images at these places of the list, with what each network said and how alike it is."""
    notes = {"full": [data.classes[c] for c in said["full"][chosen]]}
    for name, pairs in alike.items():
        some = [pairs[i] for i in chosen]
        notes[name] = [
            f"{data.classes[c]}\nr {r:.2f}, IoU {o:.2f}" for c, (r, o) in zip(said[name][chosen], some, strict=True)
        ]
    return gradcam.cams(
        pixels[chosen], [data.classes[c] for c in labels[chosen]],
        {name: m[chosen] for name, m in maps.items()}, notes,
    )  # fmt: skip


panel(list(range(0, len(labels), per_class)))

# %% [markdown]
# ## The best and the worst
#
# Five images in which the pruned network's map is most like the full one's, and the five in which it is least.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five images with the most similar maps and five with the least similar ones"}}
order = sorted(range(len(labels)), key=lambda i: -alike["pruned"][i][0])
panel(order[:5] + order[-5:])

# %% [markdown]
# With ImageNet's sample images and torchvision's ResNet-50 weights at hand, the same chapter runs on
# `-p pruned cfdp/imagenet-study/corrected -p control cfdp/imagenet-study/random -p budget short -p per_class 1 -p weights FILE`, over the first ten classes.
#
# What to take from it: if the network that was pruned at random is about as like the full one as the network that was
# pruned by a criterion, then the likeness says nothing for the criterion. It says that both were trained from the same
# weights.
