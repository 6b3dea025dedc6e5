"""A small set that this project draws, written to a folder in the formats of COCO and Cityscapes.

``coco/`` has images of discs, squares and triangles (``instances_*.json``: boxes, polygons) and of standing figures
(``person_keypoints_*.json``: 17 keypoints, masks run length encoded); ``cityscapes/`` has streets, every pixel
labelled. So readers, training and metrics can be run anywhere, as they would be on the real sets.
"""

import colorsys
import json
import math
import os
import shutil
import uuid
from pathlib import Path
from random import Random

import numpy as np

from ..system.paths import home

SEED, VERSION = 20220301, 1  # another version is written to another folder
COUNTS = {
    "train": {"objects": 160, "figures": 320, "streets": 60},
    "val": {"objects": 40, "figures": 80, "streets": 20},
}
SIDE, STREET = 96, (64, 128)  # pixels: of the squares that COCO's images are here; height and width of a street
CATEGORIES = {1: "disc", 2: "square", 3: "triangle"}
KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
SKELETON = (  # pairs of keypoints, from 1 as COCO counts them
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip


def folder() -> Path:
    """Where the set is, under the project's ``data/``; it is drawn when it is not there yet, in a second or two."""
    root = home() / "data" / f"shapes-{VERSION}"
    if not root.is_dir():
        new = root.with_name(f".{root.name}.{uuid.uuid4().hex}")
        draw(new)
        try:
            new.rename(root)  # whole or not at all
        except OSError:  # another process was faster
            shutil.rmtree(new)
    return root


def draw(root: Path) -> None:
    """Write ``root/coco`` and ``root/cityscapes``; the same pixels and annotations every time."""
    for number, split in enumerate(COUNTS):
        first = 1 + 1000 * number
        for kind, picture, categories in (
            ("instances", _objects, [{"id": n, "name": name} for n, name in CATEGORIES.items()]),
            ("person_keypoints", _figure, [{"id": 1, "name": "person", "keypoints": KEYPOINTS, "skeleton": SKELETON}]),
        ):
            images: list[dict] = []
            annotations: list[dict] = []
            for image in range(first, first + COUNTS[split]["objects" if kind == "instances" else "figures"]):
                name = f"{kind[0]}{image:011d}.png"
                pixels, found = picture(Random(SEED * 10_000 + image))
                _save(root / "coco" / f"{split}2017" / name, pixels)
                images.append({"id": image, "file_name": name, "height": SIDE, "width": SIDE})
                for fields in found:
                    annotations.append({"id": len(annotations) + 1, "image_id": image, "iscrowd": 0, **fields})
            path = root / "coco" / "annotations" / f"{kind}_{split}2017.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        for street in range(COUNTS[split]["streets"]):
            pixels, labels = _street(Random(SEED * 20_000 + first + street))
            stem = f"{split}/shapetown/shapetown_{street:06d}_000019_"
            _save(root / "cityscapes" / "leftImg8bit" / f"{stem}leftImg8bit.png", pixels)
            _save(root / "cityscapes" / "gtFine" / f"{stem}gtFine_labelIds.png", labels)


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    os.makedirs(path.parent, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _canvas(height: int, width: int, rng: Random):
    """A dull background that grows lighter to one side, and something to draw on it with."""
    from PIL import Image, ImageDraw

    base, slope = np.array([rng.uniform(60, 150) for _ in range(3)]), rng.uniform(-40, 40)
    pixels = base + slope * np.linspace(-0.5, 0.5, width)[None, :, None] + np.zeros((height, 1, 1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image, ImageDraw.Draw(image)


def _noisy(image, rng: Random) -> np.ndarray:
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 6, (*image.size[::-1], 3))
    return (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)


def _colour(hue: float, rng: Random) -> tuple[int, ...]:
    rgb = colorsys.hsv_to_rgb((hue + rng.uniform(-0.05, 0.05)) % 1, rng.uniform(0.6, 1), rng.uniform(0.6, 1))
    return tuple(round(255 * part) for part in rgb)


def _objects(rng: Random) -> tuple[np.ndarray, list[dict]]:
    """One to three shapes that hardly overlap. A kind prefers a hue, but its outline is what makes it."""
    image, pen = _canvas(SIDE, SIDE, rng)
    found: list[dict] = []
    boxes: list[tuple[float, ...]] = []
    for _ in range(rng.randint(1, 3)):
        radius = rng.uniform(9, 22)
        x, y = (rng.uniform(radius + 1, SIDE - radius - 1) for _ in range(2))
        if any(math.hypot(x - u, y - v) < radius + r for u, v, r in boxes):
            continue
        boxes.append((x, y, radius))
        kind = rng.choice(list(CATEGORIES))
        corners, turn = {1: 24, 2: 4, 3: 3}[kind], rng.uniform(-0.3, 0.3) + (math.pi / 4 if kind == 2 else math.pi / 2)
        angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
        outline = [(round(x + radius * math.cos(a), 2), round(y - radius * math.sin(a), 2)) for a in angles]
        pen.polygon(outline, fill=_colour(kind / 3, rng))
        across, down = zip(*outline, strict=True)
        box = [min(across), min(down), max(across) - min(across), max(down) - min(down)]
        area = abs(sum(a * d - c * b for (a, b), (c, d) in zip(outline, outline[1:] + outline[:1], strict=True))) / 2
        polygon = [value for point in outline for value in point]
        found.append({"category_id": kind, "bbox": box, "area": area, "segmentation": [polygon]})
    return _noisy(image, rng), found


def _figure(rng: Random) -> tuple[np.ndarray, list[dict]]:
    """A figure that faces us: its left is on our right. Left limbs are warm in colour, right ones cold."""
    from PIL import Image, ImageDraw

    image, pen = _canvas(SIDE, SIDE, rng)
    mask = Image.new("L", (SIDE, SIDE))
    under = ImageDraw.Draw(mask)
    tall = rng.uniform(58, 78)
    x, top = rng.uniform(0.42, 0.58) * SIDE, rng.uniform(3, SIDE - tall - 8)
    at = {"nose": (x, top + 0.1 * tall)}
    for side, sign in (("left", 1), ("right", -1)):
        at |= {f"{side}_eye": (x + sign * 0.035 * tall, top + 0.07 * tall)}
        at |= {f"{side}_ear": (x + sign * 0.08 * tall, top + 0.09 * tall)}
        at |= {f"{side}_shoulder": (x + sign * 0.15 * tall, top + 0.24 * tall)}
        at |= {f"{side}_hip": (x + sign * 0.1 * tall, top + 0.56 * tall)}
        arm, fore, leg = rng.uniform(0.05, 1.3), rng.uniform(-0.4, 1.2), rng.uniform(0, 0.35)
        for joint, of, length, angle in (
            ("elbow", "shoulder", 0.17, arm), ("wrist", "elbow", 0.16, arm + fore),
            ("knee", "hip", 0.22, leg), ("ankle", "knee", 0.22, leg * rng.uniform(0, 1)),
        ):  # fmt: skip
            u, v = at[f"{side}_{of}"]
            u, v = u + sign * length * tall * math.sin(angle), v + length * tall * math.cos(angle)
            at[f"{side}_{joint}"] = (min(max(u, 3), SIDE - 3), min(max(v, 3), SIDE - 3))
    hues, thick = {"left": 0.04, "right": 0.58}, max(5, round(0.09 * tall))
    for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
        for side, hue in hues.items():
            points, colour = [at[f"{side}_{joint}"] for joint in chain], _colour(hue, rng)
            for canvas, fill in ((pen, colour), (under, 255)):
                canvas.line(points, fill=fill, width=thick, joint="curve")
                _dot(canvas, points[-1], thick / 2, fill)
    torso = [at[f"{side}_{joint}"] for side, joint in
             (("left", "shoulder"), ("left", "hip"), ("right", "hip"), ("right", "shoulder"))]  # fmt: skip
    for canvas, fill in ((pen, _colour(0.33, rng)), (under, 255)):
        canvas.polygon(torso, fill=fill)
    for canvas, fill in ((pen, _colour(0.12, rng)), (under, 255)):
        _dot(canvas, (x, top + 0.09 * tall), 0.1 * tall, fill)
    for name in ("left_eye", "right_eye", "nose"):
        _dot(pen, at[name], 0.018 * tall, (20, 20, 40) if name != "nose" else (150, 40, 40))
    hidden = rng.choice(KEYPOINTS[9:11]) if rng.random() < 0.15 else None  # a wrist that nobody labelled
    marked: list[tuple] = [(0, 0, 0) if name == hidden else (*(round(c, 2) for c in at[name]), 2) for name in KEYPOINTS]
    solid = np.asarray(mask) > 0
    rows, columns = (np.flatnonzero(solid.any(axis)) for axis in (1, 0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    fields = {
        "category_id": 1, "bbox": [int(side) for side in box], "area": int(solid.sum()), "segmentation": _rle(solid),
        "keypoints": [value for point in marked for value in point], "num_keypoints": sum(v > 0 for *_, v in marked),
    }  # fmt: skip
    return _noisy(image, rng), [fields]


def _dot(pen, at: tuple[float, float], radius: float, fill) -> None:
    pen.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=fill)


def _rle(mask: np.ndarray) -> dict:
    """COCO's run lengths of a mask ``(H, W)``: down the columns, zeros first."""
    flat = mask.flatten(order="F").astype(np.int8)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], ends])).tolist()}


def _street(rng: Random) -> tuple[np.ndarray, np.ndarray]:
    """Sky, houses, trees, road and pavement, cars, people and signs; labels are Cityscapes' ``labelIds``."""
    from PIL import Image, ImageDraw

    height, width = STREET
    image, pen = _canvas(height, width, rng)
    labels = Image.new("L", (width, height), 23)
    under = ImageDraw.Draw(labels)
    ground, kerb = rng.randint(34, 40), rng.randint(48, 52)
    pen.rectangle((0, 0, width, ground), fill=_colour(0.58, rng))

    def put(shape: str, where, label: int, colour) -> None:
        getattr(pen, shape)(where, fill=colour)
        getattr(under, shape)(where, fill=label)

    left = 0
    while left < width:  # houses
        right = left + rng.randint(14, 30)
        put("rectangle", (left, rng.randint(8, 26), right, ground), 11, _colour(0.08, rng))
        left = right + rng.randint(1, 14)
    for _ in range(rng.randint(1, 3)):  # trees
        x, y, radius = rng.randint(8, width - 8), rng.randint(18, 28), rng.randint(6, 10)
        put("ellipse", (x - radius, y - radius, x + radius, y + radius), 21, _colour(0.33, rng))
    put("rectangle", (0, ground, width, kerb), 8, (150, 120, 150))
    put("rectangle", (0, kerb, width, height), 7, (80, 80, 90))
    for _ in range(rng.randint(1, 2)):  # signs on poles
        x, y = rng.randint(6, width - 6), rng.randint(14, 22)
        put("rectangle", (x - 1, y, x, ground + 4), 17, (190, 190, 190))
        put("ellipse", (x - 4, y - 4, x + 3, y + 3), 20, _colour(0.15, rng))
    for _ in range(rng.randint(1, 3)):  # people on the pavement
        x, y, size = rng.randint(5, width - 5), rng.randint(ground + 6, kerb), rng.randint(12, 18)
        put("rectangle", (x - 3, y - size, x + 3, y), 24, _colour(0.95, rng))
    for _ in range(rng.randint(1, 2)):  # cars on the road
        x, y, long = rng.randint(14, width - 14), rng.randint(kerb + 4, height - 3), rng.randint(10, 15)
        put("rectangle", (x - long, y - 9, x + long, y), 26, _colour(0.62, rng))
        put("ellipse", (x - long + 3, y - 16, x + long - 3, y - 2), 26, _colour(0.62, rng))
    under.rectangle((0, height - 2, width, height), fill=1)  # the bonnet of our own car is not scored
    return _noisy(image, rng), np.asarray(labels)
