"""The sets by the names that rows use: who reads each, what judges it, and where it is looked for.

Data is looked for under ``--data-dir``, else ``$PRUNE_DATA``, else ``data/`` in the project.
"""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..system.errors import DataMissing, InputError
from ..system.paths import absolute, home


class Entry(NamedTuple):
    reader: str  # the module of this room whose ``open_set`` reads it
    metric: str  # what judges an epoch, in percent
    marks: tuple[str, ...] = ()  # one of these is in the data folder if the set is there; none: it needs no files


COCO = ("coco/annotations",)
SETS = {
    "cifar10": Entry("images", "top1", ("cifar10.npz", "cifar-10-batches-py")),
    "digits": Entry("images", "top1"),
    "imagenet": Entry("imagenet", "top1", ("imagenet/train",)),
    "imagenet-sample": Entry("imagenet", "top1", ("imagenet-sample/val",)),
    "coco": Entry("detection", "AP", COCO),
    "shapes": Entry("detection", "AP"),
    "coco-masks": Entry("detection", "AP", COCO),  # the same images, with the masks of the objects
    "shapes-masks": Entry("detection", "AP"),
    "coco-300": Entry("detection", "AP", COCO),  # scaled to 300 x 300 pixels, whatever their proportions
    "shapes-300": Entry("detection", "AP"),
    "cityscapes": Entry("segmentation", "mIoU", ("cityscapes/leftImg8bit",)),
    "shapes-cityscapes": Entry("segmentation", "mIoU"),
    "coco-keypoints": Entry("pose", "AP", COCO),
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
        InputError: an unknown name, data that is incomplete or not what it should be, or numbers of images
            that the set does not have. The message says what was expected and what was found.
        DataMissing: an InputError too: the set is not there.
    """
    if name not in SETS:
        raise InputError(f"unknown image set {name!r}; expected one of: {' '.join(SETS)}")
    reader = import_module(f".{SETS[name].reader}", __package__)
    numbers = (0, None) if sample else (heldout, train_images)
    try:
        full = reader.open_set(name, find_data(data_dir), *numbers)
    except InputError as error:
        raise error if is_there(name, data_dir) else DataMissing(error) from None
    if not sample:
        return full
    aside = full.some(full.train, sample // 2)
    few = replace(
        full, train=full.some(full.train, sample, sample // 2), heldout=aside, test=full.some(full.test, sample // 2)
    )
    if not (len(few.train) and len(few.test)):
        raise InputError(f"{name} has too few images for a sample of {sample}; expected a smaller one")
    return few


def is_there(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether a set is in the data folder, whole or not, or needs no files."""
    marks = SETS[name].marks
    return not marks or any((find_data(data_dir) / mark).exists() for mark in marks)


def find_data(data_dir: str | Path | None = None) -> Path:
    """The folder that data is read from: ``data_dir``, else ``$PRUNE_DATA``, else the project's ``data/``."""
    return Path(absolute(data_dir or os.environ.get("PRUNE_DATA") or home() / "data"))
