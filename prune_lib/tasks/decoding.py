"""Image files to pixels: read, resized, cropped."""

import io
import math
import random
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401  # brings the operator below

from ..system.errors import InputError

# The operator itself: the function around it warns, from torchvision 0.29, that it will go. PIL then decodes, slower.
_decode_jpeg = getattr(torch.ops.image, "decode_jpeg", None)
HIDDEN = "is a hidden file, as a Mac's copy leaves them (._*), and no image; remove it and all like it"
AHEAD = 3  # batches that are being decoded or wait to be used


def read(path: str) -> np.ndarray:
    """The pixels ``(H, W, 3)`` uint8 of an image file, RGB whatever its colours and whatever it is called.

    Raises:
        InputError: the file is missing, cut short or no image. Damage that the decoder reads over goes unnoticed.
    """
    try:
        data = np.fromfile(path, np.uint8)
        if _decode_jpeg is not None and data[:2].tobytes() == b"\xff\xd8":
            channels = _decode_jpeg(torch.from_numpy(data), 0, False)  # as they are in the file; not turned by EXIF
            if len(channels) in (1, 3):
                return channels.expand(3, -1, -1).permute(1, 2, 0).numpy()
        from PIL import Image

        with Image.open(io.BytesIO(data.data)) as image:  # CMYK, PNG …
            return np.array(image.convert("RGB"))
    except Exception as error:  # decoders raise many kinds
        reason = getattr(error, "strerror", None) or "cut short, damaged or no image"
        raise InputError(f"{path}: {reason}; copy that file again from the archive it came from") from None


def turned_by_exif(path: str | Path) -> bool:
    """Whether an image that can be read asks by its EXIF orientation to be shown on its side."""
    from PIL import ExifTags, Image

    with Image.open(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) >= 5


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(H, W, 3)`` uint8 to another size, as torchvision resizes uint8 tensors: bilinear, antialiased."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).view(1, *pixels.shape).permute(0, 3, 1, 2)
    image = torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return image.permute(0, 2, 3, 1)[0].numpy()


def centre(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle ``(side, side, 3)`` of an image resized to ``side * 256 / 224`` pixels on its shorter side."""
    short, shorter = round(side * 256 / 224), min(pixels.shape[:2])
    pixels = resize(pixels, *(short * length // shorter for length in pixels.shape[:2]))
    top, left = (round((length - side) / 2) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def random_box(height: int, width: int, rng: random.Random) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop, by the rule of torchvision's ``RandomResizedCrop``."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.randrange(height - h + 1), rng.randrange(width - w + 1), h, w
    h, w = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))  # the middle, as much as fits
    return (height - h) // 2, (width - w) // 2, h, w
