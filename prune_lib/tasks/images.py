"""Small image sets held whole on the device, augmented a batch at a time: CIFAR-10, and the embedded digits."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..system.errors import InputError
from .cifar10 import CIFAR10_SHAPES, read_npz, read_torchvision
from .classification import Classification, check_counts, split_by_class

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Split:
    """Images ``(N, 3, 32, 32)`` uint8 and labels ``(N,)`` int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Split":
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class ImageSet(Classification):
    """A classification set in three parts: training, held out from training (it selects the epoch), and test."""

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Split
    heldout: Split
    test: Split
    fingerprint: str  # SHA-256 of the arrays as they were read
    flip: bool = True  # mirror half of the training images
    pad: int = 4  # random crops from images zero-padded by this many pixels

    def to(self, device: torch.device) -> "ImageSet":
        train, heldout, test = (
            Split(split.images.to(device), split.labels.to(device)) for split in (self.train, self.heldout, self.test)
        )
        return replace(self, train=train, heldout=heldout, test=test)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 ``(N, 3, H, W)`` -> float32, channels last, each channel shifted and scaled by the set's constants."""
        return self._scaled(images.permute(0, 2, 3, 1).contiguous())

    def _scaled(self, pixels: Tensor) -> Tensor:
        """uint8 ``(N, H, W, 3)`` -> float32 ``(N, 3, H, W)`` in the same memory, row by row of pixels."""
        n, height, width, _ = pixels.shape
        mean, std = (_repeated(values, width, pixels.device) for values in (self.mean, self.std))
        rows = pixels.reshape(-1, 3 * width).float().div_(255).sub_(mean).div_(std)
        return rows.view(n, height, width, 3).permute(0, 3, 1, 2)

    @property
    def device(self) -> torch.device:
        return self.train.images.device

    def batches(
        self, size: int, generator: torch.Generator, *, share: tuple[int, int] = (0, 1), skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One shuffled epoch of augmented training batches ``((B, 3, 32, 32) float32, (B,) int64)``.

        Crop and flip are one gather of whole rows of pixels for the batch. The last batch may be smaller. All that is
        random comes from ``generator``, a CPU one, so that every device sees the same images.

        Args:
            share: ``(r, n)`` gives the r-th of n parts of each batch.
            skip: leave out so many batches, as a resumed run does.
        """
        device, n, side = self.device, len(self.train), self.train.images.shape[-1]
        order = torch.randperm(n, generator=generator).to(device)
        shift = torch.randint(0, 2 * self.pad + 1, (2, n, 1), generator=generator).to(device)
        mirror = (torch.rand(n, 1, generator=generator) < (0.5 if self.flip else 0.0)).to(device)
        outer = side + 2 * self.pad
        first_row, first_col = shift[0], torch.where(mirror, 2 * self.pad - shift[1], shift[1])
        source, line = order[:, None] + n * mirror, torch.arange(side, device=device)
        place = (source * outer + first_row) * outer + first_col  # of each crop's first row of pixels
        for batch in torch.arange(n, device=device).split(size)[skip:]:
            own = batch.tensor_split(share[1])[share[0]]
            crops = self._stretches.index_select(0, (place[own] + outer * line).flatten())
            yield self._scaled(crops.view(len(own), side, side, 3)), self.train.labels[order[own]]

    @cached_property
    def _stretches(self) -> Tensor:
        """Each run of ``side`` pixels in the padded training images, and then in their mirror images: a view.

        ``(places, 3 side)`` uint8, by the place of its first pixel. It holds ``2 N (side + 2 pad)^2`` pixels.
        """
        padded = torch.nn.functional.pad(self.train.images, (self.pad,) * 4).permute(0, 2, 3, 1)
        both = torch.cat([padded, padded.flip(2)]) if self.flip else padded
        return both.contiguous().view(-1).unfold(0, 3 * self.train.images.shape[-1], 3)

    def whole(self, split: Split, size: int, *, share: tuple[int, int] = (0, 1)) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image of ``split`` once, in order and as it is, in batches of ``size``; ``share`` as above."""
        own = split.take(torch.arange(len(split), device=self.device).tensor_split(share[1])[share[0]])
        for images, labels in zip(own.images.split(size), own.labels.split(size), strict=True):
            yield self.normalise(images), labels


@cache
def _repeated(values: tuple[float, float, float], times: int, device: torch.device) -> Tensor:
    """One number for each channel, for a row of pixels ``(3 * times,)``; on the device once, not for every batch."""
    return torch.tensor(values, device=device).repeat(times)


def open_set(name: str, data: Path, heldout: int, train_images: int | None) -> ImageSet:
    """``cifar10`` or ``digits``, whole on the CPU."""
    full = _cifar10(data) if name == "cifar10" else _digits()
    classes = len(full.classes)
    check_counts(name, full.train.labels, classes, heldout, train_images)
    each = None if train_images is None else train_images // classes
    held, kept = split_by_class(full.train.labels, heldout // classes, each)
    return replace(full, train=full.train.take(kept), heldout=full.train.take(held))


def _digits() -> ImageSet:
    """1,797 handwritten digits, 8x8 in 17 greys, shown at the CIFAR nets' 32x32x3. They come with the package.

    They are scikit-learn's ``load_digits``: the test part of Alpaydin and Kaynak's Optical Recognition of Handwritten
    Digits, UCI Machine Learning Repository, CC BY 4.0.
    """
    found = read_npz(Path(__file__).with_name("digits.npz"), {"images": (1797, 8, 8), "labels": (1797,)})
    grey = torch.from_numpy((found["images"] * (255 / 16)).round().astype(np.uint8))
    images = grey[:, None].repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(found["labels"]).long()
    test, train = split_by_class(labels, 30, None)
    return ImageSet(
        name="digits",
        classes=tuple("0123456789"),
        mean=(0.305, 0.305, 0.305),
        std=(0.376, 0.376, 0.376),
        train=Split(images[train], labels[train]),
        heldout=Split(images[:0], labels[:0]),
        test=Split(images[test], labels[test]),
        fingerprint=_fingerprint(grey.numpy(), labels.numpy()),
        flip=False,  # a mirrored digit is another sign
        pad=2,
    )


def _cifar10(folder: Path) -> ImageSet:
    """CIFAR-10 (Krizhevsky 2009) from ``cifar10.npz`` or torchvision's own files, normalised as DCFF's code does."""
    archive, batches = folder / "cifar10.npz", folder / "cifar-10-batches-py"
    if os.path.exists(archive):
        arrays = read_npz(archive, CIFAR10_SHAPES)
    elif os.path.exists(batches):
        arrays = read_torchvision(folder)
    else:
        packed = folder / "cifar-10-python.tar.gz"
        unpack = f"{packed.name} alone does not count: tar -xzf {packed} -C {folder}; " if packed.is_file() else ""
        raise InputError(
            f"no CIFAR-10 in {folder}; {unpack}expected cifar10.npz (x_train y_train x_test y_test) or torchvision's "
            f"cifar-10-batches-py there; name another folder with --data-dir or $PRUNE_DATA, or let "
            f"'prune data cifar10 --download' fetch it"
        )
    for key, shape in CIFAR10_SHAPES.items():
        found = arrays[key]
        if found.shape != shape or found.dtype.kind not in "ui":
            raise InputError(f"{folder}: {key} is {found.dtype} {found.shape}; expected whole numbers {shape}")
        if key.startswith("y"):
            labels, counts = np.unique(found, return_counts=True)
            if labels.tolist() != list(range(10)) or set(counts) != {shape[0] // 10}:
                raise InputError(f"{folder}: {key} does not hold {shape[0] // 10} labels of each class 0 … 9")
        elif found.min() < 0 or found.max() > 255:
            raise InputError(f"{folder}: {key} holds values from {found.min()} to {found.max()}; expected bytes")
    train, test = (
        Split(
            torch.from_numpy(arrays[f"x_{part}"].astype(np.uint8)).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(arrays[f"y_{part}"].astype(np.int64)),
        )
        for part in ("train", "test")
    )
    return ImageSet(
        name="cifar10",
        classes=CIFAR10_CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        train=train,
        heldout=Split(train.images[:0], train.labels[:0]),
        test=test,
        fingerprint=_fingerprint(*(arrays[key].astype(np.uint8) for key in CIFAR10_SHAPES)),
    )


def download(name: str, folder: Path) -> None:
    """Let torchvision fetch the set into the data folder (it checks its own checksum)."""
    if name != "cifar10":
        raise InputError(f"{name} needs no download; expected: cifar10")
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(str(folder), download=True)  # unpacked only once its checksum is the known one
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{name} could not be fetched ({error}); try again, or fetch cifar10.npz by hand") from None


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
