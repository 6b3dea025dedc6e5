"""Params and FLOPs under a named counting rule: the papers' networks without torch, any network by tracing it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ..nets.arch import Arch
from ..nets.layers import Layer
from ..nets.networks import arch_of, check_widths
from ..nets.plans import Plan, plan
from ..nets.spec import Widths
from ..system.errors import InputError
from .counters import COUNTERS, Package, as_called
from .rules import DEFAULT_RULE, RULES, TERMS, Rule

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DEFAULT_RULE", "RULES", "Cost", "Rule", "cost", "costs", "count", "masked_flops", "rule_called", "terms"]


def rule_called(name: str) -> Rule:
    """The rule of a paper, or of a package that counts.

    Raises:
        InputError: there is none of that name.
    """
    if found := RULES.get(name) or COUNTERS.get(name):
        return found
    raise InputError(f"unknown counting rule {name!r}; expected one of: {' '.join([*RULES, *COUNTERS])}")


def count(
    model: "nn.Module",
    rule: str | Rule = DEFAULT_RULE,
    image: tuple[int, ...] = (3, 32, 32),
    skip: Collection[str] = (),
    window: Collection[str] = (),
    kept: Mapping[str, int] | None = None,
) -> tuple[int, int]:
    """``(params, flops)`` of any ``model`` for one image ``(C, H, W)``, both integers, under ``rule``.

    Args:
        skip: modules that are left out, because the network that was counted calls them as functions.
        window: adaptive pools to 1x1 that count as average pools with a fixed window.
        kept: for a masked rule, conv name -> filters that the mask keeps (default: all).

    Raises:
        InputError: an unknown rule, or in ``kept`` a name that no conv has.
    """
    from .tracing import blank, trace

    chosen = rule if isinstance(rule, Rule) else rule_called(rule)
    if isinstance(chosen, Package):
        from .recording import record

        calls = record(model, lambda: model(blank(model, image)))
        return sum(p.numel() for p in model.parameters()), chosen.total(calls)
    names = dict(model.named_modules(remove_duplicate=False))
    layers = trace(model, lambda: model(blank(model, image)), chosen.kinds | {"AdaptiveAvgPool2d"})
    if unknown := [name for name in kept or () if name not in names]:
        raise InputError(f"kept: the network has no conv called {unknown[0]!r}")
    first = {module: name for name, module in reversed(names.items())}  # under which a shared module is traced
    masks = {first[names[name]]: filters for name, filters in (kept or {}).items()}
    flops = flops_of(layers, chosen, skip, window, masks)
    params = chosen.params(layers, masks) if chosen.params else sum(p.numel() for p in model.parameters())
    return params, flops


def flops_of(
    layers: Sequence[Layer], rule: Rule, skip: Collection[str] = (), window: Collection[str] = (),
    kept: Mapping[str, int] | None = None,
) -> int:  # fmt: skip
    """The operations of ``layers`` under ``rule``, as the paper that ``skip`` and ``window`` are of counts them.

    A package counts the network as this library has it, with the functions that its layers call.
    """
    if isinstance(rule, Package):
        return rule.total(as_called(layers))
    counted = (layer for layer in layers if layer.name not in skip)
    if rule.windows:
        counted = (replace(layer, kind="AvgPool2d") if layer.name in window else layer for layer in counted)
    return rule.total(counted, kept)


@dataclass(frozen=True)
class Cost:
    """What a spec costs beside its full network, under one rule. ``*_cut`` are percentages of the base."""

    arch: str
    rule: str
    params: int
    flops: int
    base_params: int
    base_flops: int
    params_cut: float
    flops_cut: float

    def to_json(self) -> dict:
        return asdict(self)


def cost(
    arch: str | Arch,
    widths: Widths | None = None,
    rule: str = DEFAULT_RULE,
    layout: str | None = None,
    classes: int | None = None,
    model: "nn.Module | None" = None,
    nonzero: Mapping[str, int] | None = None,
) -> Cost:
    """Recount ``arch`` with ``widths`` (``None``: nothing pruned) under ``rule``, as the paper of ``layout`` does.

    Args:
        model: the compact network itself, for a rule that looks at its weights (``chex``).
        nonzero: or, instead of it, how many of each conv's weights are not zero.

    Raises:
        InputError: an unknown arch, layout or rule, or widths that the network cannot have.
    """
    about, chosen = arch_of(arch), rule_called(rule)
    how = about.layout(layout)
    skip = how.functional + (how.functional_in_base if widths is None else ())
    in_base = how.functional + how.functional_in_base
    base, mine = _plan(about, None, classes), _plan(about, widths, classes)
    full = flops_of(base.layers, chosen, in_base, how.window_pools)
    params, base_params, layers = mine.params, base.params, mine.layers
    if chosen.params:
        params, base_params = (chosen.params(base.layers, kept) for kept in (widths or {}, {}))
    if widths is not None and chosen.masked:
        flops = flops_of(base.layers, chosen, kept=widths)
    elif model is not None:
        params, flops = count(model, chosen, about.image, skip, how.window_pools)
    else:
        if nonzero is not None:
            layers = [replace(layer, nonzero=nonzero.get(layer.name)) for layer in layers]
        flops = flops_of(layers, chosen, skip, how.window_pools)
    cuts = (100 * (1 - few / all_) for few, all_ in ((params, base_params), (flops, full)))
    return Cost(about.name, chosen.name, params, flops, base_params, full, *cuts)


def costs(arch: str | Arch, widths: Widths | None = None, layout: str | None = None) -> dict[str, Cost]:
    """``{rule: what cost(arch, widths, rule, layout) gives}`` for every rule: quick enough for a slider."""
    return {rule: cost(arch, widths, rule, layout) for rule in RULES}


def masked_flops(arch: str | Arch, kept: Widths) -> int:
    """FLOPs of the full network with so many filters kept in each conv by masks, under CDP's rule.

    Unlike widths, masks need not agree within a unit.
    """
    return RULES["cdp"].total(_plan(arch_of(arch)).layers, kept)


def terms(arch: str | Arch, widths: Widths | None = None) -> dict[str, int]:
    """What there is to count in a network, each kind once: the parts that the rules add up in different ways."""
    layers = _plan(arch_of(arch), widths).layers
    return {name: Rule(name, "", ops).total(layers) for name, ops in TERMS.items()}


def layers_of(arch: str | Arch, widths: Widths | None = None) -> list[Layer]:
    """The layers that a network of these widths calls, in their order."""
    return _plan(arch_of(arch), widths).layers


def _plan(about: Arch, widths: Widths | None = None, classes: int | None = None) -> Plan:
    return _planned(about.name, tuple(check_widths(about, widths or {}).items()), classes)


@lru_cache(maxsize=64)
def _planned(arch: str, widths: tuple[tuple[str, int], ...], classes: int | None) -> Plan:
    return plan(arch_of(arch), dict(widths), classes)


def by_layer(layers: Sequence[Layer], rule: Rule) -> dict[str, int]:
    """``{name: operations of all its calls}`` of the layers that a rule counts, one without masks."""
    found: dict[str, int] = {}
    for layer in layers:
        if layer.kind in rule.ops:
            found[layer.name] = found.get(layer.name, 0) + rule.ops[layer.kind](layer)
    return found
