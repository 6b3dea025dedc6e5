"""How many channels each group keeps: by a budget, and by how it is shared out.

Every way of sharing out is a ladder: at height ``t`` from 0 to 1 each group keeps so many, never fewer than lower down.
The highest rung that the budget can pay is found by bisection, and what is left pays single channels.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, gcd

import torch
from torch import Tensor

from ..nets.slim import Keep
from ..papers.baselines import Scores
from ..system.errors import InputError
from .structure import Group, Structure, within

ALLOCATIONS = ("uniform", "global", "isomorphic")
RUNGS = 1000


@dataclass(frozen=True)
class Options:
    """What limits how many channels a group keeps."""

    allocation: str | Mapping[str, float] = "uniform"
    round_to: int = 1  # channels of a layer are a multiple of it, where it has that many
    floor: float = 0.0  # the least share of its channels that each group keeps
    sizes: Mapping[str, int] = field(default_factory=dict)  # of groups before earlier steps, which shares are of

    def at(self, step: float, sizes: Mapping[str, int]) -> "Options":
        """Those of a step after which the share ``step`` of the way is gone, from groups of ``sizes``."""
        given = self.allocation
        if isinstance(given, Mapping):
            given = {layer: share**step for layer, share in given.items()}
        return replace(self, allocation=given, sizes=sizes)

    def check(self, layers: Sequence[str]) -> None:
        """Raises InputError: an unknown allocation, a layer that the network has not, or a number that cannot be."""
        if isinstance(self.allocation, str):
            if self.allocation not in ALLOCATIONS:
                raise InputError(
                    f"allocation is {self.allocation!r}; expected {', '.join(ALLOCATIONS)}, or a share for each layer"
                )
        elif not isinstance(self.allocation, Mapping):
            raise InputError(f"allocation is {type(self.allocation).__name__}; expected a name or a mapping of layers")
        else:
            for layer, share in self.allocation.items():
                if layer not in layers:
                    raise InputError(f"allocation names {layer!r}; expected names of the model's modules")
                if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                    raise InputError(f"allocation gives {layer} {share!r}; expected a share in (0, 1]")
        if type(self.round_to) is not int or self.round_to < 1:
            raise InputError(f"round_to is {self.round_to!r}; expected a whole number from 1")
        if isinstance(self.floor, bool) or not isinstance(self.floor, int | float) or not 0 <= self.floor <= 1:
            raise InputError(f"floor is {self.floor!r}; expected a share in [0, 1]")


class Prices:
    """What a network costs when choices go: sums over weights of how many of their entries stay."""

    def __init__(self, structure: Structure, each: Mapping[str, float]):
        """``each``: what a weight, called as in ``named_parameters``, costs in full; others cost nothing."""
        self.names = list(each)
        self.full = torch.tensor([float(cost) for cost in each.values()], dtype=torch.float64)
        place = {name: number for number, name in enumerate(self.names)}
        along = [(place[name], dim, of) for (name, dim), of in structure.along.items() if name in place]
        self.of = torch.cat([of for *_, of in along] or [torch.zeros(0, dtype=torch.int64)])
        owner = [(number * 8 + dim, len(of)) for number, dim, of in along]
        self.slots = torch.cat([torch.full((n,), s) for s, n in owner] or [torch.zeros(0, dtype=torch.int64)])
        self.sizes = torch.ones(len(self.names) * 8, dtype=torch.float64)
        for slot, n in owner:
            self.sizes[slot] = n
        self.partial = torch.zeros(len(self.names) * 8, dtype=torch.bool)
        self.partial[[slot for slot, _ in owner]] = True

    def __call__(self, alive: Tensor) -> float:
        """The share of the full cost when ``alive (choices,)`` stay."""
        kept = torch.zeros_like(self.sizes).index_add_(0, self.slots, alive[self.of].double())
        shares = torch.where(self.partial, kept / self.sizes, 1.0).view(-1, 8).prod(1)
        return float((self.full * shares).sum() / self.full.sum())


def sized(
    structure: Structure, scores: Scores, kinds: Mapping[str, object], cost: Callable[[Tensor], float], budget: float,
    options: Options,
) -> Keep:  # fmt: skip
    """``{root: (size,) bool}``: what each group keeps at a cost of at most ``budget``, those with the highest scores.

    Args:
        scores: ``{root: (size,)}``.
        kinds: ``{root: its kind}``, for the allocation ``isomorphic``.
        cost: the share of the full cost when ``(choices,)`` bool stay.

    Raises:
        InputError: not even the least that must stay is that cheap; that bound is named.
    """
    groups = {group.root: group for group in structure.groups}
    ladder = _ladder(groups, scores, kinds, options)
    order = {root: s.sort(descending=True, stable=True).indices for root, s in scores.items()}

    def keep(counts: Mapping[str, int]) -> Keep:
        return {root: best(groups[root], order[root], n) for root, n in counts.items()}

    def price(counts: Mapping[str, int]) -> float:
        return cost(structure.alive(keep(counts)))

    if (least := price(ladder(0))) > budget * (1 + 1e-9):
        raise InputError(
            f"cannot be pruned to {100 * budget:.4g}% of its cost; expected at least {ceil(1e5 * least) / 1e3:g}%, "
            "which is what is left when every group keeps as little as it may"
        )
    low = bisect_right(range(1, RUNGS + 1), budget * (1 + 1e-9), key=lambda rung: price(ladder(rung)))
    counts = ladder(low)
    if low < RUNGS:
        above = ladder(low + 1)
        for root in reversed(counts):
            if above[root] > counts[root] and price(more := dict(counts) | {root: above[root]}) <= budget:
                counts = more
    return keep(counts)


def best(group: Group, order: Tensor, n: int) -> Tensor:
    """``(size,)`` bool: the first ``n`` choices of ``order``, and more where a layer would lose all of its channels."""
    kept = torch.zeros(group.size, dtype=torch.bool)
    kept[order[:n]] = True
    for _, places in group.makers.values():  # no layer of the group loses everything
        if not bool(kept[places].any()):
            rank = torch.empty(group.size, dtype=torch.int64)
            rank[order] = torch.arange(group.size)
            kept[places[rank[places].argmin()]] = True
    return kept


def _ladder(groups: Mapping[str, Group], scores: Scores, kinds: Mapping[str, object], options: Options):
    """``rung -> {root: how many stay}``."""
    given = options.allocation if isinstance(options.allocation, Mapping) else {}
    fixed = {
        root: share for root, group in groups.items()
        for layer, share in given.items() if any(within(maker, [layer]) for maker in group.makers)
    }  # fmt: skip
    ranks = None if options.allocation not in ("global", "isomorphic") else _ranks(groups, scores, kinds, options)

    def counts(rung: int) -> dict[str, int]:
        found = {}
        for root, group in groups.items():
            size = options.sizes.get(root, group.size)
            if root in fixed:
                n = int(size * fixed[root] + 1e-9)
            elif ranks is None:
                n = size * rung // RUNGS
            else:
                n = int((ranks[root] >= 1 - rung / RUNGS).sum())
            n = max(n, 1, ceil(size * options.floor - 1e-9))
            found[root] = min(_rounded(group, n, options.round_to), group.size)
        return found

    return counts


def _ranks(groups: Mapping[str, Group], scores: Scores, kinds: Mapping[str, object], options: Options) -> Scores:
    """The share of all choices, of the same kind where that is asked for, that have a lower score than each."""
    among: dict[object, list[str]] = {}
    for root in groups:
        among.setdefault(kinds[root] if options.allocation == "isomorphic" else None, []).append(root)
    found: Scores = {}
    for roots in among.values():
        every = torch.cat([scores[root] for root in roots])
        rank = torch.empty(len(every), dtype=torch.float64)
        rank[every.sort(stable=True).indices] = (torch.arange(len(every), dtype=torch.float64) + 1) / len(every)
        found |= dict(zip(roots, rank.split([len(scores[root]) for root in roots]), strict=True))
    return found


def _rounded(group: Group, n: int, to: int) -> int:
    """The most choices up to ``n`` that leave the first layer a multiple of ``to`` channels; else the fewest above."""
    _, places = group.makers[group.root]
    each = max(1, len(places) // group.size)  # channels of a choice
    step = to // gcd(to, each)
    if step == 1 or group.size < step:
        return n
    return max(n // step * step, step)
