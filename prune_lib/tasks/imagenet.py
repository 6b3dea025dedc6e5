"""ImageNet, or any set laid out as it is, read from its image files as they are needed.

The folders are those of torchvision's ``ImageFolder``: ``ROOT/train/<class>/*.JPEG`` and ``ROOT/val/<class>/*.JPEG``.
Threads decode and crop a few batches ahead, and the device normalises whole batches. EXIF orientation is ignored, as
``ImageFolder`` ignores it.
"""

import hashlib
import os
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..system.errors import InputError
from ..system.paths import cores
from .classification import Classification, check_counts, split_by_class
from .decoding import AHEAD, HIDDEN, centre, random_box, read, resize

WNIDS = tuple(Path(__file__).with_name("imagenet_wnids.txt").read_text().split())  # the 1000 classes in label order
SPLITS = ("train", "val")
SUFFIXES = (".jpeg", ".jpg", ".png")
CPU = torch.device("cpu")
Names = Sequence[str] | None  # of class folders in label order; None: those that there are, sorted
CHUNK = 8  # images that a thread takes at a time


@dataclass(frozen=True)
class Files:
    """Images by file name, relative to the root of their set, and labels ``(N,)`` int64."""

    paths: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Tensor) -> "Files":
        return Files(tuple(self.paths[i] for i in index.tolist()), self.labels[index])


@dataclass(frozen=True)
class FolderSet(Classification):
    """A classification set in three parts, as ``images.ImageSet`` is, that stays on disk."""

    name: str
    root: Path
    classes: tuple[str, ...]
    train: Files
    heldout: Files
    test: Files
    fingerprint: str  # SHA-256 of the names and sizes in bytes of all files, not of what is in them
    side: int = 224  # pixels that the network sees
    device: torch.device = CPU  # where batches go
    workers: int = 0  # decoding threads; 0: one for each core that this process may use
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def to(self, device: torch.device) -> "FolderSet":
        return replace(self, device=torch.device(device))

    def batches(
        self, size: int, generator: torch.Generator, *, share: tuple[int, int] = (0, 1), skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One shuffled epoch of training batches ``((B, 3, side, side) float32, (B,) int64)``, channels last.

        Each image is a random crop of 8 to 100 % of its file, resized, and half of them are mirrored. All that is
        random comes from ``generator``, a CPU one: a crop depends on its place in the epoch, and neither on the number
        of threads nor on ``share`` or ``skip``. The last batch may be smaller.

        Args:
            share: ``(r, n)`` gives the r-th of n parts of each batch.
            skip: leave out so many batches, undecoded, as a resumed run does.

        Raises:
            InputError: a file of the batch cannot be read.
        """
        order = torch.randperm(len(self.train), generator=generator)
        seeds = torch.randint(2**63 - 1, (len(order),), generator=generator)
        parts = (batch.tensor_split(share[1])[share[0]] for batch in torch.arange(len(order)).split(size)[skip:])
        return self._stream((self.train.take(order[own]), seeds[own].tolist()) for own in parts)

    def whole(self, split: Files, size: int, *, share: tuple[int, int] = (0, 1)) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image of ``split`` once and in order, in batches of ``size``: the centre of the resized image.

        Its shorter side has ``side * 256 / 224`` pixels. ``share`` gives the r-th of n parts of the split.
        """
        own = torch.arange(len(split)).tensor_split(share[1])[share[0]]
        return self._stream((split.take(part), [None] * len(part)) for part in own.split(size))

    def _stream(self, batches: Iterable[tuple[Files, list]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode ahead of use. The seed that comes with an image is for its random crop, ``None`` for its centre."""
        batches, waiting = iter(batches), deque[tuple[list[Future], Tensor, Tensor]]()
        scale = (1 / (255 * torch.tensor(self.std))).repeat(self.side).to(self.device)  # for one row of pixels
        shift = (torch.tensor(self.mean) / torch.tensor(self.std)).repeat(self.side).to(self.device)
        pool = ThreadPoolExecutor(self.workers or cores(), "decode")
        try:
            while True:
                for files, seeds in islice(batches, AHEAD - len(waiting)):
                    shape = (len(files), self.side, self.side, 3)
                    pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
                    chunks = [slice(start, start + CHUNK) for start in range(0, len(files), CHUNK)]
                    jobs = [pool.submit(self._fill, pixels.numpy()[c], files.paths[c], seeds[c]) for c in chunks]
                    waiting.append((jobs, pixels, files.labels))
                if not waiting:
                    return
                jobs, pixels, labels = waiting.popleft()
                for job in jobs:
                    job.result()
                rows = pixels.to(self.device, non_blocking=True).view(-1, 3 * self.side)
                images = rows.float().mul_(scale).sub_(shift).view(pixels.shape).permute(0, 3, 1, 2)
                yield images, labels.to(self.device, non_blocking=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self, out: np.ndarray, paths: tuple[str, ...], seeds: list) -> None:
        """Write what the network sees of each file into ``out``; numpy copies, as torch would use more threads here."""
        for place, path, seed in zip(out, paths, seeds, strict=True):
            pixels = read(os.path.join(self.root, path))
            if seed is None:
                place[:] = centre(pixels, self.side)
                continue
            rng = random.Random(seed)
            top, left, height, width = random_box(pixels.shape[0], pixels.shape[1], rng)
            crop = resize(pixels[top : top + height, left : left + width], self.side, self.side)
            step = -1 if rng.random() < 0.5 else 1
            for channel in range(3):  # one at a time is four times as fast for a mirrored image
                place[..., channel] = crop[:, ::step, channel]


def load(
    root: Path, *, heldout: int = 0, train_images: int | None = None, side: int = 224, classes: Names = WNIDS
) -> FolderSet:
    """The set under ``root``, whose ``val`` is the test, with ``heldout`` training images set aside.

    Args:
        heldout, train_images: the same number from each class, always the same ones (``None``: all that are left).
        side: pixels of the square that the network sees.
        classes: names of the class folders in label order; ``None``: those that there are, sorted.

    Raises:
        InputError: folders or files that are missing or should not be there, or numbers of images that the set does
            not have. Images are opened only when they are needed; ``check`` opens all.
    """
    names, parts, fingerprint, _ = _scan(root, SPLITS, classes)
    check_counts(str(root), parts[0].labels, len(names), heldout, train_images)
    held, kept = heldout // len(names), None if train_images is None else train_images // len(names)
    aside, rest = (parts[0].take(index) for index in split_by_class(parts[0].labels, held, kept))
    name = "imagenet" if classes is WNIDS else Path(root).name
    return FolderSet(name, Path(root), names, rest, aside, parts[1], fingerprint, side)


def open_set(name: str, data: Path, heldout: int, train_images: int | None) -> FolderSet:
    """``imagenet`` or ``imagenet-sample``: folders of these names in the data folder."""
    if name == "imagenet":
        return load(data / name, heldout=heldout, train_images=train_images)
    return sample(data / name)


def sample(root: Path, *, side: int = 224) -> FolderSet:
    """The ``val`` under ``root``, of the 1000 classes, as training and as test images.

    It shows that everything runs, and how fast. No accuracy can be read off it: it tests on what it trained on.
    It raises what ``load`` raises.
    """
    names, parts, fingerprint, _ = _scan(root, ("val",), WNIDS)
    none = parts[0].take(torch.arange(0))
    return FolderSet("imagenet-sample", Path(root), names, parts[0], none, parts[0], fingerprint, side)


def check(root: Path, decode: bool = False, *, splits: Sequence[str] = SPLITS, classes: Names = WNIDS) -> list[str]:
    """All that is wrong under ``root``, a line each; ``decode`` reads every image. ``InputError``: there is no set."""

    def unreadable(path: str) -> list[str]:
        try:
            read(os.path.join(root, path))
            return []
        except InputError as error:
            return [str(error)]

    _, parts, _, problems = _scan(root, splits, classes, strict=False)
    paths = [path for files in parts for path in files.paths] if decode else []
    with ThreadPoolExecutor(cores(), "decode") as pool:
        for start in tqdm(range(0, len(paths), 1000), unit="thousand images", disable=None if paths else True):
            problems += chain.from_iterable(pool.map(unreadable, paths[start : start + 1000]))
    return problems


def _scan(root: Path, splits: Sequence[str], classes: Names, strict: bool = True) -> tuple:
    """The classes, the ``Files`` of each split, their fingerprint, and what is wrong; ``strict`` refuses that."""
    layout = " and ".join(f"{root}/{split}/<class>/*.JPEG" for split in splits)
    if absent := [split for split in splits if not os.path.isdir(f"{root}/{split}")]:
        where = "name another data folder with --data-dir or $PRUNE_DATA"
        raise InputError(f"no {' and '.join(absent)} folder in {root}; expected {layout}; {where}")
    top = {split: sorted(os.scandir(f"{root}/{split}"), key=lambda entry: entry.name) for split in splits}
    folders = {split: [entry.name for entry in top[split] if entry.is_dir()] for split in splits}
    shown = (name for name in set().union(*folders.values()) if not name.startswith("."))
    names = tuple(sorted(shown) if classes is None else classes)
    labels, digest = {name: label for label, name in enumerate(names)}, hashlib.sha256()
    parts, problems = [], [] if names else [f"no class folders in {root}; expected {layout}"]
    for split in splits:
        images: dict[str, int] = {}
        problems += _wrong_folders(f"{root}/{split}", top[split], names)
        for name in filter(labels.__contains__, folders[split]):
            entries = sorted(os.scandir(f"{root}/{split}/{name}"), key=lambda entry: entry.name)
            if not entries:
                problems.append(f"{root}/{split}/{name} is empty; expected the images of that class")
            for entry in entries:
                path, size = f"{split}/{name}/{entry.name}", entry.stat().st_size if entry.is_file() else -1
                if size >= 0 and entry.name.startswith("."):
                    problems.append(f"{root}/{path} {HIDDEN}")
                elif size < 0 or not entry.name.lower().endswith(SUFFIXES):
                    problems.append(f"{root}/{path} is no image; expected only {' '.join(SUFFIXES)} files there")
                elif not size:
                    problems.append(f"{root}/{path} has no bytes; copy that file again from the archive it came from")
                else:
                    images[path] = labels[name]
                    digest.update(os.fsencode(f"{path} {size}\n"))
        parts.append(Files(tuple(images), torch.tensor(list(images.values()), dtype=torch.int64)))
    if strict and problems:
        raise InputError(problems[0] + (f" (and {len(problems) - 1} more problems)" if problems[1:] else ""))
    return names, parts, digest.hexdigest(), problems


def _wrong_folders(folder: str, entries: list[os.DirEntry], names: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with the class folders: images beside them, folders that are missing or should not be there."""
    loose = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()]
    if loose:
        wanted = "sort them into class folders by the devkit's ground truth, as the valprep script does"
        yield f"{folder} holds {len(loose)} images in no class folder, {loose[0]} the first; {wanted}"
        return
    there = {entry.name for entry in entries if entry.is_dir()}
    missing, others = sorted(set(names) - there), sorted(there - set(names))
    if missing:
        many = f"{len(missing)} of {len(names)} class folders are missing"
        yield f"{folder}: {many}, {missing[0]} the first; unpack each class into a folder of its own"
    if others:
        yield f"{folder}: {len(others)} folders are of no class, {others[0]} the first; move them away"
