"""Training images a second on one core: this project's loader beside torchvision's transforms in a DataLoader.

    python benchmarks/imagenet_loader.py ROOT [--images N] [--synthetic] [--repetitions R]

ROOT holds ``train/<class>/*.JPEG``, or ``val`` alone as the ImageNet sample does. Every loader makes the same kind of
batch on the CPU: random crops, mirrored, normalised, float32. The loaders take turns, each pinned with its threads and
worker processes to the same core; what is printed are medians, of the processor time of all of them and of the time on
the clock.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from prune_lib.tasks import imagenet

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--images", type=int, help="so many images of those in ROOT (default: all, at most 1000)")
    parser.add_argument("--synthetic", action="store_true", help="of ImageNet's usual 500x375, made from ROOT's")
    parser.add_argument("--repetitions", type=int, default=5, help="(default: %(default)s)")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", ".*decoding and encoding capabilities of TorchVision are deprecated")
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        root = enlarge(args.root, Path(folder), args.images or 200) if args.synthetic else args.root
        compare(root, args.images or 1000, args.repetitions)


def enlarge(root: Path, folder: Path, images: int) -> Path:
    """Write ``images`` of ``root`` at 500x375, upscaled, as JPEG files of quality 96 in ``folder``; returns it."""
    for path in sorted(root.glob("*/*/*"))[:images]:
        copy = folder / "train" / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize((500, 375), Image.Resampling.BICUBIC).save(copy, "JPEG", quality=96)
    (folder / "val").symlink_to(folder / "train")
    return folder


def compare(root: Path, images: int, repetitions: int) -> None:
    both = (root / "train").is_dir()
    data = imagenet.load(root, classes=None) if both else imagenet.sample(root)
    chosen = torch.linspace(0, len(data.train) - 1, min(images, len(data.train))).long()
    data = replace(data, train=data.train.take(chosen), workers=1)
    folder, index = root / ("train" if both else "val"), chosen.tolist()
    size = sum(os.path.getsize(root / path) for path in data.train.paths) / len(index)
    print(f"{len(index)} images of {size / 1000:.0f} kB, batches of {BATCH}, one core, {repetitions} repetitions")

    loaders: dict[str, Iterable] = {"prune_lib": Ours(data)}
    augment = [v2.RandomResizedCrop(data.side, antialias=True), v2.RandomHorizontalFlip()]
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std), v2.ToPureTensor()]
    pil = ImageFolder(folder, v2.Compose([*augment, v2.PILToTensor(), *finish]))
    tensor = ImageFolder(folder, v2.Compose([*augment, *finish]), loader=read)
    for name, dataset in (("v2 on PIL images", pil), ("v2 on tensors", tensor)):
        for workers in (0, 1):
            part = Subset(dataset, index)
            loaders[f"{name}, num_workers={workers}"] = DataLoader(part, BATCH, shuffle=True, num_workers=workers)

    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for repetition in range(repetitions + 1):
        for name, loader in loaders.items():
            before = processor_time(), time.perf_counter()
            assert sum(len(labels) for _, labels in loader) == len(index)
            after = processor_time(), time.perf_counter()
            if repetition:  # the first one fills the caches
                spent[name].append(tuple((b - a) / len(index) for a, b in zip(before, after, strict=True)))
    print(f"{'':33} {'images/s of CPU time':>22} {'images/s':>10} {'prune_lib is':>20}")
    medians = {name: [statistics.median(times) for times in zip(*found, strict=True)] for name, found in spent.items()}
    for name, (cpu, wall) in medians.items():
        times = [there / here for there, here in zip((cpu, wall), medians["prune_lib"], strict=True)]
        ratio = f"{times[0]:.2f}x, {times[1]:.2f}x" if name != "prune_lib" else ""
        print(f"{name:33} {1 / cpu:22.0f} {1 / wall:10.0f} {ratio:>20}")


class Ours:
    """Another epoch each time it is gone through, as a DataLoader is."""

    def __init__(self, data: imagenet.FolderSet):
        self.data, self.generator = data, torch.Generator().manual_seed(0)

    def __iter__(self):
        return self.data.batches(BATCH, self.generator)


def read(path: str) -> torch.Tensor:
    return decode_image(read_file(path), ImageReadMode.RGB)


def processor_time() -> float:
    """Seconds of this process, its threads, and the worker processes that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
