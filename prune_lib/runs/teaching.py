"""Distillation: a network learns from the answers of another one, as a pruned one from the full one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nets.hooks import answer
from ..nets.reparam import copied
from ..system.checkpoint import digest
from ..system.errors import InputError, short


@dataclass(frozen=True)
class Teacher:
    """A trained network, and how much of the loss is its own.

    The loss is ``(1 - weight) L + weight T^2 KL(softmax(t / T) || softmax(s / T))``, with L the task's own loss, s and
    t the logits ``(N, classes)`` of the two networks for the same images, mixed or cut as they are, and T the
    temperature (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, sections 2 and 2.1).

    Raises:
        InputError: a temperature or a weight that cannot be.
    """

    network: nn.Module = field(repr=False)
    temperature: float = 4.0  # higher: more is said of classes that are not the likeliest
    weight: float = 0.5  # the share of the loss that is the teacher's

    def __post_init__(self):
        if not isinstance(self.network, nn.Module):
            raise InputError(f"teacher is {type(self.network).__name__}; expected a torch.nn.Module")
        for name, low, high in (("temperature", 1e-3, 1e3), ("weight", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"teacher: {name} is {short(value)}; expected a number in {low:g} … {high:g}")

    @classmethod
    def of(cls, given: "nn.Module | Teacher", device: torch.device) -> "Teacher":
        """A teacher with a copy of its network on ``device``, in evaluation mode; what was given stays as it is."""
        given = given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]
        network = copied(given.network).to(device).eval().requires_grad_(False)
        return cls(network, given.temperature, given.weight)

    def identity(self) -> str:
        """What a saved state must have in common with a run that goes on from it."""
        return f" teacher {digest(self.network.state_dict())[:12]} {self.temperature:g} {self.weight:g}"

    def loss(self, own: Tensor, images: Tensor, logits: Tensor) -> Tensor:
        """``own``, the task's loss of ``images``, with the teacher's share in it; ``logits`` are the pupil's."""
        with torch.no_grad():
            theirs = answer(self.network(images)).float()
        if theirs.shape != logits.shape or theirs.dim() != 2:
            raise InputError(
                f"the teacher answers with {tuple(theirs.shape)} where the network answers with {tuple(logits.shape)}; "
                "expected logits (images, classes) of both"
            )
        wide, narrow = (F.log_softmax(each.float() / self.temperature, 1) for each in (theirs, logits))
        apart = F.kl_div(narrow, wide, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.weight) * own + self.weight * apart


class Overheard:
    """``network(images)``; ``said`` is what it answered last."""

    def __init__(self, network: Callable[[Tensor], Any]):
        self.network = network
        self.said: Any = None

    def __call__(self, images: Tensor) -> Tensor:
        self.said = answer(self.network(images))
        return self.said
