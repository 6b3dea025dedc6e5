"""BatchNorm's statistics taken anew: a network that lost filters still has those of the whole one."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..system.device import autocast
from ..system.errors import InputError
from .hooks import apart, call, mapped, tensors


@torch.no_grad()
def recalibrated(model: nn.Module, batches: Iterable[Any], images: int = 5120, precision: str = "fp32") -> nn.Module:
    """``model``, with the statistics of its BatchNorms replaced by the plain mean over ``batches``, in place.

    Adaptive BatchNorm of EagleEye (Li et al. 2020, arXiv 2007.02491, section 3.2): no weight changes, and no labels are
    needed. All else is in evaluation mode, as is the network that comes back.

    Args:
        batches: what a DataLoader gives: tensors, tuples of one and labels, or mappings that the model takes by name;
            a tensor or a mapping is one batch.
        images: batches are taken until so many examples were seen.

    Raises:
        InputError: no batches, something else in them, or some that the model does not run on.
    """
    if isinstance(batches, Tensor | Mapping):
        batches = [batches]
    if not isinstance(batches, Iterable):
        raise InputError(f"batches is {type(batches).__name__}; expected batches, as a DataLoader gives")
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    usual = [norm.momentum for norm in norms]
    model.eval()
    like, seen = next(chain(model.parameters(), model.buffers()), torch.zeros(())), 0
    try:
        for batch in batches:
            given = mapped(apart(batch)[0], lambda t: t.to(like) if t.is_floating_point() else t.to(like.device))
            if not seen:  # not before it is known that there is a batch
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # every batch weighs the same
                    norm.train()
            with autocast(like.device, precision):
                _run(model, given)
            seen += len(tensors(given)[0])
            if seen >= images:
                break
    finally:
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        model.eval()
    if not seen:
        raise InputError("there are no batches; expected at least one, to take BatchNorm's statistics of")
    return model


def _run(model: nn.Module, given: Any) -> None:
    """Raises InputError: ``model`` does not run on ``given``."""
    try:
        call(model, given)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model may raise
        shapes, reason = [tuple(t.shape) for t in tensors(given)], (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(
            f"{type(model).__name__} does not run on a batch {shapes} ({type(error).__name__}: {reason})"
        ) from None
