"""Grad-CAM of full and pruned networks on CIFAR-10, with a control that was pruned at random or never trained."""

from functools import lru_cache

import torch
from torch import nn

from ...nets import arch_of, build
from ...nets.weights import fit, read_weights
from ...papers import get_row
from ...papers.recipe import normalised
from ...runs.records import Run
from ...runs.runner import run
from ..explorer.subject import COMMITTED
from ..figures.looks import Looks
from .sources import PER_CLASS, PUBLISHED, Made, Sources, about_set, cifar10, known, looks_of, run_of


@lru_cache(maxsize=2)
def _resnet20(sources: Sources) -> tuple[Looks, dict, list]:
    """The committed ResNet-20, and what CFDP and chance made of it at half its multiply-accumulates."""
    data = cifar10(sources)
    named = {
        "full": COMMITTED,
        "CFDP": ("arena/uniform50/cfdp", "fast", 0, "last"),
        "random": ("arena/uniform50/random", "fast", 0, "last"),
    }
    found = {name: run_of(name, *which) for name, which in named.items()}
    networks = {name: model for name, (model, _) in found.items()}
    looks = looks_of(networks, arch_of("resnet20").cam_layer, dict.fromkeys(networks, data), PER_CLASS)
    return (
        looks,
        about_set(data, f"the first {PER_CLASS} test images of each class"),
        [one for _, one in found.values()],
    )


_RESNET20 = (
    "ResNet-20 on CIFAR-10 with all filters, with those that CFDP chose at 50 % of the multiply-accumulates, and with "
    "as many at random; both trained on for 4 epochs of 45,000 images. Below each map: the class that the network "
    "names, and correlation and overlap of the hottest fifths with the full network's map."
)


def gradcam_resnet20(sources: Sources) -> Made:
    looks, data, weights = _resnet20(sources)
    every = range(0, len(looks.truth), PER_CLASS)
    shows = f"Grad-CAM for the true class of the first test image of each class: {_RESNET20}"
    return Made(looks.figure(every), shows, data, weights, looks.found())


def gradcam_resnet20_extremes(sources: Sources) -> Made:
    looks, data, weights = _resnet20(sources)
    order = looks.by_likeness("CFDP")
    shows = (
        f"The five of {len(order)} images with the most similar maps of full and CFDP, and the five least: {_RESNET20}"
    )
    return Made(looks.figure([*order[:5], *order[-5:]]), shows, data, weights, looks.found())


@lru_cache(maxsize=2)
def _resnet56(sources: Sources) -> tuple[Looks, dict, list]:
    """The published ResNet-56, and what the rows of CFDP's study made of it; these are run where they were not."""
    file = sources.file("resnet56")
    full = build("resnet56")
    fit(full, read_weights(file), file)
    networks: dict[str, nn.Module] = {"full": full.eval()}
    weights = [known("full", full, PUBLISHED["resnet56"])]
    for name, row in (("CFDP", "cfdp/resnet56-study/r18_cfdp"), ("random", "cfdp/resnet56-study/r18_random")):
        there = Run(get_row(row), "short", 0).weights("last")
        run(get_row(row), "short", 0, weights=file, data_dir=sources.data_dir or None, again=there is None)
        networks[name], about = run_of(name, row, "short", 0, "last")
        weights.append(about)
    data = cifar10(sources, "imagenet")
    looks = looks_of(networks, arch_of("resnet56").cam_layer, dict.fromkeys(networks, data), PER_CLASS)
    return looks, about_set(data, f"the first {PER_CLASS} test images of each class"), weights


_RESNET56 = (
    "ResNet-56 on CIFAR-10 with all filters, with those that CFDP (corrected) chose at the published rates, and with "
    "as many at random; both trained on for 1 epoch of 10,000 images (budget short), where the paper has 500 epochs. "
    "With each map: the class that the network names, and correlation and overlap of the hottest fifths with the full "
    "network's map."
)


def gradcam_resnet56(sources: Sources) -> Made:
    looks, data, weights = _resnet56(sources)
    three = [0, PER_CLASS, 2 * PER_CLASS]
    shows = f"Three images, the first test images of the first three classes, for the true class: {_RESNET56}"
    return Made(looks.figure(three, rows=True), shows, data, weights, looks.found())


def gradcam_resnet56_classes(sources: Sources) -> Made:
    looks, data, weights = _resnet56(sources)
    shows = f"Grad-CAM for the true class of the first test image of each class: {_RESNET56}"
    return Made(looks.figure(range(0, len(looks.truth), PER_CLASS)), shows, data, weights, looks.found())


def gradcam_dcff(sources: Sources) -> Made:
    """The published ResNet-56 beside the committed network of DCFF, which was trained from scratch for a short time."""
    file, row = sources.file("resnet56"), get_row("dcff/cifar10/resnet56")
    full = build("resnet56")
    fit(full, read_weights(file), file)
    compact, about = run_of("DCFF", row.id, "short", 1, "last")
    torch.manual_seed(0)
    networks = {"full": full.eval(), "DCFF": compact, "untrained": build("resnet56", row.widths).eval()}
    own = normalised(cifar10(sources), row.recipes["short"])
    sets = {"full": cifar10(sources, "imagenet"), "DCFF": own, "untrained": own}
    looks = looks_of(networks, arch_of("resnet56").cam_layer, sets, PER_CLASS)
    recipe = row.recipes["short"]
    shows = (
        "Grad-CAM for the true class of the first test image of each class: ResNet-56 on CIFAR-10 with all filters; "
        f"DCFF's compact one, trained from scratch by the budget short ({recipe.epochs} epochs of "
        f"{recipe.train_images or 50_000:,} images; the paper has 300 epochs of 50,000); and an untrained one of the "
        "same widths, which is what chance gives. With each map: the class that the network names, and correlation and "
        "overlap of the hottest fifths with the full network's map."
    )
    weights = [
        known("full", full, PUBLISHED["resnet56"]), about, known("untrained", networks["untrained"], "drawn, seed 0")
    ]  # fmt: skip
    data = about_set(own, f"the first {PER_CLASS} test images of each class")
    return Made(looks.figure(range(0, len(looks.truth), PER_CLASS)), shows, data, weights, looks.found())
