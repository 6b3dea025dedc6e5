"""Pose: 17 keypoints of each person, as heatmaps over a crop around the person (Xiao et al. 2018, arXiv 1804.06208).

The persons' boxes are those annotated, in the test too; with a detector's boxes, as the table has them, AP is lower.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..system import distributed
from ..system.device import autocast
from ..system.errors import InputError
from .coco import Object, Picture, average_precision, read_annotations
from .pixels import Items, PixelSet, held_out
from .shapes import KEYPOINTS
from .task import LossOptions

MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)  # keypoint -> the one it is in a mirror
STRIDE = 4  # pixels of the crop to one of the heatmap
PADDING = 1.25  # the crop to the box


@dataclass(frozen=True)
class Person:
    picture: Picture
    body: Object


@dataclass(frozen=True)
class PoseSet(PixelSet):
    """Every person is an image: an upright crop of ``size`` around the person's box, widened to its proportions."""

    size: tuple[int, int] = (256, 192)  # height and width of the crop
    sigma: float = 2.0  # of the peak at a keypoint, in pixels of the heatmap
    metric: ClassVar[str] = "AP"

    def training_item(self, item: Person, rng: Random) -> tuple[np.ndarray, Any]:
        """Scaled by up to 30 %, in six of ten cases turned by up to 80 degrees, half of them mirrored."""
        scale = 1 + 0.3 * max(-1.0, min(1.0, rng.gauss(0, 1)))
        turn = 40 * max(-2.0, min(2.0, rng.gauss(0, 1))) if rng.random() < 0.6 else 0.0
        place = _placing(item.body.box, self.size, scale, math.radians(turn))
        pixels, points = self._crop(item, place), np.array(item.body.keypoints).reshape(-1, 3)
        points[:, :2] = _to_crop(place, points[:, :2])
        if rng.random() < 0.5:
            pixels, points = pixels[:, ::-1], points[list(MIRRORED)]
            points[:, 0] = self.size[1] - points[:, 0]
        return pixels, heatmaps(points, self.size, self.sigma)

    def test_item(self, item: Person) -> tuple[np.ndarray, Any]:
        place = _placing(item.body.box, self.size)
        return self._crop(item, place), place

    def _crop(self, item: Person, place: np.ndarray) -> np.ndarray:
        from PIL import Image

        whole = Image.fromarray(self.read(item.picture.path, item.picture.height, item.picture.width))
        there = tuple(place.flatten().tolist())
        return np.array(whole.transform(self.size[::-1], Image.Transform.AFFINE, there, Image.Resampling.BILINEAR))

    def batch_of(self, found: list[tuple[np.ndarray, Any]]) -> tuple[Tensor, Any]:
        maps, weights = (
            torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*(t for _, t in found), strict=True)
        )
        return self.images([pixels for pixels, _ in found]), (maps, weights)

    def loss(self, network, images: Tensor, targets, recipe: LossOptions) -> tuple[Tensor, Tensor]:
        """Mean square over all heatmaps' pixels; keypoints that are not labelled weigh nothing."""
        maps, weights = targets
        loss = ((network(images).float() - maps).square() * weights[:, :, None, None]).mean()
        return loss, torch.zeros_like(loss)

    def evaluate(self, model: nn.Module, split: Items, precision: str = "fp32") -> dict[str, float]:
        results = distributed.all_gather(self.predict(model, self.own(split), precision))
        pictures: dict[int, Picture] = {}
        for person in split:  # the bodies of this split only: a person left out was not asked for either
            seen = pictures.get(person.picture.id)
            pictures[person.picture.id] = replace(
                person.picture, objects=(*(seen.objects if seen else ()), person.body)
            )
        return average_precision(list(pictures.values()), results, "keypoints")

    def predict(self, model: nn.Module, split: Items, precision: str = "fp32") -> list[dict]:
        """A result for each person, as COCO has them: ``keypoints`` x, y and confidence in pixels of the file."""
        results = []
        for people, images, places in self.whole(split):
            with autocast(images.device, precision):
                maps = flip_test(model, images)
            peaks = decode(maps).double().cpu().numpy()
            for person, place, points in zip(people, places, peaks, strict=True):
                points[:, :2] = _from_crop(place, points[:, :2] * STRIDE)
                sure = points[points[:, 2] > 0.2, 2]
                results.append({
                    "image_id": person.picture.id, "category_id": person.body.label,
                    "keypoints": points.flatten().tolist(), "score": float(sure.mean()) if len(sure) else 0.0,
                })  # fmt: skip
        return results


def heatmaps(points: np.ndarray, size: Sequence[int], sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """What is to be learnt: ``(K, H/4, W/4)`` float32 with a peak of 1 at each keypoint, and its weights ``(K,)``.

    ``points`` ``(K, 3)`` are x, y in pixels of the crop and visibility; what is not labelled or outside weighs 0.
    """
    height, width = size[0] // STRIDE, size[1] // STRIDE
    x, y = points[:, 0] / STRIDE, points[:, 1] / STRIDE
    weights = (points[:, 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    across = np.exp(-((np.arange(width) + 0.5 - x[:, None]) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) + 0.5 - y[:, None]) ** 2) / (2 * sigma**2))
    maps = down[:, :, None] * across[:, None, :] * weights[:, None, None]
    return maps.astype(np.float32), weights.astype(np.float32)


def flip_test(model: nn.Module, images: Tensor) -> Tensor:
    """Heatmaps ``(N, K, h, w)`` of the images and of their mirror images, turned back, averaged.

    The mirrored map is shifted by one pixel, since the network's strides do not fall symmetrically.
    """
    straight, turned = model(images).float(), model(images.flip(3)).float()
    turned = turned[:, list(MIRRORED)].flip(3)
    turned[..., 1:] = turned[..., :-1].clone()
    return (straight + turned) / 2


def decode(maps: Tensor) -> Tensor:
    """``(N, K, h, w)`` -> ``(N, K, 3)``: x, y of the highest peak in pixels of the map, and its height.

    It is moved by a quarter of a pixel towards the higher of its neighbours, in each direction.
    """
    height, width = maps.shape[2:]
    peak, index = maps.flatten(2).max(2)
    x, y = index % width, index // width
    padded = nn.functional.pad(maps, (1, 1, 1, 1)).flatten(2)
    at = ((y + 1) * (width + 2) + x + 1)[..., None]

    def neighbour(step: int) -> Tensor:
        return padded.gather(2, at + step)[..., 0]

    right, below = neighbour(1) - neighbour(-1), neighbour(width + 2) - neighbour(-width - 2)
    within = (x > 0) & (x < width - 1), (y > 0) & (y < height - 1)
    return torch.stack([x + 0.5 + 0.25 * right.sign() * within[0], y + 0.5 + 0.25 * below.sign() * within[1], peak], 2)


def _placing(box: Sequence[float], size: Sequence[int], scale: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """The affine map ``(2, 3)`` from pixels of the crop to pixels of the image, as PIL takes it."""
    x, y, width, height = box
    zoom = PADDING * scale * max(width / size[1], height / size[0])
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    middle = np.array([x + width / 2, y + height / 2])
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([linear, (middle - linear @ (size[1] / 2, size[0] / 2))[:, None]], 1)


def _from_crop(place: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ place[:, :2].T + place[:, 2]


def _to_crop(place: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (points - place[:, 2]) @ np.linalg.inv(place[:, :2]).T


def _usable(body: Object) -> bool:
    return not body.crowd and any(body.keypoints[2::3]) and min(body.box[2:]) > 0


def load(root: Path, name: str, generated: bool) -> PoseSet:
    """The people of ``root`` whose keypoints are labelled; ``val2017`` is the test."""
    parts, digests = [], []
    for split in ("train2017", "val2017"):
        found = read_annotations(root, split, "person_keypoints")
        people = (Person(p, o) for p in found.pictures for o in p.objects)
        labelled = tuple(person for person in people if _usable(person.body))
        if not labelled:
            raise InputError(f"{root / split}: nobody's keypoints are labelled; expected COCO's person_keypoints")
        parts.append(labelled)
        digests.append(found.digest)
    small: dict = {"size": (64, 64), "sigma": 1.0, "test_batch": 40} if generated else {}
    fingerprint = hashlib.sha256("".join(digests).encode()).hexdigest()
    return PoseSet(name, root, KEYPOINTS, parts[0], (), parts[1], fingerprint, **small)


def open_set(name: str, data: Path, heldout: int, train_images: int | None) -> PixelSet:
    return held_out(load, name, data, heldout, train_images)
