"""DCFF and FilterExpo, which train from scratch, on any network."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..nets.reparam import plain
from ..nets.slim import Keep
from ..papers.dcff import DCFF
from ..papers.filterexpo import FilterExpo
from ..system.errors import InputError
from .checking import probe, refuse, trusted, woken
from .cutting import cut
from .pruning import prune
from .ready import ready
from .structure import Structure


def dcff(
    model: nn.Module, example_inputs: Any, flops: float = 0.5, *, ignore: Sequence[str] = (), variant: str = "authors"
) -> tuple[DCFF, nn.Module]:
    """``(method, compact)``: what ``train(compact, data, recipe, method)`` needs to train any model by DCFF.

    ``compact`` has the share ``flops`` of the multiply-accumulates and freshly drawn weights (each layer's
    ``reset_parameters``); each plain conv in it that lost filters gets a bank of as many as it had. Grouped and
    transposed convs, whose filters do not all read the same, stay plain, as do linear layers.

    Raises:
        InputError: as ``prune``.
    """
    pruned = prune(model, example_inputs, "random", flops=flops, ignore=ignore)
    for layer in pruned.model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # type: ignore[operator]
    full = dict(model.named_modules())
    banks = {
        name: len(pruned.kept[name])
        for name, width in pruned.widths.items()
        if width < len(pruned.kept[name]) and _plain(full[name])
    }
    return DCFF(banks, variant), pruned.model


class _AnyFilterExpo(FilterExpo):
    """FilterExpo whose channels are the groups of any network instead of an arch's."""

    def __init__(self, structure: Structure, **options):
        super().__init__(None, **options)  # type: ignore[arg-type]
        self.structure = structure

    def find_norms(self, model: nn.Module) -> dict[str, str]:
        return {group.root: group.norms[group.root] for group in self.structure.groups}

    def sides(self) -> tuple[Keep, Keep]:
        alive = self.structure.alive(self.keep)
        made: Keep = {}
        read: Keep = {}
        for (name, dim), of in self.structure.along.items():
            layer, _, part = name.rpartition(".")
            if (name, dim) in self.structure.reads:
                read[layer] = alive[of]
            elif part == "weight":
                made[layer] = alive[of]
        return made, read

    def found(self) -> dict:
        return {"kept": {conv: int(kept.sum()) for conv, kept in self.keep.items()}}

    def export(self, model: nn.Module) -> nn.Module:
        return cut(plain(model), self.structure, self.keep)


def filterexpo(
    model: nn.Module, example_inputs: Any, sparsity: float = 0.5, *, ignore: Sequence[str] = (), **options
) -> FilterExpo:
    """What ``train(model, data, recipe, method)`` needs to train any model by FilterExpo, from scratch.

    Channels that can go are those of every conv but the first that alone makes them and has a BatchNorm of its own; the
    residual stream stays, as in the paper. ``options`` are those of ``FilterExpo``: initial, until, times …

    Raises:
        InputError: as ``prune``; there is no such conv.
    """
    start = ready(model, example_inputs, ignore)
    work, structure = start.work, start.structure
    first = next((name for name, module in work.named_modules() if isinstance(module, nn.Conv2d)), "")
    others = {
        group.root: "FilterExpo prunes convs that alone make their channels and have a BatchNorm of their own"
        for group in structure.groups
        if list(group.makers) != [group.root] or group.root not in group.norms or group.root == first
        or not _plain(work.get_submodule(group.root)) or group.size != work.get_submodule(group.root).out_channels
    }  # fmt: skip
    structure = structure.without(others)
    if not structure.groups:
        raise InputError(
            f"{type(model).__name__} has no conv with channels and a BatchNorm of its own behind the first"
        )
    structure = trusted(woken(work), structure, probe(work, start.inputs))
    if not structure.groups:
        raise refuse(type(model).__name__, structure.whole)
    return _AnyFilterExpo(structure, sparsity=sparsity, **options)


def _plain(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.groups == 1
