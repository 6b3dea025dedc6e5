"""Scores of filters in a file, and which filters stay by them: CDP's pruning as a step of its own.

A file of scores is a safetensors file, one tensor ``(C,)`` for each conv or unit, with what they were found from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cost import cost, masked_flops
from ..nets import arch_of, read_spec
from ..nets.slim import slim_widths
from ..nets.spec import Widths
from ..papers.arena import widths_from
from ..papers.baselines import best, by_unit
from ..papers.cdp import keep_above, sparsity_for
from ..system import checkpoint
from ..system.errors import InputError, short

KIND = "scores of filters"


@dataclass(frozen=True)
class Scores:
    """Every filter's score, and ``about``: arch, row, the facts that they depend on, and their provenance."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]


def read_scores(path: str | Path) -> Scores:
    """What ``scoring.score`` wrote.

    Raises:
        InputError: no such file, one that is damaged, or one of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no scores at {path}; expected a file from 'prune score'")
    found = checkpoint.read(path)
    if found is None or found[1].get("kind") != KIND:
        raise InputError(f"{path}: no scores, or damaged; expected a file from 'prune score'")
    if bad := [name for name, tensor in found[0].items() if tensor.dim() != 1 or not tensor.isfinite().all()]:
        raise InputError(f"{path}: the scores of {short(bad[0])} are not one finite number for each filter")
    return Scores(*found)


@dataclass(frozen=True)
class Selection:
    """Which filters stay: ``keep`` ``{conv: (C,) bool}``, how many, and what the network then costs."""

    arch: str
    keep: Mapping[str, Tensor]
    kept: Widths
    sparsity: float  # share of the filters that go
    masked_flops: int  # by CDP's counter, of the masked network
    widths: Widths  # of the network with the filters removed; of masks, where a unit keeps what any of its convs keeps
    macs: int  # multiply-accumulates of the network with the filters removed
    full_flops: int
    full_macs: int

    def to_json(self) -> dict:
        facts = {name: value for name, value in vars(self).items() if name != "keep"}
        return facts | {"filters": {conv: k.nonzero().flatten().tolist() for conv, k in self.keep.items()}}


def select(
    scores: Scores,
    *,
    sparsity: float | None = None,
    flops: float | None = None,
    macs: float | None = None,
    rates: str | None = None,
    layout: str | None = None,
) -> Selection:
    """The filters that stay, by one of four budgets.

    Args:
        sparsity: the share of all filters that goes, by one threshold, as CDP's code sets it.
        flops: the share of the full network's FLOPs (CDP's counter) that stays, by the same threshold.
        macs: the share of the multiply-accumulates that stays when channels of all units are removed by score.
        rates: how many filters each layer keeps, as the papers write them; units choose together.

    Raises:
        InputError: none or several of them, or one that the network cannot be pruned to.
    """
    given = {"sparsity": sparsity, "flops": flops, "macs": macs, "rates": rates}
    if sum(value is not None for value in given.values()) != 1:
        raise InputError(f"expected one of: {' '.join(given)}")
    arch = arch_of(scores.about["arch"])
    by_conv = _by_conv(scores)
    if rates is not None:
        widths = read_spec(arch.name, rates, layout)[1]
    elif macs is not None:
        if not 0 < macs <= 1:
            raise InputError(f"macs is {macs}; expected a share in (0, 1]")
        units = {unit: torch.stack([by_conv[conv] for conv in convs]).sum(0) for unit, convs in arch.units.items()}
        comparable = {unit: values / (float(values.mean().abs()) or 1.0) for unit, values in units.items()}
        widths = widths_from(comparable, arch, macs)
    else:
        widths, keep = (
            None,
            keep_above(by_conv, sparsity if sparsity is not None else sparsity_for(arch, by_conv, flops or 0.0)),
        )
    if widths is not None:  # units choose together
        keep = best(by_unit(by_conv, arch), widths)
    keep = {conv: keep[conv] for conv in arch.filters}
    kept = {conv: int(k.sum()) for conv, k in keep.items()}
    widths = widths or slim_widths(arch, keep)
    removed = cost(arch.name, widths, "macs")
    share = 1 - sum(kept.values()) / sum(arch.filters.values())
    full = masked_flops(arch.name, dict(arch.filters))
    return Selection(
        arch.name, keep, kept, share, masked_flops(arch.name, kept), widths, removed.flops, full, removed.base_flops
    )


def _by_conv(scores: Scores) -> dict[str, Tensor]:
    """Scores of each conv; where they are of units, each of its convs has the unit's."""
    arch, tensors = arch_of(scores.about["arch"]), scores.tensors
    if not set(tensors) >= set(arch.filters):
        tensors = {conv: tensors[unit] for unit, convs in arch.units.items() if unit in tensors for conv in convs}
    for conv, n in arch.filters.items():
        found = len(tensors[conv]) if conv in tensors else 0
        if found != n:
            raise InputError(
                f"{found} scores of {conv}; expected {n}: what the published code of CFDP gives ResNet-56 is of the "
                f"stem's maps, and selects only within its own run"
            )
    return {conv: tensors[conv] for conv in arch.filters}
