"""The criteria on the groups of any network: the papers' own functions, and the baselines'."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.hooks import run, watching
from ..papers import baselines, cdp, cfdp
from ..papers.baselines import Scores
from ..system.errors import InputError
from .groups import Group

CRITERIA = ("cdp", "cfdp", "l1", "random")


def scores(model: nn.Module, groups: Sequence[Group], criterion: str, data: Any, images: int, seed: int) -> Scores:
    """``{root: (size / blocks,) float64}``: each channel's score, the sum of those of the filters that make it.

    Channels of a group that grouped convs cut in blocks are scored by their place within a block.

    Raises:
        InputError: an unknown criterion, or data that is missing or not batches of images that the model takes.
    """
    if criterion not in CRITERIA:
        raise InputError(f"unknown criterion {criterion!r}; expected one of: {' '.join(CRITERIA)}")
    if criterion in ("cdp", "cfdp") and data is None:
        raise InputError(f"criterion {criterion} looks at images and data is missing; expected batches of them")
    convs = list(dict.fromkeys(conv for group in groups for conv in group.convs))
    if criterion == "l1":
        found = baselines.norms(model, convs)
    elif criterion == "random":
        found = baselines.drawn({conv: len(x) for conv, x in baselines.norms(model, convs).items()}, seed)
    else:
        batches = _some(data, images, next(chain(model.parameters(), model.buffers())))
        look, norms = copy.deepcopy(model).eval(), {conv: n for g in groups for conv, n in g.norms.items()}
        try:
            found = _cdp(look, convs, batches) if criterion == "cdp" else _cfdp(look, convs, norms, batches)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"{criterion}: {type(model).__name__} does not run on data ({reason})") from None
    result: Scores = {}
    for group in groups:
        total = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            if member.side == "out" and member.layer in group.convs:
                total.index_add_(0, member.roots, found[member.layer].cpu().double()[member.channels])
        result[group.root] = total.view(group.blocks, -1).sum(0)
    return result


def _some(data: Any, images: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """At most ``images`` images of ``data`` in its batches, each with a number to count it by."""
    if hasattr(data, "whole"):  # an image set of prune_lib.tasks
        data = data.whole(data.train, 128)
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        data = [data]
    if type(images) is not int or images < 1:
        raise InputError(f"images is {images!r}; expected a whole number from 1")
    batches: list[tuple[Tensor, Tensor]] = []
    left = images
    for batch in data:
        batch = batch[0] if isinstance(batch, list | tuple) and batch else batch
        if not isinstance(batch, Tensor) or batch.dim() != 4:
            found = tuple(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
            raise InputError(f"data gives {found}; expected batches of images (N, C, H, W), alone or before labels")
        batch = batch[:left].to(like)
        batches.append((batch, torch.arange(len(batch))))
        left -= len(batch)
        if not left:
            break
    if left == images:
        raise InputError("data gives no images; expected at least one batch")
    return batches


def _cdp(model: nn.Module, convs: Sequence[str], batches: Sequence) -> Scores:
    features = cdp.gather(model, convs, batches, sum(len(labels) for _, labels in batches))
    return {conv: cdp.importance(table) for conv, table in features.items()}


def _cfdp(model: nn.Module, convs: Sequence[str], norms: Mapping[str, str], batches: Sequence) -> Scores:
    """By the maps that come out of a conv, normalised by the BatchNorm right behind it if there is one, rectified."""
    owners = {norms.get(conv, conv): conv for conv in convs}
    total = sum(len(labels) for _, labels in batches)
    sums: Scores = {}

    def see(place: str, maps: Tensor) -> None:
        parts = maps.relu().float().split(cfdp.CHUNK)
        scored = torch.stack([cfdp.importance(part).double() * len(part) for part in parts]).sum(0)
        sums[owners[place]] = sums.get(owners[place], torch.zeros_like(scored)) + scored

    with watching(model, owners, see):
        run(model, batches)
    return {conv: score / total for conv, score in sums.items()}
