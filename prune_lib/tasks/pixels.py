"""What the sets of detection, segmentation and pose share: three parts on disk, read ahead of use by threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..system import distributed
from ..system.errors import InputError
from ..system.paths import cores
from .decoding import AHEAD, read, turned_by_exif
from .shapes import folder
from .task import Task

CPU = torch.device("cpu")
Items = tuple[Any, ...]  # what the set's own reader needs for each of its images


@dataclass(frozen=True)
class PixelSet(Task):
    """Training images, those held out to select the epoch, and test images, with what is to be found in each."""

    name: str
    root: Path
    classes: tuple[str, ...]
    train: Items
    heldout: Items
    test: Items
    fingerprint: str  # SHA-256 of the annotations and of the names and sizes of the images
    device: torch.device = CPU  # where batches go
    workers: int = 0  # reading threads; 0: one for each core that this process may use
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    test_batch: int = 16  # images of the same size that are evaluated at once

    def to(self, device: torch.device):
        return replace(self, device=torch.device(device))

    def training_item(self, item, rng: Random) -> tuple[np.ndarray, Any]:
        """``(H, W, 3)`` uint8 as the network shall see it, changed at random by ``rng``, and what is to be learnt."""
        raise NotImplementedError

    def test_item(self, item) -> tuple[np.ndarray, Any]:
        """The same without chance, and what is needed to bring an answer back to the image in its file."""
        raise NotImplementedError

    def batch_of(self, found: list[tuple[np.ndarray, Any]]) -> tuple[Tensor, Any]:
        """Images ``(B, 3, H, W)`` float32, channels last, on the device, and the targets that ``loss`` takes."""
        raise NotImplementedError

    def own(self, split: Items) -> Items:
        """This process's part of ``split``: whole batches, so that they are those of a process that is alone."""
        rank, processes = distributed.share()
        batches = torch.arange(-(-len(split) // self.test_batch)).tensor_split(processes)[rank].tolist()
        return split[batches[0] * self.test_batch : (batches[-1] + 1) * self.test_batch] if batches else ()

    def batches(
        self, size: int, generator: torch.Generator, *, share: tuple[int, int] = (0, 1), skip: int = 0
    ) -> Iterator[tuple[Tensor, Any]]:
        """One shuffled epoch of training batches; all that is random comes from ``generator``, a CPU one.

        Args:
            share: ``(r, n)`` gives the r-th of n parts of each batch.
            skip: leave out so many batches, unread, as a resumed run does.

        Raises:
            InputError: a file of the batch cannot be read, or is not what its annotation says.
        """
        order = torch.randperm(len(self.train), generator=generator)
        seeds = torch.randint(2**63 - 1, (len(order),), generator=generator).tolist()
        parts = (batch.tensor_split(share[1])[share[0]] for batch in torch.arange(len(order)).split(size)[skip:])
        jobs = ([(self.train[order[i]], Random(seeds[i])) for i in part.tolist()] for part in parts)
        for found in self._ahead(jobs, self.training_item):
            yield self.batch_of(found)

    def whole(self, split: Items) -> Iterator[tuple[Items, Tensor, list]]:
        """``(items, images, what test_item gave beside each)``, in order; sizes may differ from batch to batch."""
        parts = [split[start : start + self.test_batch] for start in range(0, len(split), self.test_batch)]
        jobs = ([(item,) for item in part] for part in parts)
        for part, found in zip(parts, self._ahead(jobs, self.test_item), strict=True):
            yield part, self.images([pixels for pixels, _ in found]), [about for _, about in found]

    def images(self, pixels: list[np.ndarray], multiple: int = 1) -> Tensor:
        """Images ``(H, W, 3)`` uint8, smaller ones padded with zeros at the right and below, normalised.

        Height and width are padded up to a multiple of ``multiple``.
        """
        height, width = (-(-max(p.shape[axis] for p in pixels) // multiple) * multiple for axis in (0, 1))
        mean, std = (torch.tensor(x, device=self.device).view(3, 1, 1) for x in (self.mean, self.std))
        batch = torch.zeros(len(pixels), 3, height, width, device=self.device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        for place, image in zip(batch, pixels, strict=True):
            values = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)
            place[:, : image.shape[0], : image.shape[1]] = (values.float() / 255 - mean) / std
        return batch

    def read(self, path: str, height: int, width: int) -> np.ndarray:
        """The pixels ``(H, W, 3)`` of the image at ``path`` under the root, of the size that its annotation says.

        Raises:
            InputError: it cannot be read, or has another size.
        """
        pixels = read(str(self.root / path))
        if pixels.shape[:2] != (height, width):
            turned = pixels.shape[:2] == (width, height) and turned_by_exif(self.root / path)
            how = "; its EXIF orientation turns it, which is not followed here: save it upright" if turned else ""
            raise InputError(
                f"{self.root / path}: {pixels.shape[1]} x {pixels.shape[0]} pixels; expected {width} x {height}, as "
                f"its annotation says{how}"
            )
        return pixels

    def _ahead(self, batches: Iterable[list[tuple]], job) -> Iterator[list]:
        """``job`` done for every item of every batch, a few batches ahead of use."""
        waiting = deque[list[Future]]()
        pool = ThreadPoolExecutor(self.workers or cores(), "read")
        try:
            for batch in batches:
                waiting.append([pool.submit(job, *arguments) for arguments in batch])
                if len(waiting) >= AHEAD:
                    yield [found.result() for found in waiting.popleft()]
            while waiting:
                yield [found.result() for found in waiting.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def held_out(
    load: Callable[[Path, str, bool], PixelSet], name: str, data: Path, heldout: int, train_images: int | None
) -> PixelSet:
    """What ``load(root, name, generated)`` gives, with so many of its training images set aside, always the same ones.

    The set is under ``data`` or, if it is generated, drawn here.

    Raises:
        InputError: more images are asked for than there are, or what ``load`` raises.
    """
    generated = name.startswith("shapes")
    root = (folder() if generated else data) / ("cityscapes" if "cityscapes" in name else "coco")
    full = load(root, name, generated)
    if heldout < 0 or heldout + (1 if train_images is None else max(train_images, 1)) > len(full.train):
        wanted = f"{heldout} held out and {train_images or 'some'} for training ask for more"
        raise InputError(f"{name} has {len(full.train)} training images; {wanted}")
    order = torch.randperm(len(full.train), generator=torch.Generator().manual_seed(20210715)).tolist()
    stop = None if train_images is None else heldout + train_images
    aside, rest = (tuple(full.train[i] for i in sorted(part)) for part in (order[:heldout], order[heldout:stop]))
    return replace(full, heldout=aside, train=rest)
