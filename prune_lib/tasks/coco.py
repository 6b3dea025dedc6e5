"""COCO's annotation files, read and checked: boxes, classes and masks of instances, keypoints of people, and AP.

Lin et al. 2014, arXiv 1405.0312. The layout is COCO's own: ``ROOT/annotations/instances_train2017.json``,
``ROOT/annotations/person_keypoints_train2017.json``, images in ``ROOT/train2017``; the same for ``val2017``.
"""

import hashlib
import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from ..system.errors import InputError, needs, short
from ..system.reading import from_json

T = TypeVar("T")
AROUND = 1.0  # pixels by which a box may reach over the edge of its image: COCO's own are rounded
LONGEST, MOST = 2**16 - 1, 2**29 - 1  # pixels of a side, and of an image: what JPEG has, and pycocotools can count
OUTLINE = 10**6  # pixels that all outlines of an object may be long: pycocotools keeps each step of them


@dataclass(frozen=True)
class Object:
    """One annotated object of an image."""

    label: int  # place of its category among the classes, from 0
    box: tuple[float, float, float, float]  # x, y of the upper left corner, width, height, in pixels
    area: float  # of its mask
    crowd: bool  # a group that was not taken apart: neither trained on nor counted as missed
    keypoints: tuple[float, ...] = ()  # x, y, visibility (0: not labelled, 1: hidden, 2: visible) of each
    mask: bytes = b""  # COCO's compressed run lengths over the whole image; empty: masks were not read


@dataclass(frozen=True)
class Picture:
    path: str  # of its file, under the root
    id: int
    height: int
    width: int
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Annotations:
    pictures: tuple[Picture, ...]  # in the order of their ids
    categories: dict[int, str]  # COCO's id -> name, in the order of the ids
    digest: str  # SHA-256 of the annotation file and of the names and sizes of the images


def read_annotations(root: Path, split: str, kind: str = "instances", masks: bool = False) -> Annotations:
    """All pictures of ``split`` (``train2017``, ``val2017``), each with its objects; ``kind`` as in the file's name.

    Args:
        masks: read the outlines and run lengths of the objects too.

    Raises:
        InputError: no such file; not COCO's format; an id that comes twice; an image that is missing or has no bytes; a
            box outside its image, an unknown category or image, a mask that is none, or of another size than its image,
            an image of no size or of too large a one. It says which, and what is expected.
    """
    with needs("tasks"):  # now, and not after the first epoch
        import pycocotools  # noqa: F401
    path, folder = root / "annotations" / f"{kind}_{split}.json", root / split
    try:
        text = path.read_bytes()
    except OSError:
        raise InputError(
            f"no {path}; expected COCO's annotations and {root / split}/*.jpg beside them; name another data folder "
            f"with --data-dir or $PRUNE_DATA"
        ) from None
    document = from_json(text, str(path))
    try:
        images, found, kinds = (_dictionaries(document, key) for key in ("images", "annotations", "categories"))
        categories = dict(sorted(_by_id(path, "category", kinds, lambda kind: str(kind["name"])).items()))
        sizes = _by_id(path, "image", images, lambda image: (whole(image["height"]), whole(image["width"])))
        names = _by_id(path, "image", images, lambda image: str(image["file_name"]))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not COCO's format ({type(error).__name__}: {error}); expected images (id, file_name, height, "
            f"width), annotations and categories (id, name)"
        ) from None
    for image, (height, width) in sizes.items():
        if not (1 <= height <= LONGEST and 1 <= width <= LONGEST and height * width <= MOST):
            raise InputError(
                f"{path}, image {image}: {short(width)} x {short(height)} pixels; expected 1 to {LONGEST} a side, and "
                f"at most {MOST} in all"
            )
    there = {name: _bytes_of(folder, name, f"{path}, image {image}") for image, name in names.items()}
    for image, name in names.items():
        if there[name] <= 0:
            what = "has no bytes" if there[name] == 0 else "is missing"
            raise InputError(f"{folder / name} {what}; expected it, as {path.name} lists it as image {image}")
    labels = {category: label for label, category in enumerate(categories)}
    objects: dict[int, list[Object]] = {image: [] for image in names}
    for number, fields in enumerate(found):
        where = f"{path}, annotation {short(fields.get('id', number))}"
        image, read = _object(fields, where, labels, sizes, kind == "person_keypoints", masks)
        objects[image].append(read)
    digest = hashlib.sha256(text)
    digest.update(b"".join(os.fsencode(f"{split}/{name} {there[name]}\n") for name in sorted(names.values())))
    pictures = (Picture(f"{split}/{names[i]}", i, *sizes[i], tuple(objects[i])) for i in sorted(names))
    return Annotations(tuple(pictures), categories, digest.hexdigest())


def _dictionaries(document: object, key: str) -> list[dict]:
    found = document[key]  # type: ignore[index]
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise TypeError(f"{key} is {short(found, 40)}, expected a list of objects with names")
    return found


def _by_id(path: Path, what: str, entries: list[dict], value: Callable[[dict], T]) -> dict[int, T]:
    """``{id: value(entry)}`` of entries; of two with one id the second would hide the first."""
    found: dict[int, T] = {}
    for entry in entries:
        if (number := whole(entry["id"])) in found:
            raise InputError(
                f"{path}: two of its {what} entries have the id {number}; expected every id once (of files put "
                f"together, count the second one's ids on from the first's)"
            )
        found[number] = value(entry)
    return found


def whole(value: object) -> int:
    """A whole number as JSON has it, as text, or with a decimal point and nothing behind it.

    Raises:
        ValueError: it is something else, or beyond 64 bits.
    """
    text = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value)
    if text or type(value) is int or (isinstance(value, float) and value.is_integer()):
        number = int(value)  # type: ignore[call-overload]
        if -(2**63) <= number < 2**63:
            return number
    raise ValueError(f"{short(value)} is no whole number")


def _bytes_of(folder: Path, name: str, where: str) -> int:
    """Bytes of the file of that name in the folder or below it; -1 where there is none."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"{where}: its file_name {short(name)} leads out of {folder}; expected a file below it")
    try:
        found = os.stat(folder / name)
    except (OSError, ValueError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _object(fields: dict, where: str, labels: dict, sizes: dict, keypoints: bool, masks: bool) -> tuple[int, Object]:
    """An annotation as the id of its image and the object."""
    try:
        image, category, crowd = whole(fields["image_id"]), whole(fields["category_id"]), fields.get("iscrowd", 0)
        box = tuple(float(side) for side in fields["bbox"])
        points = tuple(float(value) for value in fields["keypoints"]) if keypoints else ()
        area = float(fields["area"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {type(error).__name__}: {error}; expected image_id, category_id, bbox [x, y, width, height], "
            f"area{', keypoints' if keypoints else ''}"
        ) from None
    if crowd not in (0, 1):
        raise InputError(f"{where}: iscrowd is {short(crowd)}; expected 0 or 1")
    if not 0 <= area < math.inf:
        raise InputError(f"{where}: area is {area}; expected its mask's number of pixels")
    if image not in sizes:
        raise InputError(f"{where}: image {image} is unknown; expected the id of one that the file lists")
    if category not in labels:
        raise InputError(f"{where}: category {category} is unknown; expected one of: {' '.join(map(str, labels))}")
    height, width = sizes[image]
    outside = len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0
    if outside or min(box[:2]) < -AROUND or box[0] + box[2] > width + AROUND or box[1] + box[3] > height + AROUND:
        raise InputError(
            f"{where}: box {fields['bbox']} is outside its image {image}; expected [x, y, width, height] within "
            f"{width} x {height} pixels"
        )
    labelled = len(points) == 51 and all(v in (0, 1, 2) for v in points[2::3]) and all(map(math.isfinite, points))
    if keypoints and not labelled:
        raise InputError(f"{where}: {len(points)} numbers as keypoints; expected 17 times x, y and 0, 1 or 2")
    mask = fields.get("segmentation")
    if isinstance(mask, dict) and mask.get("size") != [height, width]:
        raise InputError(
            f"{where}: its mask has the size {short(mask.get('size'))}; expected [{height}, {width}], as its image "
            f"{image} has"
        )
    if isinstance(mask, list) and any(not isinstance(p, list) or len(p) < 6 or len(p) % 2 for p in mask):
        raise InputError(f"{where}: its outline is no polygon; expected x, y of three corners or more")
    compressed = _compressed(mask, where, height, width) if masks else b""
    return image, Object(labels[category], box, area, bool(crowd), points, compressed)  # type: ignore[arg-type]


def _compressed(mask, where: str, height: int, width: int) -> bytes:
    """The mask of an annotation, polygons or run lengths of either kind, as compressed run lengths.

    pycocotools takes what it is given on trust, so all that could lead it astray is looked at before.

    Raises:
        InputError: there is none, or it is not a mask of this size.
    """
    with needs("tasks"):
        from pycocotools import mask as coco

    if isinstance(mask, list) and mask:
        room = 2 * max(height, width)  # corners outside are cut off
        corners = (value for polygon in mask for value in polygon)
        if not all(type(value) in (int, float) and abs(value) <= room for value in corners):
            raise InputError(f"{where}: a corner of its outline is not near its image; expected x and y in its pixels")
        if (length := sum(map(_length, mask))) > OUTLINE:
            raise InputError(f"{where}: its outline is {length:.0f} pixels long; expected at most {OUTLINE}")
        return coco.merge(coco.frPyObjects(mask, height, width))["counts"]
    runs = mask.get("counts") if isinstance(mask, dict) else None
    if isinstance(runs, str):
        runs = _runs(runs)
    if not isinstance(runs, list) or any(type(n) is not int or n < 0 for n in runs):
        raise InputError(f"{where}: it has no mask; expected polygons, or run lengths with their size")
    if sum(runs) != height * width:
        raise InputError(
            f"{where}: the run lengths of its mask add up to {sum(runs)} pixels; expected the {height * width} of its "
            f"image"
        )
    return coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)["counts"]


def _length(polygon: list[float]) -> float:
    """How many pixels a closed outline ``x, y, x, y, …`` is long, each side by the longer of its two extents."""
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    return sum(max(abs(a - c), abs(b - d)) for (a, b), (c, d) in pairwise([*points, points[0]]))


def _runs(text: str) -> list[int]:
    """COCO's compressed run lengths as numbers: five bits a character, and from the fourth on less the one before last.

    Of text that is something else, ``[-1]``.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return [-1]
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last of this number, whose highest bit is its sign
            number -= (bits & 16) << (shift - 4)
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return [-1] if shift else runs


def decode(mask: bytes, height: int, width: int) -> np.ndarray:
    """The pixels ``(height, width)`` uint8, 0 and 1, of compressed run lengths. (pycocotools' own warns in numpy 2.)"""
    runs = _runs(mask.decode("ascii"))
    return np.repeat((np.arange(len(runs)) % 2).astype(np.uint8), runs).reshape(width, height).T


def average_precision(
    pictures: Sequence[Picture], results: Sequence[dict], kind: str = "bbox", classes: int = 1
) -> dict[str, float]:
    """AP by pycocotools, in percent, of ``results`` against what is annotated in ``pictures``.

    Args:
        results: each with ``image_id``, ``category_id`` (a label, from 0), ``score``, and ``bbox``, ``keypoints`` or
            ``segmentation`` (``size`` and compressed ``counts``).
        kind: ``bbox``, ``segm`` for the overlap of masks, or ``keypoints`` for the likeness of 17 keypoints (OKS).

    Returns:
        ``AP`` (mean over the thresholds 0.50 to 0.95), ``AP50``, ``AP75`` and, where there are objects of such sizes,
        ``APS`` (not of keypoints), ``APM`` and ``APL``.
    """
    with needs("tasks"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    annotations: list[dict] = []
    for picture in pictures:
        for found in picture.objects:
            fields: dict = {"id": len(annotations) + 1, "image_id": picture.id, "category_id": found.label}
            fields |= {"bbox": list(found.box), "area": found.area, "iscrowd": int(found.crowd)}
            if kind == "keypoints":
                labelled = sum(v > 0 for v in found.keypoints[2::3])
                fields |= {"keypoints": list(found.keypoints), "num_keypoints": labelled}
            if kind == "segm":
                fields |= {"segmentation": {"size": [picture.height, picture.width], "counts": found.mask}}
            annotations.append(fields)
    truth = COCO()
    truth.dataset = {
        "info": {}, "images": [{"id": p.id, "height": p.height, "width": p.width} for p in pictures],
        "annotations": annotations, "categories": [{"id": label} for label in range(classes)],
    }  # fmt: skip
    names = ("AP", "AP50", "AP75", *(("APS",) if kind != "keypoints" else ()), "APM", "APL")
    with redirect_stdout(StringIO()):
        truth.createIndex()
        if not results:  # pycocotools refuses an empty list; nothing found is worth nothing
            areas = [found.area for picture in pictures for found in picture.objects if not found.crowd]
            return {name: 0.0 for name in names if any(_sized(area, name) for area in areas)}
        own = ("image_id", "category_id", "score", {"segm": "segmentation"}.get(kind, kind))
        judge = COCOeval(truth, truth.loadRes([{key: found[key] for key in own} for found in results]), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    values = zip(names, judge.stats[: len(names)], strict=True)
    return {name: 100 * float(value) for name, value in values if value >= 0}


def _sized(area: float, figure: str) -> bool:
    """Whether objects of ``area`` square pixels count in ``APS``, ``APM`` or ``APL``; in the others all do."""
    low, high = {"APS": (0, 32**2), "APM": (32**2, 96**2), "APL": (96**2, math.inf)}.get(figure, (0, math.inf))
    return low <= area <= high


def corners(objects: Sequence[Object]) -> np.ndarray:
    """Boxes ``(M, 4)`` float32 of x, y of the upper left and of the lower right corner."""
    boxes = np.array([found.box for found in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
