"""Detection: boxes and classes in COCO's images, their masks where the set has them, and AP."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..system import distributed
from ..system.device import autocast
from ..system.errors import InputError, needs
from .coco import Object, Picture, average_precision, corners, decode, read_annotations
from .decoding import resize
from .pixels import Items, PixelSet, held_out
from .task import LossOptions

STRIDE = 32  # images are padded to a multiple of it, so that the maps of the pyramid fit onto each other


@dataclass(frozen=True)
class DetectionSet(PixelSet):
    """Images scaled until the shorter side has ``short`` pixels, or the longer one ``long`` if that is less.

    With ``square`` they have so many pixels either way, whatever their proportions were.
    """

    short: int = 800
    long: int = 1333
    square: int = 0
    masks: bool = False  # every object has a mask too, which is learnt, and scored as ``segm_AP``
    metric: ClassVar[str] = "AP"

    def training_item(self, item: Picture, rng: Random) -> tuple[np.ndarray, Any]:
        """Scaled; half of them mirrored. What ``_trained`` leaves out is not trained on."""
        pixels, scale = self._scaled(item)
        real = _trained(item)
        boxes = (corners(real) * scale).astype(np.float32)
        masks = self._masks(item, real, *pixels.shape[:2])
        if rng.random() < 0.5:
            pixels, masks = pixels[:, ::-1], masks[:, :, ::-1]
            boxes = np.stack(
                [pixels.shape[1] - boxes[:, 2], boxes[:, 1], pixels.shape[1] - boxes[:, 0], boxes[:, 3]], 1
            )
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, pixels.shape[1])
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, pixels.shape[0])
        target = {"boxes": boxes, "labels": np.array([found.label + 1 for found in real], np.int64)}
        return pixels, target | ({"masks": masks} if self.masks else {})

    def test_item(self, item: Picture) -> tuple[np.ndarray, Any]:
        pixels, scale = self._scaled(item)
        return pixels, (pixels.shape[:2], scale)

    def _masks(self, item: Picture, objects: Sequence[Object], height: int, width: int) -> np.ndarray:
        """The masks of ``objects``, scaled as their image is: ``(M, height, width)`` uint8 of 0 and 1; none: M is 0."""
        from PIL import Image

        masks = [decode(found.mask, item.height, item.width) for found in objects if self.masks]
        if (item.height, item.width) != (height, width):
            masks = [np.asarray(Image.fromarray(m).resize((width, height), Image.Resampling.NEAREST)) for m in masks]
        return np.stack(masks) if masks else np.zeros((0, height, width), np.uint8)

    def _scaled(self, item: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The image, and how much larger it is than its file: ``(4,)``, across and down, for both corners of a box."""
        scale = min(self.short / min(item.height, item.width), self.long / max(item.height, item.width))
        across, down = (self.square / item.width, self.square / item.height) if self.square else (scale, scale)
        pixels = self.read(item.path, item.height, item.width)
        height, width = round(item.height * down), round(item.width * across)
        if (height, width) != pixels.shape[:2]:
            pixels = resize(pixels, height, width)
        return pixels, np.array([across, down, across, down])

    def batch_of(self, found: list[tuple[np.ndarray, Any]]) -> tuple[Tensor, Any]:
        targets = [
            {name: torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for name, array in target.items()}
            for _, target in found
        ]
        sizes = [pixels.shape[:2] for pixels, _ in found]
        return self.images([pixels for pixels, _ in found], self._stride), (sizes, targets)

    @property
    def _stride(self) -> int:
        return 1 if self.square else STRIDE

    def loss(self, network, images: Tensor, targets, recipe: LossOptions) -> tuple[Tensor, Tensor]:
        """The network's losses, added: two of each stage, and one of masks."""
        loss = torch.stack(list(network(images, *targets).values())).sum()
        return loss, torch.zeros_like(loss)

    def evaluate(self, model: nn.Module, split: Items, precision: str = "fp32") -> dict[str, float]:
        results = distributed.all_gather(self.predict(model, self.own(split), precision))
        found = average_precision(split, results, "bbox", len(self.classes))
        if self.masks:
            of_masks = average_precision(split, results, "segm", len(self.classes))
            found |= {f"segm_{name}": value for name, value in of_masks.items()}
        return found

    def predict(self, model: nn.Module, split: Items, precision: str = "fp32") -> list[dict]:
        """Every box found, as COCO has results: ``bbox`` x, y, width, height in pixels of the file, and ``score``.

        Where the set has masks, ``segmentation`` too: ``size`` and compressed ``counts``, in pixels of the file.
        """
        results = []
        for pictures, images, abouts in self.whole(split):
            padded = nn.functional.pad(images, (0, -images.shape[3] % self._stride, 0, -images.shape[2] % self._stride))
            with autocast(images.device, precision):
                found = model.detect(padded, [size for size, _ in abouts])  # type: ignore[operator]
            for picture, (_, scale), boxes in zip(pictures, abouts, found, strict=True):
                sides = boxes["boxes"].double().cpu() / torch.from_numpy(scale)
                masks = _pasted(boxes["masks"], sides, picture) if self.masks else [{}] * len(sides)
                sides[:, 2:] -= sides[:, :2]
                for box, label, sure, mask in zip(
                    sides.tolist(), boxes["labels"].tolist(), boxes["scores"].tolist(), masks, strict=True
                ):
                    about = {"image_id": picture.id, "category_id": label - 1, "bbox": box, "score": sure}
                    results.append(about | mask)
        return results


def _trained(picture: Picture) -> list[Object]:
    """The objects that are learnt: no crowds, and none whose box has less than a pixel across or down in the image."""
    boxes = corners(picture.objects)
    within = boxes.clip(0, (picture.width, picture.height) * 2)
    large = (within[:, 2:] - within[:, :2]).min(1) >= 1
    return [found for found, enough in zip(picture.objects, large, strict=True) if enough and not found.crowd]


def _pasted(small: Tensor, boxes: Tensor, picture: Picture) -> list[dict]:
    """Masks ``(M, 1, m, m)``, probabilities within ``boxes``, put into the picture one by one: COCO's run lengths."""
    with needs("tasks"):
        from pycocotools import mask as coco
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    found = []
    for mask, box in zip(small.float().cpu(), boxes.float(), strict=True):
        whole = paste_masks_in_image(mask[None], box[None], (picture.height, picture.width))[0, 0] > 0.5
        found.append({"segmentation": coco.encode(np.asfortranarray(whole.numpy().astype(np.uint8)))})
    return found


def load(root: Path, name: str, generated: bool) -> DetectionSet:
    """COCO's instances under ``root``; ``val2017`` is the test. Images without objects are not trained on.

    Sets called ``…-masks`` have masks too; images of those called ``…-300`` have 300 x 300 pixels.
    """
    masks, square = name.endswith("-masks"), 300 if name.endswith("-300") else 0
    train, test = (read_annotations(root, split, masks=masks) for split in ("train2017", "val2017"))
    if train.categories != test.categories:
        raise InputError(f"{root}/annotations: train2017 and val2017 have other categories; expected the same")
    trained = tuple(picture for picture in train.pictures if _trained(picture))
    small: dict = {"short": 96, "long": 160} if generated else {"test_batch": 4}
    names = tuple(train.categories.values())
    fingerprint = hashlib.sha256((train.digest + test.digest).encode()).hexdigest()
    return DetectionSet(name, root, names, trained, (), test.pictures, fingerprint, square=square, masks=masks, **small)


def open_set(name: str, data: Path, heldout: int, train_images: int | None) -> PixelSet:
    return held_out(load, name, data, heldout, train_images)
