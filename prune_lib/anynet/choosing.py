"""How much of each group stays so that a share of MACs, parameters, time or memory is left."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import nn

from ..nets.slim import Keep
from ..system.errors import InputError
from .checking import kind_of
from .cutting import cut
from .measuring import MEASURES, counted
from .onetype import in_its_type
from .pruned import APART
from .ready import Ready
from .sizing import Options, Prices, sized
from .structure import Structure
from .telling import Telling


@dataclass(frozen=True)
class Chosen:
    """What each group keeps, and the MACs then left, of all inputs: of each layer, and of all by torch's counter."""

    keep: Keep
    left: dict[str, int]
    products: int | None


def choose(
    start: Ready, now: Ready, structure: Structure, found, kind: str, share: float, options: Options, tell: Telling
) -> Chosen:
    """What each group keeps so that the share ``share`` of what ``start`` costs is left.

    A layer costs as its weights do, unless channels become what another is called with, as patches or tokens: then the
    MACs are measured.
    """
    kinds: dict[str, object] = {group.root: kind_of(now.model, group) for group in structure.groups}
    if kind in ("latency", "memory"):
        keep = _measured(start, now, structure, found, kinds, kind, share, options, tell)
        return _chosen(now, structure, keep)
    each, full = _costs(now, kind), sum(_costs(start, kind).values())
    price, scale = Prices(structure, each), sum(each.values()) / full
    try:
        keep = sized(structure, found, kinds, lambda alive: scale * price(alive), share, options)
    except InputError as error:
        words = str(error).replace("its cost", {"flops": "its MACs", "params": "its parameters"}[kind])
        raise InputError(f"{type(now.work).__name__} {words}{_why_so_much(structure)}") from None
    chosen = _chosen(now, structure, keep)
    if kind == "flops" and abs(sum(chosen.left.values()) / full - scale * price(structure.alive(keep))) > APART / 2:
        keep = _measured(start, now, structure, found, kinds, kind, share, options, tell)
        return _chosen(now, structure, keep)
    return chosen


def _chosen(now: Ready, structure: Structure, keep: Keep) -> Chosen:
    """``keep`` with its costs: by the weights that a layer has left, or counted where that may be something else.

    Where values decide what is run, nothing can be counted.
    """
    if not now.plain and (found := counted(cut(now.work, structure, keep, sharing=True), now.inputs)):
        return Chosen(keep, {name: found[0].get(name, 0) for name in now.macs}, found[1])
    alive, share = structure.alive(keep), dict.fromkeys((name for name, _ in structure.along), Fraction(1))
    for (weight, _), choices in structure.along.items():
        share[weight] *= Fraction(int(alive[choices].sum()), len(choices))
    weights = {layer: structure.weights.get(layer, ("", 0))[0] for layer in now.macs}
    return Chosen(keep, {layer: int(cost * share.get(weights[layer], 1)) for layer, cost in now.macs.items()}, None)


def _costs(of: Ready, kind: str) -> dict[str, int]:
    """What each weight costs: MACs, or its number of entries."""
    if kind == "params":
        return {name: p.numel() for name, p in of.work.named_parameters()}
    found: dict[str, int] = {}
    for layer, cost in of.macs.items():
        weight = of.structure.weights.get(layer, (layer, 0))[0]
        found[weight] = found.get(weight, 0) + cost
    return found


def _why_so_much(structure: Structure) -> str:
    whole = {layer: why for layer, why in structure.whole.items() if why and "output" not in why}
    if not whole:
        return ""
    layer, why = next(iter(whole.items()))
    return f" ({len(whole)} layers stay whole, as {layer}: {why})"


def _measured(start, now, structure, found, kinds, kind, share, options, tell) -> Keep:
    """As ``choose`` for what must be measured: the MACs by weights are bisected until the measured share fits."""
    measure = _in_its_type(MEASURES[kind])
    full = measure(start.work, start.inputs)
    price = Prices(structure, _costs(now, "flops"))
    least, most, best = 0.0, 1.0, None
    for _ in range(9 if kind == "flops" else 7):
        middle = (least + most) / 2
        try:
            keep = sized(structure, found, kinds, price, middle, options)
        except InputError:
            least = middle
            continue
        tell(f"measuring {kind} with weights for {middle:.0%} of the MACs", again=True)
        if measure(cut(now.work, structure, keep, sharing=True), now.inputs) / full <= share:
            least, best = middle, keep
        else:
            most = middle
    if best is None:
        raise InputError(f"{type(now.work).__name__} cannot be pruned to {100 * share:.4g}% of its {kind} here")
    return best


def _in_its_type(measure: Callable[[nn.Module, Any], float]) -> Callable[[nn.Module, Any], float]:
    def within_it(model: nn.Module, inputs: Any) -> float:
        with in_its_type(model):
            return measure(model, inputs)

    return within_it
