"""What a set of images trains a network for: its loss, metric and evaluation. Each kind of set brings its own."""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

Place = tuple[int, int, int, int]  # seed, epoch, step and process: what all that a batch draws at random depends on


class LossOptions(Protocol):
    """What of a recipe the tasks look at."""

    @property
    def label_smoothing(self) -> float: ...
    @property
    def mixup(self) -> float: ...
    @property
    def cutout(self) -> int: ...


class Task:
    """Detection, segmentation and pose as they are; ``classification.Classification`` differs in most."""

    metric: ClassVar[str]  # the figure of ``evaluate`` that judges an epoch, in percent
    one_shape: ClassVar[bool] = False  # whether a network is given images of one shape and nothing else

    def some(self, split, count: int, skip: int = 0):
        """``count`` images of ``split`` after the first ``skip``, or as many as there are."""
        return split[skip : skip + count]

    def prepare(self, images: Tensor, targets, recipe: LossOptions, place: Place) -> tuple[Tensor, Any]:
        """A training batch as the recipe wants it; what ``loss`` then draws depends on ``place`` alone."""
        torch.manual_seed(hash(place) % 2**63)
        return images, targets

    def part(self, targets, images: slice):
        """The targets of some of the ``images`` of a batch: of every tensor and list in them, those places."""
        return type(targets)(self.part(t, images) for t in targets) if isinstance(targets, tuple) else targets[images]

    def loss(self, network, images: Tensor, targets, recipe: LossOptions) -> tuple[Tensor, Tensor]:
        """``(mean loss of a batch, what of it training_figures counts)``, scalars."""
        raise NotImplementedError

    def training_figures(self, counted: float) -> dict[str, float]:
        """The figures of an epoch of training besides the loss, from what ``loss`` counted, for each image."""
        return {}

    def evaluate(self, model: nn.Module, split, precision: str = "fp32") -> dict[str, float]:
        """The metrics over ``split``, in percent, ``metric`` among them; several processes share the images."""
        raise NotImplementedError
