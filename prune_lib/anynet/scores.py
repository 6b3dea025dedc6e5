"""The criteria of ``papers.criteria`` on the groups of any network."""

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.hooks import mapped, tensors
from ..papers import criteria
from ..papers.baselines import Scores
from ..papers.criteria import CRITERIA, Layer, Seen, importance
from ..system.errors import InputError
from .structure import Group


def scores(model: nn.Module, groups: Sequence[Group], criterion: str, data: Any, images: int, seed: int) -> Scores:
    """``{root: (size,) float64}``: each choice's score, the sum of those of the filters that make it.

    Raises:
        InputError: an unknown criterion, or data that is missing or not batches that the model takes.
    """
    choose, seen = importance(criterion), looking(model, groups, criterion, data, images, seed)
    try:
        return {group.root: choose(as_criteria_see(group, seen), seen) for group in groups}
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{criterion}: {type(model).__name__} does not run on data ({reason})") from None


def comparable(found: Scores, model: nn.Module, groups: Sequence[Group], criterion: str, seed: int) -> Scores:
    """Scores that may be held against those of other groups, as the criterion's ``across`` says."""
    across = CRITERIA[criterion].across
    if across in CRITERIA:
        try:
            found, across = scores(model, groups, across, None, 1, seed), CRITERIA[across].across
        except InputError:  # a layer without a BatchNorm
            across = "mean"
    scale = {group.root: len(group.makers) if across == "raw" else float(found[group.root].mean().abs()) or 1.0
             for group in groups}  # fmt: skip
    return {root: values / scale[root] for root, values in found.items()}


def looking(model: nn.Module, groups: Sequence[Group], criterion: str, data: Any, images: int, seed: int) -> Seen:
    """What a copy of ``model`` shows to a criterion that is to score ``groups``."""
    needs = CRITERIA[criterion].needs
    if needs != "weights" and data is None:
        raise InputError(f"criterion {criterion} looks at images and data is missing; expected batches of them")
    batches = [] if needs == "weights" else some(data, images, next(chain(model.parameters(), model.buffers())))
    look = copy.deepcopy(model).eval() if needs != "weights" else model
    norms = {layer: norm for group in groups for layer, norm in group.norms.items()}
    layers = [
        Layer(name, look.get_submodule(name), look.get_submodule(norms[name]) if name in norms else None,
              norms.get(name, ""))
        for group in groups for name in group.makers
    ]  # fmt: skip
    return Seen(look, layers, lambda: batches, sum(len(labels) for _, labels in batches), seed)


def as_criteria_see(group: Group, seen: Seen) -> criteria.Group:
    """A group with the layers that make its channels, and which filter makes which of them."""
    layers = {layer.name: layer for layer in seen.layers}
    return criteria.Group(
        group.root, group.size, tuple(layers[name] for name in group.makers), tuple(group.makers.values())
    )


def some(data: Any, images: int, like: Tensor) -> list[tuple[Any, Tensor]]:
    """At most ``images`` examples of ``data`` in its batches, each with its labels, or -1 where there are none.

    A batch is a tensor, or a tuple of one and its labels, or a mapping that the model takes by name, with ``labels``
    or ``label`` in it; tensors of floating-point numbers get the type and device of ``like``.
    """
    if hasattr(data, "whole"):  # an image set of prune_lib.tasks
        data = data.whole(data.train, 128)
    if isinstance(data, Tensor | dict) or not isinstance(data, Iterable):
        data = [data]
    if type(images) is not int or images < 1:
        raise InputError(f"images is {images!r}; expected a whole number from 1")
    batches: list[tuple[Any, Tensor]] = []
    left = images
    for batch in data:
        given, labels = _apart(batch)
        given = _first(given, left, like)
        n = len(tensors(given)[0])
        if labels is None or labels.dim() != 1 or labels.dtype != torch.int64:
            labels = torch.full((n,), -1)
        batches.append((given, labels[:n].to(like.device)))
        left -= n
        if not left:
            break
    if left == images:
        raise InputError("data gives no images; expected at least one batch")
    return batches


def _first(given: Any, n: int, like: Tensor) -> Any:
    return mapped(given, lambda t: t[:n].to(like) if t.is_floating_point() else t[:n].to(like.device))


def _apart(batch: Any) -> tuple[Any, Tensor | None]:
    """A batch's input and its labels."""
    if isinstance(batch, dict) or hasattr(batch, "keys"):
        named = dict(batch)
        labels = next((named.pop(name) for name in ("labels", "label") if name in named), None)
        if not tensors(named):
            raise InputError(f"data gives a mapping of {', '.join(map(str, batch))}; expected tensors in it")
        return named, labels if isinstance(labels, Tensor) else None
    first, *rest = batch if isinstance(batch, list | tuple) and batch else [batch]
    if not isinstance(first, Tensor) or first.dim() < 3:
        found = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise InputError(f"data gives {found}; expected batches of images (N, C, H, W), alone or before labels")
    return first, rest[0] if rest and isinstance(rest[0], Tensor) else None
