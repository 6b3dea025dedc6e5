"""The criteria of ``papers.criteria`` on the groups of any network."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.hooks import answer, apart, call, mapped, tensors
from ..nets.reparam import copied
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
    except InputError:
        raise
    except Exception as error:  # whatever a model may raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
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
    needs, look, batches = CRITERIA[criterion].needs, model, []
    if needs != "weights":
        if data is None:
            raise InputError(f"criterion {criterion} looks at images and data is missing; expected batches of them")
        network = _to_look_at(model)
        look = Answering(network, some(data, images, next(chain(network.parameters(), network.buffers()))))
        batches = look.numbered()
    norms = {layer: norm for group in groups for layer, norm in group.norms.items()}
    layers = [
        Layer(name, look.get_submodule(name), look.get_submodule(norms[name]) if name in norms else None,
              norms.get(name, ""))
        for group in groups for name in group.makers
    ]  # fmt: skip
    return Seen(look, layers, lambda: batches, sum(len(labels) for _, labels in batches), seed)


def _to_look_at(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, of frozen weights too with gradients, and of half precision in float32."""
    look = copied(model).eval()
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in look.parameters()):
        look = look.float()
    for parameter in look.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return look


class Answering(nn.Module):
    """A network that is asked by the numbers of examples and answers with one tensor, whatever it takes and gives.

    Criteria cut batches of tensors into parts; a batch of examples ``(N,)`` by number can be cut, as a mapping cannot.
    """

    def __init__(self, network: nn.Module, batches: Sequence[tuple[Any, Tensor]]):
        super().__init__()
        self.network, self.given = network, batches
        self.starts = [0, *accumulate(len(labels) for _, labels in batches)]

    def numbered(self) -> list[tuple[Tensor, Tensor]]:
        """The batches: the numbers of their examples, and their labels."""
        spans = zip(self.starts, self.given, strict=False)
        return [(torch.arange(at, at + len(labels), device=labels.device), labels) for at, (_, labels) in spans]

    def forward(self, numbers: Tensor) -> Tensor:
        """What the network answers to the examples ``numbers (n,)``, which are neighbours of one batch."""
        batch = bisect_right(self.starts, int(numbers[0])) - 1
        given, labels = self.given[batch]
        first, n = int(numbers[0]) - self.starts[batch], len(labels)
        wanted = slice(first, first + len(numbers))
        return answer(call(self.network, mapped(given, lambda t: t[wanted] if t.dim() and len(t) == n else t)))

    def get_submodule(self, target: str) -> nn.Module:
        return self.network.get_submodule(target)


def as_criteria_see(group: Group, seen: Seen) -> criteria.Group:
    """A group with the layers that make its channels, and which filter makes which of them."""
    layers = {layer.name: layer for layer in seen.layers}
    return criteria.Group(
        group.root, group.size, tuple(layers[name] for name in group.makers), tuple(group.makers.values())
    )


def some(data: Any, images: int, like: Tensor) -> list[tuple[Any, Tensor]]:
    """At most ``images`` examples of ``data`` in its batches, each with its labels, or -1 where there are none.

    Batches are as in ``nets.hooks.apart``; tensors of floating-point numbers get the type and device of ``like``.
    """
    if hasattr(data, "whole"):  # an image set of prune_lib.tasks
        data = data.whole(data.train, 128)
    if isinstance(data, Tensor | Mapping) or not isinstance(data, Iterable):
        data = [data]
    if type(images) is not int or images < 1:
        raise InputError(f"images is {images!r}; expected a whole number from 1")
    batches: list[tuple[Any, Tensor]] = []
    left = images
    for batch in data:
        given, labels = apart(batch)
        n = len(tensors(given)[0])
        given = _first(given, n, left, like)
        if labels is None or labels.dtype != torch.int64 or labels.shape[:1] != (n,):
            labels = torch.full((n,), -1)
        batches.append((given, labels[:left].to(like.device)))
        left -= min(n, left)
        if not left:
            break
    if left == images:
        raise InputError("data gives no images; expected at least one batch")
    return batches


def _first(given: Any, n: int, most: int, like: Tensor) -> Any:
    """At most ``most`` of a batch's ``n`` examples."""

    def part(t: Tensor) -> Tensor:
        t = t[:most] if t.dim() and len(t) == n else t
        return t.to(like) if t.is_floating_point() else t.to(like.device)

    return mapped(given, part)
