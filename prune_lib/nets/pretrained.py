"""Weights that others publish, by name: torchvision's own, and timm's where timm is installed."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..system.errors import InputError, needs, one_line, short
from .networks import arch_of
from .weights import read_weights

LIKE_TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
)  # the same networks, by these names
SOURCES = ("torchvision", "timm")


class Found(NamedTuple):
    """``tensors`` by name, where they are from in words, and the constants that their images were normalised by."""

    tensors: dict[str, Tensor]
    origin: str
    constants: tuple[tuple[float, ...], tuple[float, ...]] | None  # mean and std of each channel in [0, 1]


def is_named(weights: str | Path) -> bool:
    """Whether these are weights by name, ``torchvision``, ``torchvision:IMAGENET1K_V2``, ``timm:resnet50.a1_in1k``.

    A file of that name goes before.
    """
    return str(weights).partition(":")[0] in SOURCES and not Path(weights).exists()


def open_weights(weights: str | Path, arch: str) -> Found:
    """The tensors of a file, or of weights by name for the full network ``arch``.

    Raises:
        InputError: what ``read_weights`` raises; no such name; or they are neither here nor can they be fetched.
    """
    if not is_named(weights):
        return Found(read_weights(weights), Path(weights).name, None)
    source, _, name = str(weights).partition(":")
    name = name.removeprefix(f"{arch}.") if source == "torchvision" else name
    return _torchvision(arch, name) if source == "torchvision" else _timm(arch, name)


def _torchvision(arch: str, name: str) -> Found:
    if arch not in LIKE_TORCHVISION:
        about = arch_of(arch)
        raise InputError(
            f"torchvision has no weights for {about.name}, which sees {about.image[1]} x {about.image[2]} pixels; "
            f"expected a file, or one of: {' '.join(LIKE_TORCHVISION)}"
        )
    from torchvision.models import get_model_weights

    known = get_model_weights(arch)
    if name and name not in known.__members__:
        raise InputError(f"torchvision has no weights {short(name)} of {arch}; expected {' '.join(known.__members__)}")
    entry = known[name] if name else next(iter(known))  # the first are those that the papers began with
    file = _cached(entry.url)
    prefix, found = file.stem.rsplit("-", 1)[-1], hashlib.sha256(file.read_bytes()).hexdigest()
    odd = "" if found.startswith(prefix) else f", not the published file: sha256 {found[:8]}, expected {prefix}"
    shown = entry.transforms()
    return Found(read_weights(file), f"torchvision {entry}{odd}", (tuple(shown.mean), tuple(shown.std)))


def _cached(url: str) -> Path:
    """torch's cached copy of a published file, fetched if it is not there; its checksum is in its name."""
    from torch import hub

    folder = Path(hub.get_dir()) / "checkpoints"
    file = folder / url.rsplit("/", 1)[-1]
    if not file.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(url, str(file), file.stem.rsplit("-", 1)[-1], progress=os.isatty(2))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{file.name} is not in torch's cache and could not be fetched ({one_line(str(error))[:120]}); "
                f"expected {url} at {file}"
            ) from None
    return file


def _timm(arch: str, name: str) -> Found:
    with needs("book"):
        import timm
    name = name or arch
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # huggingface_hub's, requests' and timm's own kinds
        why = one_line(str(error))[:200]
        raise InputError(f"timm:{name} cannot be had ({why}); expected such as timm:{arch}.a1_in1k") from None
    about = getattr(model, "pretrained_cfg", {})
    constants = (tuple(about["mean"]), tuple(about["std"])) if {"mean", "std"} <= set(about) else None
    return Found(dict(model.state_dict()), f"timm {name}", constants)
