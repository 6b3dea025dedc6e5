"""What a run will take before it is begun: images, training FLOPs, memory, hours, money, each with its uncertainty.

On this machine a run's first steps are made for some seconds, on images of noise. For a card that is not here the time
follows from what cards do in training: ResNet-50 runs at 60.6 TFLOP/s on an A100 80GB and at 29.4 on a V100 16GB, mixed
precision (2,470 and 1,200 images a second in NVIDIA's DeepLearningExamples, PyTorch ResNet50 v1.5, container 21.03).
That is 30 and 33 FLOPs for each byte that their memories can move, so other cards are taken to do ``FLOPS_PER_BYTE``
too. A small network does less: each of its layers then waits to be launched, for ``LAYER`` seconds of a step. No card
has been held against this table yet, so what it gives may be off by ``FAR``.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks

from ..cost.counting import cost
from ..nets.networks import arch_of, build
from ..papers.method import Method
from ..papers.methods import make_method
from ..papers.recipe import Recipe
from ..papers.rows import Row
from ..system.errors import InputError, short
from ..tasks.images import ImageSet, Split
from .training import train

BANDWIDTH = {  # TB/s of a card's memory, from its maker's data sheet
    "T4": 0.32, "L4": 0.30, "V100": 0.90, "A10": 0.60, "L40S": 0.864, "RTX3090": 0.936, "RTX4090": 1.008,
    "A100-40": 1.555, "A100": 2.039, "H100-PCIe": 2.0, "H100": 3.35, "H200": 4.8, "B200": 8.0,
}  # fmt: skip
FLOPS_PER_BYTE = 30.0
LAYER = 4e-4  # a conv with its norm and activation: about forty launches from Python, forward, backward, optimizer
EVALUATED = 0.3  # what passing an image through takes of what training on it takes
IMAGES = {  # published training and test images of a set
    "cifar10": (50_000, 10_000), "imagenet": (1_281_167, 50_000), "coco": (117_266, 5_000),
    "coco-masks": (117_266, 5_000), "coco-300": (117_266, 5_000), "cityscapes": (2_975, 500),
}  # fmt: skip
HERE, FAR = 1.25, 2.5  # by what factor a figure may be off: measured here, and taken from a table


@dataclass(frozen=True)
class Estimate:
    """One run of a row."""

    row: str
    budget: str
    device: str
    epochs: int
    images: int  # of an epoch
    flops: float  # of all training, two for each multiply-accumulate, three passes for each image
    memory: float | None  # bytes on the device at the recipe's batch; None: not known for this task
    rate: float  # images trained on in a second
    hours: float
    factor: float  # hours may be off by so much, either way

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


def estimate(row: Row, budget: str, device: str = "cpu", seconds: float = 10.0) -> Estimate:
    """What one run of ``row`` will take.

    Args:
        device: a card of ``BANDWIDTH``, or a device of this machine, which is then tried.
        seconds: for which it is tried.

    Raises:
        InputError: a budget or device that there is not, a row that cannot be trained, or a set of unknown size.
    """
    if budget not in row.recipes or not row.arch:
        raise InputError(f"{row.id} {row.why_not(budget)}")
    recipe = row.recipes[budget]
    if recipe.data not in IMAGES:
        raise InputError(
            f"{row.id} at {budget} trains on {recipe.data}, whose size is not listed; expected {' '.join(IMAGES)}"
        )
    there, test = IMAGES[recipe.data]
    images = recipe.sample or min(recipe.train_images or there, there - recipe.heldout)
    heldout, test = (images // 2, images // 2) if recipe.sample else (recipe.heldout, test)
    widths = None if row.unknown else row.widths
    macs = cost(row.arch, widths, "macs", row.layout).flops
    if device in BANDWIDTH:
        rate, factor = _on_card(row, recipe, macs, device), FAR
    else:
        rate, factor = measured(row, recipe, device, seconds), HERE
    tested = len([e for e in range(recipe.epochs) if (e + 1) % recipe.test_every == 0 or e + 1 == recipe.epochs])
    passed = recipe.epochs * images + EVALUATED * tested * (heldout + test)
    return Estimate(
        row.id, budget, device, recipe.epochs, images, 6.0 * macs * recipe.epochs * images, _memory(row, recipe),
        rate, passed / rate / 3600, factor,
    )  # fmt: skip


def _on_card(row: Row, recipe: Recipe, macs: int, card: str) -> float:
    """Images a second: as the memory allows, but a step takes no less than its launches."""
    of_image = 6.0 * macs / (FLOPS_PER_BYTE * BANDWIDTH[card] * 1e12)
    return recipe.batch_size / max(of_image * recipe.batch_size, LAYER * len(arch_of(row.arch).filters))


def measured(row: Row, recipe: Recipe, device: str, seconds: float) -> float:
    """Images a second of the row's network and method on this machine, in steps of its recipe on images of noise.

    What a criterion looks at before the training is left out, and so is reading images from a disk.
    """
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise InputError(f"unknown device {short(device)}; expected auto, cpu, cuda, or one of: {' '.join(BANDWIDTH)}")
    about = arch_of(row.arch)
    if recipe.data not in ("cifar10", "imagenet"):
        raise InputError(f"{row.id}: only classification can be tried here; expected a card: {' '.join(BANDWIDTH)}")
    options = {name: value for name, value in row.method.items() if name != "name"}
    method = make_method(row.method["name"], about, **options)
    classes = 10 if recipe.data == "cifar10" else 1000
    steps, rate, spent = 2, 0.0, 0.0
    while True:
        torch.manual_seed(0)
        model = build(row.arch, None if row.unknown else row.widths, classes)
        noise = _noise(steps * recipe.batch_size, about.image, classes)
        brief = dataclasses.replace(recipe, epochs=2, test_every=2, warmup=0, warmup_steps=0)
        history = train(
            model, noise, brief, Method() if method.prunes_trained else method, device=device, progress=False
        )
        took = history.curve[-1]["seconds"]
        rate, spent = history.curve[-1]["images_per_second"], spent + 2 * took
        if spent >= seconds or steps >= 512:
            return rate
        steps = max(steps + 1, min(512, math.ceil(steps * (seconds - spent) / (2 * took))))


def _noise(images: int, shape: Sequence[int], classes: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *shape), dtype=torch.uint8, generator=generator)
    some = Split(pixels, torch.randint(classes, (images,), generator=generator))
    few, half = some.take(torch.arange(1)), (0.5, 0.5, 0.5)
    return ImageSet("noise", tuple(map(str, range(classes))), half, half, some, few, few, "")


def _memory(row: Row, recipe: Recipe) -> float | None:
    """Bytes at the recipe's batch: what autograd keeps of two images, counted, and four copies of the weights."""
    if recipe.data not in ("cifar10", "imagenet"):
        return None
    about, kept = arch_of(row.arch), {}
    model = build(row.arch, None if row.unknown else row.widths).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.zeros(2, *about.image))
    logits = logits[0] if isinstance(logits, tuple) else logits
    held = sum(kept.values()) / 2 * recipe.batch_size
    return held + 16.0 * sum(parameter.numel() for parameter in model.parameters())


def as_text(runs: Sequence[Estimate], price: float = 0.0) -> str:
    """A line for each run and one for all: hours as a range, and money where an hour has a price."""
    head = f"{'row':34} {'epochs x images':>17} {'FLOPs':>8} {'memory':>8} {'img/s':>8} {'hours':>14}"
    lines = [head + (f" {'cost':>15}" if price else "")]
    for run in runs:
        memory = "–" if run.memory is None else f"{run.memory / 1e9:.1f} GB"
        line = f"{run.row:34} {f'{run.epochs} x {run.images:,}':>17} {run.flops:8.1e} {memory:>8} {run.rate:8,.0f}"
        lines.append(line + _hours([run], price))
    if len(runs) > 1:
        lines.append(
            f"{'all of them, one after another':34} {'':17} {sum(r.flops for r in runs):8.1e} {'':17}"
            + _hours(runs, price)
        )
    return "\n".join(lines)


def _hours(runs: Sequence[Estimate], price: float) -> str:
    low, high = sum(run.hours / run.factor for run in runs), sum(run.hours * run.factor for run in runs)
    return f" {f'{low:.2g} … {high:.2g}':>14}" + (f" {f'{low * price:.2f} … {high * price:.2f}':>15}" if price else "")
