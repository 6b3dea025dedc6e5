"""The criteria of ``papers.criteria`` on the groups of any network."""

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..papers import criteria
from ..papers.baselines import Scores
from ..papers.criteria import CRITERIA, Layer, Seen, importance
from ..system.errors import InputError
from .groups import Group


def scores(model: nn.Module, groups: Sequence[Group], criterion: str, data: Any, images: int, seed: int) -> Scores:
    """``{root: (size / blocks,) float64}``: each channel's score, the sum of those of the filters that make it.

    Channels of a group that grouped convs cut in blocks are scored by their place within a block.

    Raises:
        InputError: an unknown criterion, or data that is missing or not batches of images that the model takes.
    """
    choose, needs = importance(criterion), CRITERIA[criterion].needs
    if needs != "weights" and data is None:
        raise InputError(f"criterion {criterion} looks at images and data is missing; expected batches of them")
    batches = [] if needs == "weights" else _some(data, images, next(chain(model.parameters(), model.buffers())))
    look, norms = copy.deepcopy(model).eval(), {conv: norm for group in groups for conv, norm in group.norms.items()}
    layers = {
        conv: Layer(
            conv, look.get_submodule(conv), look.get_submodule(norms[conv]) if conv in norms else None,
            norms.get(conv, ""),
        )
        for group in groups for conv in group.convs
    }  # fmt: skip
    seen = Seen(look, list(layers.values()), lambda: batches, sum(len(labels) for _, labels in batches), seed)
    try:
        return {group.root: choose(_made(group, layers), seen).view(group.blocks, -1).sum(0) for group in groups}
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{criterion}: {type(model).__name__} does not run on data ({reason})") from None


def _made(group: Group, layers: dict[str, Layer]) -> criteria.Group:
    """A group as the criteria see it: the layers that make its channels, and which filter makes which."""
    makers = [member for member in group.members if member.side == "out" and member.layer in group.convs]
    return criteria.Group(
        group.root, group.size, tuple(layers[member.layer] for member in makers),
        tuple((member.channels, member.roots) for member in makers),
    )  # fmt: skip


def _some(data: Any, images: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """At most ``images`` images of ``data`` in its batches, with their labels, or -1 where it has none."""
    if hasattr(data, "whole"):  # an image set of prune_lib.tasks
        data = data.whole(data.train, 128)
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        data = [data]
    if type(images) is not int or images < 1:
        raise InputError(f"images is {images!r}; expected a whole number from 1")
    batches: list[tuple[Tensor, Tensor]] = []
    left = images
    for batch in data:
        given = batch if isinstance(batch, list | tuple) and batch else [batch]
        batch = given[0]
        if not isinstance(batch, Tensor) or batch.dim() != 4:
            found = tuple(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
            raise InputError(f"data gives {found}; expected batches of images (N, C, H, W), alone or before labels")
        batch = batch[:left].to(like)
        labels = torch.full((len(batch),), -1)
        if len(given) > 1 and isinstance(given[1], Tensor) and given[1].dim() == 1 and given[1].dtype == torch.int64:
            labels = given[1][:left]
        batches.append((batch, labels.to(like.device)))
        left -= len(batch)
        if not left:
            break
    if left == images:
        raise InputError("data gives no images; expected at least one batch")
    return batches
