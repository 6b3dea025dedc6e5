"""Detection: boxes and classes in COCO's images, and their AP."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .coco import Picture, average_precision, corners, read_annotations
from .dense import DenseSet, Items
from .imagenet import resize

STRIDE = 32  # images are padded to a multiple of it, so that the maps of the pyramid fit onto each other


@dataclass(frozen=True)
class DetectionSet(DenseSet):
    """Images scaled until the shorter side has ``short`` pixels, or the longer one ``long`` if that is less."""

    short: int = 800
    long: int = 1333
    score: ClassVar[str] = "AP"

    def training_item(self, item: Picture, rng: Random) -> tuple[np.ndarray, Any]:
        """Scaled; half of them mirrored. Crowds, and boxes of less than a pixel, are not trained on."""
        pixels, scale = self._scaled(item)
        real = [found for found in item.objects if not found.crowd and min(found.box[2:]) >= 1]
        boxes = corners(real) * scale
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
            boxes = np.stack(
                [pixels.shape[1] - boxes[:, 2], boxes[:, 1], pixels.shape[1] - boxes[:, 0], boxes[:, 3]], 1
            )
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, pixels.shape[1])
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, pixels.shape[0])
        return pixels, (boxes, np.array([found.label + 1 for found in real], np.int64))

    def test_item(self, item: Picture) -> tuple[np.ndarray, Any]:
        pixels, scale = self._scaled(item)
        return pixels, (pixels.shape[:2], scale)

    def _scaled(self, item: Picture) -> tuple[np.ndarray, float]:
        scale = min(self.short / min(item.height, item.width), self.long / max(item.height, item.width))
        pixels = self.read(item.path, item.height, item.width)
        if scale == 1:
            return pixels, scale
        return resize(pixels, round(item.height * scale), round(item.width * scale)), scale

    def batch_of(self, found: list[tuple[np.ndarray, Any]]) -> tuple[Tensor, Any]:
        targets = [
            {"boxes": torch.from_numpy(boxes).to(self.device), "labels": torch.from_numpy(labels).to(self.device)}
            for _, (boxes, labels) in found
        ]
        sizes = [pixels.shape[:2] for pixels, _ in found]
        return self.images([pixels for pixels, _ in found], STRIDE), (sizes, targets)

    def loss(self, model: nn.Module, images: Tensor, targets) -> Tensor:
        """The four losses of the two stages, added."""
        return torch.stack(list(model(images, *targets).values())).sum()

    def evaluate(self, model: nn.Module, split: Items, precision: str = "fp32") -> dict[str, float]:
        return average_precision(split, self.predict(model, split, precision), "bbox", len(self.classes))

    def predict(self, model: nn.Module, split: Items, precision: str = "fp32") -> list[dict]:
        """Every box found, as COCO has results: ``bbox`` x, y, width, height in pixels of the file, and ``score``."""
        results = []
        for pictures, images, abouts in self.whole(split):
            padded = nn.functional.pad(images, (0, -images.shape[3] % STRIDE, 0, -images.shape[2] % STRIDE))
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                found = model.detect(padded, [size for size, _ in abouts])  # type: ignore[operator]
            for picture, (_, scale), boxes in zip(pictures, abouts, found, strict=True):
                sides = boxes["boxes"].double().cpu() / scale
                sides[:, 2:] -= sides[:, :2]
                for box, label, sure in zip(
                    sides.tolist(), boxes["labels"].tolist(), boxes["scores"].tolist(), strict=True
                ):
                    results.append({"image_id": picture.id, "category_id": label - 1, "bbox": box, "score": sure})
        return results


def load(root: Path, name: str, generated: bool) -> DetectionSet:
    """COCO's instances under ``root``; ``val2017`` is the test. Images without objects are not trained on."""
    train, test = (read_annotations(root, split) for split in ("train2017", "val2017"))
    if train.categories != test.categories:
        raise InputError(f"{root}/annotations: train2017 and val2017 have other categories; expected the same")
    trained = tuple(p for p in train.pictures if any(not o.crowd and min(o.box[2:]) >= 1 for o in p.objects))
    small: dict = {"short": 96, "long": 160} if generated else {"test_batch": 4}
    names = tuple(train.categories.values())
    fingerprint = hashlib.sha256((train.digest + test.digest).encode()).hexdigest()
    return DetectionSet(name, root, names, trained, (), test.pictures, fingerprint, **small)
