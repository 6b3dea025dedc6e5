"""Semantic segmentation of Cityscapes (Cordts et al. 2016, arXiv 1604.01685), and mIoU over its 19 classes.

The layout is the set's own: ``ROOT/leftImg8bit/train/<city>/<name>_leftImg8bit.png``, and the labels of each pixel in
``ROOT/gtFine/train/<city>/<name>_gtFine_labelTrainIds.png``, or ``…_labelIds.png`` as they are distributed; the same
for ``val``.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..system import distributed
from ..system.device import autocast
from ..system.errors import InputError
from .decoding import HIDDEN, resize
from .pixels import Items, PixelSet, held_out
from .task import LossOptions

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # labelIds of the 19 classes
IGNORED = 255  # a pixel that is neither trained on nor scored
ENDINGS = ("_gtFine_labelTrainIds.png", "_gtFine_labelIds.png")


@dataclass(frozen=True)
class Street:
    image: str  # path under the root
    labels: str
    name: str


@dataclass(frozen=True)
class CityscapesSet(PixelSet):
    """Training sees random crops of images of random scale; the test whole images, refined by points."""

    crop: tuple[int, int] = (512, 1024)  # height and width
    points: int = 8196  # that the test refines in each step
    metric: ClassVar[str] = "mIoU"

    def training_item(self, item: Street, rng: Random) -> tuple[np.ndarray, Any]:
        """Scaled by 0.5 to 2, cropped where no class fills more than three quarters, half of them mirrored."""
        pixels, labels = self.open(item)
        scale = rng.uniform(0.5, 2)
        height, width = (max(1, round(side * scale)) for side in labels.shape)
        pixels = resize(pixels, height, width)
        rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), labels.shape, strict=True))
        labels = labels[rows][:, columns]
        tall, wide = (min(side, whole) for side, whole in zip(self.crop, labels.shape, strict=True))
        for _ in range(10):
            top, left = rng.randrange(height - tall + 1), rng.randrange(width - wide + 1)
            part = labels[top : top + tall, left : left + wide]
            counts = np.bincount(part[part != IGNORED], minlength=1)
            if (counts > 0).sum() > 1 and counts.max() < 0.75 * counts.sum():
                break
        pixels = pixels[top : top + tall, left : left + wide]
        if rng.random() < 0.5:
            pixels, part = pixels[:, ::-1], part[:, ::-1]
        grown = np.full(self.crop, IGNORED, np.uint8)
        grown[:tall, :wide] = part
        return np.pad(pixels, ((0, self.crop[0] - tall), (0, self.crop[1] - wide), (0, 0))), grown

    def test_item(self, item: Street) -> tuple[np.ndarray, Any]:
        return self.open(item)

    def open(self, item: Street) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(H, W, 3)`` and labels ``(H, W)`` uint8: 0 to 18, and 255 for what is not scored.

        Raises:
            InputError: a file that cannot be read, labels of another size than the image, or numbers that are no label.
        """
        from PIL import Image

        path = self.root / item.labels
        try:
            with Image.open(path) as image:
                labels = np.array(image)
        except Exception:  # decoders raise many kinds
            raise InputError(f"{path}: cut short, damaged or no image; copy that file again") from None
        if labels.ndim != 2:
            raise InputError(f"{path}: an image of colours; expected one number for each pixel, as in *{ENDINGS[1]}")
        labels = train_ids(labels, item.labels.endswith(ENDINGS[0]), str(path))
        return self.read(item.image, *labels.shape), labels

    def batch_of(self, found: list[tuple[np.ndarray, Any]]) -> tuple[Tensor, Any]:
        labels = torch.from_numpy(np.stack([labels for _, labels in found])).to(self.device)
        return self.images([pixels for pixels, _ in found]), labels.long()

    def loss(self, network, images: Tensor, targets, recipe: LossOptions) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the coarse scores, enlarged, and that of the refined points, added."""
        coarse, where, refined = network(images)
        enlarged = F.interpolate(coarse, size=targets.shape[1:], mode="bilinear", align_corners=False)
        height, width = targets.shape[1:]
        x, y = (
            (where[..., 0] * width).long().clamp_(0, width - 1),
            (where[..., 1] * height).long().clamp_(0, height - 1),
        )
        at_points = targets.flatten(1).gather(1, y * width + x)
        loss = _cross_entropy(enlarged, targets) + _cross_entropy(refined, at_points)
        return loss, torch.zeros_like(loss)

    def evaluate(self, model: nn.Module, split: Items, precision: str = "fp32") -> dict[str, float]:
        table = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        for _, images, labels in self.whole(self.own(split)):
            for guesses, truth in zip(self.predict(model, images, precision), labels, strict=True):
                table += confusion(
                    guesses[: truth.shape[0], : truth.shape[1]], torch.from_numpy(truth), len(self.classes)
                )
        table = distributed.all_reduce(table.to(self.device)).cpu()
        return {"mIoU": mean_iou(table), "pixel_accuracy": 100 * float(table.diagonal().sum() / table.sum())}

    def predict(self, model: nn.Module, images: Tensor, precision: str = "fp32") -> Tensor:
        """The class of every pixel, ``(N, H, W)`` int64 on the CPU, refined by points; see ``PointRend.refine``."""
        with autocast(images.device, precision):
            scores = model.refine(images, self.points)  # type: ignore[operator]
        scores = F.interpolate(scores.float(), size=images.shape[2:], mode="bilinear", align_corners=False)
        return scores.argmax(1).cpu()


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that count; 0 where there are none, rather than no number."""
    total = F.cross_entropy(scores.float(), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def train_ids(labels: np.ndarray, already: bool, where: str) -> np.ndarray:
    """``labelIds`` as the numbers 0 to 18 of the classes, 255 for the rest; ``already``: they are such numbers.

    Raises:
        InputError: a number that is neither.
    """
    wanted = "0 … 18 or 255" if already else "Cityscapes' ids, 0 … 33"
    if labels.dtype.kind not in "ui":  # 1 bit: whether its 1 is label 1 or, as white, 255, nobody can say
        kind = "1 bit" if labels.dtype.kind == "b" else f"{labels.dtype}"
        raise InputError(f"{where}: {kind} for each pixel; expected whole numbers of 8 bits, {wanted}")
    if labels.size and not (labels.min() >= 0 and labels.max() <= 255):
        number = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(f"{where}: label {int(number)}; expected {wanted}")
    table = np.full(256, -1, np.int16)
    if already:
        table[[*range(19), IGNORED]] = [*range(19), IGNORED]
    else:
        table[[*range(34), 255]] = IGNORED  # 255 is the -1 of a licence plate in 8 bits
        table[list(IDS)] = range(19)
    found = table[labels]
    if (found < 0).any():
        raise InputError(f"{where}: label {int(labels[found < 0][0])}; expected {wanted}")
    return found.astype(np.uint8)


def confusion(guesses: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How many pixels of each class (row) were taken for each (column): ``(K, K)`` int64; 255 does not count."""
    scored = truth != IGNORED
    pairs = truth[scored].long() * classes + guesses[scored].long()
    return pairs.bincount(minlength=classes**2).view(classes, classes)


def mean_iou(table: Tensor) -> float:
    """Mean over the classes of intersection over union, in percent, of a confusion table ``(K, K)``.

    A class that is neither there nor guessed anywhere is left out.
    """
    both = table.diagonal().double()
    union = table.sum(0) + table.sum(1) - both
    there = union > 0
    return 100 * float((both[there] / union[there]).mean()) if there.any() else 0.0


def load(root: Path, name: str, generated: bool) -> CityscapesSet:
    """Every labelled image of ``root``; ``val`` is the test.

    Raises:
        InputError: a folder, or the labels of an image, that is missing, or a file without bytes.
    """
    digest, parts = hashlib.sha256(), []
    for split in ("train", "val"):
        images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        if not images:
            raise InputError(
                f"no {root}/leftImg8bit/{split}/<city>/*_leftImg8bit.png; expected Cityscapes' folders leftImg8bit and "
                f"gtFine there; name another data folder with --data-dir or $PRUNE_DATA"
            )
        streets = []
        for image in images:
            if image.name.startswith("."):
                raise InputError(f"{image} {HIDDEN}")
            stem = root / "gtFine" / split / image.parent.name / image.name.removesuffix("_leftImg8bit.png")
            labels = next((path for end in ENDINGS if (path := Path(f"{stem}{end}")).is_file()), None)
            if labels is None:
                raise InputError(f"{stem}{ENDINGS[1]} is missing; expected the labels of {image}")
            for path in (image, labels):
                size = path.stat().st_size
                if not size:
                    raise InputError(f"{path} has no bytes; copy that file again from the archive it came from")
                digest.update(os.fsencode(f"{path.relative_to(root)} {size}\n"))
            short = image.name.removesuffix("_leftImg8bit.png")
            streets.append(Street(str(image.relative_to(root)), str(labels.relative_to(root)), short))
        parts.append(tuple(streets))
    small: dict = {"crop": (64, 128), "points": 1024} if generated else {"test_batch": 2}
    return CityscapesSet(name, root, CLASSES, parts[0], (), parts[1], digest.hexdigest(), **small)


def open_set(name: str, data: Path, heldout: int, train_images: int | None) -> PixelSet:
    return held_out(load, name, data, heldout, train_images)
