"""Classification: cross-entropy, of smoothed labels and mixed images where the recipe says so; top-1 and top-5."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nets.hooks import AT_ONCE, answer
from ..system import distributed
from ..system.device import autocast
from ..system.errors import InputError
from .task import LossOptions, Place, Task

FEW = 8  # classes of a sample
ON_A_CARD = 1000  # images that are evaluated at once, or as many as there is memory for
Pairs = tuple[tuple[float, Tensor], ...]  # (share of the loss, labels): one, or two where images are mixed


class Classification(Task):
    """What the sets in memory and those of image files have in common."""

    metric: ClassVar[str] = "top1"
    one_shape: ClassVar[bool] = True
    classes: Sequence[str]
    device: Any

    def whole(self, split, size: int, *, share: tuple[int, int] = (0, 1)) -> Iterator[tuple[Tensor, Tensor]]:
        raise NotImplementedError

    def some(self, split, count: int, skip: int = 0):
        """The same of each of the first ``FEW`` classes; at least one of each."""
        chosen = split.labels.unique()[:FEW]
        each, before = (max(1, number // FEW) if number else 0 for number in (count, skip))
        places = [(split.labels == label).nonzero().flatten()[before : before + each] for label in chosen]
        return split.take(torch.cat(places).sort().values if places else torch.arange(0))

    def prepare(self, images: Tensor, targets: Tensor, recipe: LossOptions, place: Place) -> tuple[Tensor, Pairs]:
        """Images mixed in pairs and cut out of, ``(B, 3, H, W)``, and their labels ``(B,)``, each with its share."""
        pairs: Pairs = ((1.0, targets),)
        if recipe.mixup:  # Zhang et al. 2018, arXiv 1710.09412; partners are the next image of the same process
            share = float(np.random.default_rng(list(place[:3])).beta(recipe.mixup, recipe.mixup))
            images = images.lerp(images.roll(1, 0), 1 - share)
            pairs = ((share, targets), (1 - share, targets.roll(1, 0)))
        return (cut_out(images, recipe.cutout, place) if recipe.cutout else images), pairs

    def part(self, targets, images: slice):
        if isinstance(targets, Tensor):
            return targets[images]
        return tuple((share, labels[images]) for share, labels in targets)

    def loss(self, network, images: Tensor, targets, recipe: LossOptions) -> tuple[Tensor, Tensor]:
        """Cross-entropy, a mean over the images, and how many of them are classified right.

        Args:
            targets: labels ``(B,)``, or those of ``prepare``.
        """
        pairs: Pairs = ((1.0, targets),) if isinstance(targets, Tensor) else targets
        logits = answer(network(images))
        losses = [
            share * F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            for share, labels in pairs
        ]
        loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        return loss, (logits.detach().argmax(1) == pairs[0][1]).sum()

    def training_figures(self, counted: float) -> dict[str, float]:
        return {"train_top1": 100 * counted}

    def evaluate(self, model: nn.Module, split, precision: str = "fp32") -> dict[str, float]:
        """``{"top1": percent}`` over all images of ``split``, each weighing the same; ``top5`` too from 100 classes on.

        A batch that a card has no memory for is halved, down to one image.
        """
        ks = {"top1": 1, "top5": 5} if len(self.classes) >= 100 else {"top1": 1}
        size = ON_A_CARD if self.device.type == "cuda" else AT_ONCE
        correct = None
        while correct is None:
            try:
                correct = self._correct(model, split, tuple(ks.values()), size, precision)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
        counts = distributed.all_reduce(correct).tolist()
        return {name: 100 * n / len(split) for name, n in zip(ks, counts, strict=True)}

    def _correct(self, model: nn.Module, split, ks: tuple[int, ...], size: int, precision: str) -> Tensor:
        """How many images of this process's part have their label among the k likeliest classes, for each of ``ks``."""
        correct = torch.zeros(len(ks), device=self.device, dtype=torch.int64)
        for images, labels in self.whole(split, size, share=distributed.share()):
            with autocast(images.device, precision):
                guesses = answer(model(images)).topk(max(ks)).indices == labels[:, None]
            correct += torch.stack([guesses[:, :k].sum() for k in ks])
        return correct


def cut_out(images: Tensor, size: int, place: Place) -> Tensor:
    """Blank a square around a random pixel of each image, cropped at the border (DeVries & Taylor 2017)."""
    side, half = images.shape[-1], size // 2
    generator = torch.Generator().manual_seed(hash(place) % 2**31)
    centre = torch.randint(side, (2, len(images), 1), generator=generator).to(images.device)
    line = torch.arange(side, device=images.device)
    inside = (line >= centre - half) & (line < centre - half + size)
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def check_counts(where: str, labels: Tensor, classes: int, heldout: int, train_images: int | None) -> None:
    """Refuse numbers of images that a set with these ``labels`` cannot give, the same number of each class."""
    for what, images in (("heldout", heldout), ("train_images", classes if train_images is None else train_images)):
        if images % classes or images < (0 if what == "heldout" else classes):
            raise InputError(f"{what} is {images}; expected a multiple of the {classes} classes of {where}")
    smallest = int(labels.bincount(minlength=classes).min())
    each = 1 if train_images is None else train_images // classes
    if heldout // classes + each > smallest:
        raise InputError(
            f"{where} has {smallest} training images in its smallest class; {heldout} held out and "
            f"{train_images or 'some'} for training ask for more"
        )


def split_by_class(labels: Tensor, held: int, kept: int | None) -> tuple[Tensor, Tensor]:
    """Indices of ``held`` images of each class, and of ``kept`` others (all for ``None``), always the same ones."""
    generator = torch.Generator().manual_seed(20210715)
    parts: tuple[list, list] = ([], [])
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        parts[0].append(members[:held])
        parts[1].append(members[held : None if kept is None else held + kept])
    held_out, training = (torch.cat(part).sort().values for part in parts)
    return held_out, training
