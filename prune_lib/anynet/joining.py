"""Which labels are one, and which always stay: what the run of a network said of them, put together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .channels import Channels, spans


def joined(followed: Channels) -> tuple[Tensor, dict[int, str]]:
    """``(labels,)``: the smallest label that each is one with; and which of these always stay, with the first reason.

    What a field along several dimensions keeps must be a block: whole rows along one of them. That dimension is taken
    for which the most choices are left, also of fields that are crossed by others; see ``channels.crossing``.
    """
    ties, pins, crossings = list(followed.edges), list(followed.pins), list(followed.crossings)
    while True:
        pairs = (
            [torch.cat(side) for side in zip(*ties, strict=True)] if ties else [torch.zeros(0, dtype=torch.int64)] * 2
        )
        component = components(followed.labels, *pairs)
        why = {int(component[0]): "it is joined with channels that always stay"}
        for labels, reason in pins:
            for each in component[labels].unique().tolist():
                why.setdefault(each, reason)
        more, seen = [], set()
        pinned = torch.zeros(followed.labels, dtype=torch.bool)
        pinned[torch.tensor(list(why))] = True
        if crossings:
            chosen = [_crossed(component, pinned, field, met) for field, met in crossings]
            first = [bool(fixed) for _, fixed in chosen]  # what these make stay whole, others may count on
            for (tied, fixed), now in zip(chosen, first, strict=True):
                if now or not any(first):
                    ties += tied
                    pins += [(labels, "what is whole, as a head, goes or stays, and all share it") for labels in fixed]
            crossings = [each for each, now in zip(crossings, first, strict=True) if any(first) and not now]
            continue
        for block in followed.blocks:
            of = component[block].squeeze()
            if of.dim() > 1 and (key := (tuple(of.shape), of.numpy().tobytes())) not in seen:
                seen.add(key)
                more += _rows(of, pinned)
        if not more:
            return component, why
        ties += more


def _crossed(
    component: Tensor, pinned: Tensor, field: Tensor, met: Mapping[int, Tensor | None]
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """What to tie and what to pin so that whole rows of ``field`` go, along the dimension that leaves most choices.

    Along it they go with what the field is met by, ``met``; what that has along others stays whole.
    """
    most, best = -1, ([], [])  # type: ignore[var-annotated]
    for dim in sorted(spans(field)):
        pairs = [(field, field.narrow(other, 0, 1)) for other in spans(field) - {dim}]
        fixed = [mate.reshape(-1) for other, mate in met.items() if other != dim and mate is not None]
        if dim in met:
            mate = met[dim]
            pairs += [] if mate is None else [(field, mate)]
            fixed += [field.reshape(-1)] if mate is None else []
        ties = [tuple(side.reshape(-1) for side in torch.broadcast_tensors(*pair)) for pair in pairs]
        left = _left(component, pinned, field, ties, fixed)
        if left >= most:
            most, best = left, (ties, fixed)
    return best


def _left(
    component: Tensor, pinned: Tensor, field: Tensor, ties: Sequence[tuple[Tensor, ...]], fixed: Sequence[Tensor]
) -> int:
    """How many choices are left of a field when labels are tied, and others fixed."""
    every = component[torch.cat([labels for pair in ties for labels in pair])]
    names, index = every.unique(return_inverse=True)
    sides = index.split([len(labels) for pair in ties for labels in pair])
    together = components(len(names), torch.cat(sides[::2]), torch.cat(sides[1::2]))
    stays = pinned[names]
    for labels in fixed:
        stays |= torch.isin(names, component[labels])
    mine = together[torch.isin(names, component[field.reshape(-1)])].unique()
    return len(mine) - int(torch.isin(mine, together[stays]).sum())


def _rows(of: Tensor, pinned: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What must be tied so that what stays of a field is a block; nothing where it is already."""
    varies = [d for d in range(of.dim()) if not bool((of == of.narrow(d, 0, 1)).all())]
    if len(varies) < 2 or bool(pinned[of].all()):
        return []
    most, chosen = -1, varies[-1]
    for dim in varies:
        rows = of.movedim(dim, 0).flatten(1)
        names, index = rows.unique(return_inverse=True)
        places = torch.arange(len(rows))[:, None].expand_as(rows)
        together = components(len(names) + len(rows), index.reshape(-1), (len(names) + places).reshape(-1))
        fixed = together[: len(names)][pinned[names]].unique()
        left = len(together[len(names) :].unique()) - len(fixed)
        if left >= most:
            most, chosen = left, dim
    rows = of.movedim(chosen, 0).flatten(1)
    return [(rows.reshape(-1), rows[:, :1].expand_as(rows).reshape(-1))]


def components(n: int, one: Tensor, other: Tensor) -> Tensor:
    """``(n,)``: the smallest number that each of ``n`` is connected to by the pairs ``(one, other)``."""
    found = torch.arange(n)
    while True:
        left, right = found[one], found[other]
        apart = left != right
        if not bool(apart.any()):
            return found
        left, right = left[apart], right[apart]
        low = torch.minimum(left, right)
        found.scatter_reduce_(0, left, low, "amin")
        found.scatter_reduce_(0, right, low, "amin")
        while not torch.equal(found, above := found[found]):
            found = above
