"""Grad-CAM of full and pruned networks on CIFAR-10, with a control that was pruned at random or never trained."""

from functools import lru_cache

from torch import nn

from ...nets import arch_of, build
from ...nets.weights import fit, read_weights
from ...papers import get_row
from ...runs.records import Run
from ...runs.runner import run
from ..explorer.subject import COMMITTED
from ..figures.looks import Looks
from .sources import PER_CLASS, PUBLISHED, Made, Sources, about_set, cifar10, known, looks_of, run_of

PAIRS = {  # networks of the arena at half of the dense one's multiply-accumulates
    "CFDP": "arena/uniform50/cfdp",
    "random": "arena/uniform50/random",
    "DCFF": "arena/scratch50/dcff",
    "uniform": "arena/scratch50/uniform",
}


@lru_cache(maxsize=4)
def _resnet20(sources: Sources, names: tuple[str, ...]) -> tuple[Looks, dict, list]:
    """The committed ResNet-20 and some of ``PAIRS``, which are committed too."""
    data = cifar10(sources)
    found = {"full": run_of("full", *COMMITTED)}
    found |= {name: run_of(name, PAIRS[name], "fast", 0, "last") for name in names}
    networks = {name: model for name, (model, _) in found.items()}
    looks = looks_of(networks, arch_of("resnet20").cam_layer, dict.fromkeys(networks, data), PER_CLASS)
    about = about_set(data, f"the first {PER_CLASS} test images of each class")
    return looks, about, [one for _, one in found.values()]


_RESNET20 = (
    "ResNet-20 on CIFAR-10 with all filters, with those that CFDP chose at 50 % of the multiply-accumulates, and with "
    "as many at random; both trained on for 4 epochs of 45,000 images. Below each map: the class that the network "
    "names, and correlation and overlap of the hottest fifths with the full network's map."
)


def gradcam_resnet20(sources: Sources) -> Made:
    looks, data, weights = _resnet20(sources, ("CFDP", "random"))
    every = range(0, len(looks.truth), PER_CLASS)
    shows = f"Grad-CAM for the true class of the first test image of each class: {_RESNET20}"
    return Made(looks.figure(every), shows, data, weights, looks.found())


def gradcam_resnet20_extremes(sources: Sources) -> Made:
    looks, data, weights = _resnet20(sources, ("CFDP", "random"))
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
    """The committed ResNet-20 beside two of half its cost, from scratch: DCFF's, and one of plain convs."""
    looks, data, weights = _resnet20(sources, ("DCFF", "uniform"))
    shows = (
        "Grad-CAM for the true class of the first test image of each class: ResNet-20 on CIFAR-10 with all filters; "
        "DCFF's compact one at 50 % of the multiply-accumulates; and, as the control, plain convs of the same widths, "
        "without any fusing. Each trained from scratch for 18 epochs of 45,000 images by the same recipe. Below each "
        "map: the class that the network names, and correlation and overlap of the hottest fifths with the full "
        "network's map."
    )
    return Made(looks.figure(range(0, len(looks.truth), PER_CLASS)), shows, data, weights, looks.found())
