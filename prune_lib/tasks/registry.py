"""The sets by the names that rows use: who reads each, what judges it, and where it is looked for.

Data is looked for under ``--data-dir``, else ``$PRUNE_DATA``, else ``data/`` in the project.
"""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..system.errors import InputError
from ..system.paths import absolute, home


class Entry(NamedTuple):
    reader: str  # the module of this room whose ``open_set`` reads it
    metric: str  # what judges an epoch, in percent


SETS = {
    "cifar10": Entry("images", "top1"),
    "digits": Entry("images", "top1"),
    "imagenet": Entry("imagenet", "top1"),
    "imagenet-sample": Entry("imagenet", "top1"),
    "coco": Entry("detection", "AP"),
    "shapes": Entry("detection", "AP"),
    "coco-masks": Entry("detection", "AP"),  # the same images, with the masks of the objects
    "shapes-masks": Entry("detection", "AP"),
    "coco-300": Entry("detection", "AP"),  # scaled to 300 x 300 pixels, whatever their proportions
    "shapes-300": Entry("detection", "AP"),
    "cityscapes": Entry("segmentation", "mIoU"),
    "shapes-cityscapes": Entry("segmentation", "mIoU"),
    "coco-keypoints": Entry("pose", "AP"),
    "shapes-keypoints": Entry("pose", "AP"),
}
FOLDERS = tuple(name for name, entry in SETS.items() if entry.reader == "imagenet")  # sets of image files by class


def metric_of(data: str) -> str:
    """What an epoch on the set ``data`` is judged by: ``top1``, ``AP`` or ``mIoU``, in percent."""
    return SETS[data].metric if data in SETS else "top1"


def load(
    name: str, data_dir: str | Path | None = None, *, heldout: int, train_images: int | None = None, sample: int = 0
) -> Any:
    """The image set called ``name``, with ``heldout`` training images set aside.

    Of a classification set the same number from each class. Large sets stay on disk and are read as they are needed.

    Args:
        train_images: use only so many training images, always the same ones (``None``: all that are left).
        sample: of the whole set use only so many training images, and half as many to select and to test by, or as
            many as there are; of a classification set those of a few classes (0: all, as the other two say).

    Returns:
        A set as ``task.Task`` describes it, with ``train``, ``heldout`` and ``test``, ``batches`` and ``whole``.

    Raises:
        InputError: an unknown name, data that is missing, incomplete or not what it should be, or numbers of images
            that the set does not have. The message says what was expected and what was found.
    """
    if name not in SETS:
        raise InputError(f"unknown image set {name!r}; expected one of: {' '.join(SETS)}")
    reader = import_module(f".{SETS[name].reader}", __package__)
    if not sample:
        return reader.open_set(name, find_data(data_dir), heldout, train_images)
    full = reader.open_set(name, find_data(data_dir), 0, None)
    aside = full.some(full.train, sample // 2)
    few = replace(
        full, train=full.some(full.train, sample, sample // 2), heldout=aside, test=full.some(full.test, sample // 2)
    )
    if not (len(few.train) and len(few.test)):
        raise InputError(f"{name} has too few images for a sample of {sample}; expected a smaller one")
    return few


def find_data(data_dir: str | Path | None = None) -> Path:
    """The folder that data is read from: ``data_dir``, else ``$PRUNE_DATA``, else the project's ``data/``."""
    return Path(absolute(data_dir or os.environ.get("PRUNE_DATA") or home() / "data"))
