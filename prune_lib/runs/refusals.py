"""What cannot be trained, told in one line: before it begins, or where its first step fails."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.hooks import answer
from ..papers.recipe import Recipe
from ..system.errors import InputError
from .execution import Execution


def check_given(model: Any, data: Any, recipe: Any, execution: Iterable[str]) -> None:
    """Raises InputError: something else than a network with weights to train, an image set, a recipe and options."""
    if not isinstance(model, nn.Module):
        inner = "; expected its .model" if isinstance(getattr(model, "model", None), nn.Module) else ""
        raise InputError(f"model is {type(model).__name__}{inner or '; expected a torch.nn.Module'}")
    if not all(hasattr(data, part) for part in ("train", "test", "metric", "loss")):
        raise InputError(
            f"data is {type(data).__name__}; expected an image set of prune_lib.tasks, as tasks.load('cifar10') gives"
        )
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"recipe is {type(recipe).__name__}; expected a papers.recipe.Recipe; Recipe.from_dict makes one of a dict"
        )
    known = [field.name for field in dataclasses.fields(Execution)]
    for name in execution:
        if name not in known:
            raise InputError(f"train has no option {name!r}; expected one of: {' '.join(known)}")
    learning = [p for p in model.parameters() if p.requires_grad]
    if not learning:
        raise InputError(f"{type(model).__name__} has no weight that takes a gradient; expected model.requires_grad_()")
    if odd := [p.dtype for p in learning if p.dtype != torch.float32]:
        raise InputError(
            f"{type(model).__name__} has weights of {str(odd[0]).removeprefix('torch.')}; expected model.float(), "
            "which precision='bf16' or 'fp16' multiplies in that"
        )


@contextmanager
def told(model: nn.Module, data: Any, images: Tensor) -> Iterator[None]:
    """Within this block ``model`` learns from ``images``; where it fails, and why can be said, that is said.

    Raises:
        InputError: it does not run on them, or answers with something else than logits of the classes of ``data``.
    """
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a model may raise
        why = _unfit(model, data, images) if data.metric == "top1" else ""
        if not why:
            raise
        raise InputError(why) from error


def _unfit(model: nn.Module, data: Any, images: Tensor) -> str:
    """Why ``model`` cannot classify ``images`` of ``data``; empty: nothing was found."""
    kind, shape, classes = type(model).__name__, tuple(images.shape), len(data.classes)
    try:
        with torch.no_grad():
            logits = answer(model.eval()(images))
    except InputError as error:
        return str(error)
    except Exception as error:  # whatever a model may raise
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        return f"{kind} does not run on the images {shape} of {data.name} ({type(error).__name__}: {reason})"
    if logits.dim() == 2 and len(logits) == len(images) and logits.shape[1] >= classes:
        return ""
    return (
        f"{kind} answers with {tuple(logits.shape)} to {shape} of {data.name}; expected {(len(images), classes)} logits"
    )
