"""Every figure by name; making one anew, and showing it in a notebook."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from ...system.errors import InputError
from ...system.provenance import now, provenance
from ...tasks.registry import is_there
from ..figures import committed
from ..figures.committed import Picture, to_png
from . import explored, filters, lite0, maps
from .sources import Made, Sources


@dataclass(frozen=True)
class Figure:
    """How a figure is made, and what for."""

    make: Callable[[Sources], Made]
    data: str  # the set that it needs
    weights: str = ""  # of ``PUBLISHED``, which it needs
    slow: bool = False  # minutes: made only when asked for, not while a page is built


FIGURES: dict[str, Figure] = {
    "gradcam_resnet20": Figure(maps.gradcam_resnet20, "cifar10"),
    "gradcam_resnet20_extremes": Figure(maps.gradcam_resnet20_extremes, "cifar10"),
    "gradcam_resnet56": Figure(maps.gradcam_resnet56, "cifar10", "resnet56", slow=True),
    "gradcam_resnet56_classes": Figure(maps.gradcam_resnet56_classes, "cifar10", "resnet56", slow=True),
    "gradcam_dcff": Figure(maps.gradcam_dcff, "cifar10"),
    "filters_resnet20": Figure(filters.filters_resnet20, "cifar10"),
    "similarity_resnet20": Figure(filters.similarity_resnet20, ""),
    "ranks_resnet20": Figure(filters.ranks_resnet20, "cifar10"),
    "explorer_curves": Figure(explored.explorer_curves, "cifar10", slow=True),
    "explorer_gradcam": Figure(explored.explorer_gradcam, "cifar10"),
    "gradcam_efficientnet": Figure(lite0.gradcam_efficientnet, "imagenet-sample", slow=True),
}
PRIVATE = {"gradcam_photographs": Figure(lite0.gradcam_photographs, "imagenet-sample", slow=True)}  # never committed


def make(name: str, sources: Sources = Sources()) -> Picture:  # noqa: B008 (it is frozen)
    """Make a figure anew, with its record.

    Raises:
        InputError: an unknown name, or weights that are missing.
        DataMissing: its data, or a package with its weights, is not here.
    """
    entry = _entry(name)
    begun = time.perf_counter()
    made = entry.make(sources)
    png = to_png(made.figure)
    about = provenance(torch.device("cpu"))
    more = {package: version(package) for package in ("matplotlib", "grad-cam")}
    words = ["python -m prune_lib.book.gallery", name]
    words += [f"--weights {entry.weights}=FILE"] if entry.weights else []
    record = {
        "figure": name, "shows": made.shows, "command": " ".join(words), "data": dict(made.data),
        "weights": [dict(one) for one in made.weights], "found": _rounded(made.found), "date": now(),
        "code": about["code"], "versions": about["versions"] | more, "hardware": about["hardware"],
        "seconds": round(time.perf_counter() - begun, 1), "png_sha256": hashlib.sha256(png).hexdigest(),
    }  # fmt: skip
    return Picture(png, record, fresh=True)


def get(name: str, data_dir: str = "", **weights: str) -> Picture:
    """A figure as a notebook wants it: made anew where its data and weights are here and it takes seconds, else as it
    is committed.

    Args:
        weights: files by the names of ``PUBLISHED``; what is named is used, however long it takes. Empty: not named.

    Raises:
        InputError: an unknown name, or no committed figure.
    """
    entry, named = _entry(name), {key: file for key, file in weights.items() if file}
    here = not entry.data or is_there(entry.data, data_dir or None)
    asked = not entry.slow or (entry.weights and entry.weights in named)
    if here and asked and (not entry.weights or entry.weights in named):
        return make(name, Sources(data_dir, tuple(sorted(named.items()))))
    return committed.read(name)


def show(name: str, data_dir: str = "", **weights: str) -> Picture:
    """Show a figure in a notebook, as ``get`` has it, with a note below of what it is and how it was made."""
    from IPython.display import display

    picture = get(name, data_dir, **weights)
    display(picture, Note(picture))
    return picture


class Note:
    """What a picture is and how it was made, below it; ``Picture.note`` escapes what the record says."""

    def __init__(self, picture: Picture):
        self.picture = picture

    def _repr_html_(self) -> str:
        return self.picture.note


def _entry(name: str) -> Figure:
    if entry := FIGURES.get(name) or PRIVATE.get(name):
        return entry
    raise InputError(f"unknown figure {name!r}; expected one of: {' '.join(FIGURES)}")


def _rounded(value: Any) -> Any:
    """Numbers to four significant digits, in whatever they are nested: more would differ from machine to machine."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
