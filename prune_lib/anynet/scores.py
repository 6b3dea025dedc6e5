"""The criteria of ``papers.criteria`` on the groups of any network."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def checked_numbers(images: Any, seed: Any) -> None:
    """Raises InputError: numbers of images to look at, or seeds, that cannot be."""
    if type(images) is not int or images < 1:
        raise InputError(f"images is {images!r}; expected a whole number from 1")
    if type(seed) is not int or not -(2**63) <= seed < 2**63:
        raise InputError(f"seed is {seed!r}; expected a whole number of at most 64 bits")


WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


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
        what = "cannot be scored" if CRITERIA[criterion].needs == "weights" else "does not run on data"
        raise InputError(f"{criterion}: {type(model).__name__} {what} ({reason})") from None


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
    checked_numbers(images, seed)
    needs, look, batches = CRITERIA[criterion].needs, model, []
    if needs != "weights":
        if data is None:
            raise InputError(f"criterion {criterion} looks at images and data is missing; expected batches of them")
        network = _to_look_at(model)
        given = some(data, images, next(chain(network.parameters(), network.buffers())), needs == "gradients")
        look = Answering(network, given)
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


def some(data: Any, images: int, like: Tensor, labelled: bool = False) -> list[tuple[Any, Tensor]]:
    """At most ``images`` examples of ``data`` in its batches, each with its labels, or -1 where those are not wanted.

    Batches are as in ``nets.hooks.apart``; tensors of floating-point numbers get the type and device of ``like``.

    Raises:
        InputError: no batches, something else in them, or no labels of classes where they are ``labelled``.
    """
    batches: list[tuple[Any, Tensor]] = []
    left = images
    for batch in _batches(data):
        given, labels = apart(batch)
        n = len(tensors(given)[0])
        if not n:
            continue
        if any(bool(t.isnan().any()) for t in tensors(given, floating=True)):
            raise InputError(f"data gives a number that is nan (batch {len(batches)}); expected numbers throughout")
        labels = _classes(labels, n) if labelled else torch.full((n,), -1)
        batches.append((_first(given, n, left, like), labels[:left].to(like.device)))
        left -= min(n, left)
        if not left:
            break
    if not batches:
        once = ", which can be read only once" if isinstance(data, Iterator) else ""
        raise InputError(f"data gives no images ({type(data).__name__}{once}); expected at least one batch")
    return batches


def _batches(data: Any) -> Iterable:
    if hasattr(data, "whole"):  # an image set of prune_lib.tasks
        return data.whole(data.train, 128)
    return [data] if isinstance(data, Tensor | Mapping) or not isinstance(data, Iterable) else data


def kept_of(data: Any, images: int) -> Any:
    """``data``, or where it can be read only once, as a generator, its batches until they have ``images`` examples."""
    if not isinstance(data, Iterator):
        return data
    found, seen = [], 0
    for batch in data:
        found.append(batch)
        seen += len(tensors(apart(batch)[0])[0])
        if seen >= images:
            break
    return found or data


def _classes(labels: Tensor | None, n: int) -> Tensor:
    """The labels of ``n`` examples as int64.

    Raises:
        InputError: labels that are missing, or no whole numbers from 0.
    """
    if labels is None:
        raise InputError("the criterion takes gradients of a loss, and the images have no labels; expected both")
    if labels.dtype not in WHOLE or labels.shape[:1] != (n,) or not labels.numel():
        what = f"labels {tuple(labels.shape)} of {str(labels.dtype).removeprefix('torch.')} for {n} examples"
    elif (least := int(labels.min())) < 0:
        what = f"the label {least}"
    else:
        return labels.long()
    raise InputError(
        f"data gives {what}, and gradients are taken of a cross-entropy; expected the number of each example's class, "
        "a whole number from 0"
    )


def _first(given: Any, n: int, most: int, like: Tensor) -> Any:
    """At most ``most`` of a batch's ``n`` examples."""

    def part(t: Tensor) -> Tensor:
        t = t[:most] if t.dim() and len(t) == n else t
        return t.to(like) if t.is_floating_point() else t.to(like.device)

    return mapped(given, part)
