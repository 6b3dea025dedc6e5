"""Params and FLOPs of a network under a named counting rule, with thop underneath."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..nets import arch_of, build, layout_of
from ..nets.hooks import calling
from ..nets.spec import Widths
from .rules import DEFAULT_RULE, RULES, TERMS, Counter, MaskedChain, Rule, WindowPool, rule_called

__all__ = ["DEFAULT_RULE", "RULES", "Cost", "Rule", "cost", "costs", "count", "masked_flops", "rule_called", "terms"]


def count(
    model: nn.Module,
    rule: str | Rule = DEFAULT_RULE,
    image: tuple[int, int, int] = (3, 32, 32),
    skip: Sequence[str] = (),
    window: Sequence[str] = (),
    kept: Widths | None = None,
) -> tuple[int, int]:
    """``(params, flops)`` of ``model`` for one image ``(C, H, W)``, both integers, FLOPs under ``rule``.

    Args:
        skip: modules whose type is left out, because the network that was counted calls them as functions.
        window: adaptive pools to 1x1 that count as average pools with a fixed window.
        kept: for a masked rule, conv name -> filters that the mask keeps (default: all).
    """
    chosen = rule if isinstance(rule, Rule) else rule_called(rule)
    with warnings.catch_warnings():  # thop 0.1.1 reads its own version through the deprecated distutils
        warnings.simplefilter("ignore", DeprecationWarning)
        from thop import profile
    model = copy.deepcopy(model).eval()  # thop leaves buffers behind
    counters = dict(chosen.ops) if chosen.ops is not None else {}
    if nn.AvgPool2d in counters:
        counters[WindowPool] = counters[nn.AvgPool2d]
        for name in window:
            model.set_submodule(name, WindowPool(1))
    if chosen.masked:
        convs = {m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        counters[nn.Conv2d] = MaskedChain({m: (n, (kept or {}).get(n, m.out_channels)) for m, n in convs.items()})
    leaves = {type(m) for m in model.modules() if not list(m.children())}
    operations: dict = dict.fromkeys(leaves, _nothing) if chosen.ops is not None else {}
    operations |= {kind: _add(counter) for kind, counter in counters.items()}
    operations |= {type(model.get_submodule(name)): _nothing for name in skip}
    blank = torch.zeros(1, *image, device=next(model.parameters()).device)
    flops, _ = profile(model, (blank,), custom_ops=operations, verbose=False)
    return sum(p.numel() for p in model.parameters()), int(flops)


def _nothing(module, x, y):
    """The thop operation of a layer type that a rule does not count."""


def _add(counter: Counter):
    """A counter as a thop operation: thop hands the inputs as a tuple and sums ``total_ops`` itself."""

    def operation(module, x, y):
        module.total_ops += counter(module, x[0], y)

    return operation


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
    arch: str,
    widths: Widths | None = None,
    rule: str = DEFAULT_RULE,
    layout: str | None = None,
    classes: int | None = None,
    model: nn.Module | None = None,
) -> Cost:
    """Recount ``arch`` with ``widths`` (``None``: nothing pruned) under ``rule``, as the paper of ``layout`` does.

    Args:
        model: the compact network itself, for a rule that looks at its weights (``chex``).

    Raises:
        InputError: an unknown arch, layout or rule, or widths that the network cannot have.
    """
    about, chosen = arch_of(arch), rule_called(rule)
    how = about.layouts[layout_of(arch, layout)]
    skips = how.functional, how.functional + how.functional_in_base
    window = how.window_pools
    base = count(_shapes(arch, None, classes), rule, about.image, skips[1], window)
    if widths is None:
        mine = base if model is None else count(model, rule, about.image, skips[1], window)
    elif chosen.masked:
        full = _shapes(arch, None, classes)
        mine = count(_shapes(arch, widths, classes))[0], count(full, rule, about.image, kept=widths)[1]
    else:
        mine = count(model or _shapes(arch, widths, classes), rule, about.image, skips[0], window)
    cuts = (100 * (1 - ours / theirs) for ours, theirs in zip(mine, base, strict=True))
    return Cost(arch, rule, *mine, *base, *cuts)


def costs(arch: str, widths: Widths | None = None, layout: str | None = None) -> dict[str, Cost]:
    """``{rule: what cost(arch, widths, rule, layout) gives}`` for every rule, from one pass for all: quick enough for
    a slider.
    """
    full, how = dict(arch_of(arch).filters), arch_of(arch).layouts[layout_of(arch, layout)]
    base, mine = _trace(arch, tuple(full.items())), _trace(arch, tuple({**full, **(widths or {})}.items()))
    skip = how.functional if widths is not None else how.functional + how.functional_in_base
    found = {}
    for name, rule in RULES.items():
        window = how.window_pools if rule.ops is not None else ()
        theirs = _add_up(base, rule, how.functional + how.functional_in_base, window, full)
        ours = _add_up(base if rule.masked else mine, rule, skip, window, widths or full)
        pairs = ((mine.params, base.params), (ours, theirs))
        cuts = (100 * (1 - few / all_) for few, all_ in pairs)
        found[name] = Cost(arch, name, mine.params, ours, base.params, theirs, *cuts)
    return found


@dataclass(frozen=True)
class _Trace:
    """What one image met on its way through a network: ``(name, module, input, output)``, tensors without numbers."""

    params: int
    calls: Sequence[tuple[str, nn.Module, Tensor, Tensor]]


@lru_cache(maxsize=64)
def _trace(arch: str, widths: tuple[tuple[str, int], ...]) -> _Trace:
    model = _shapes(arch, dict(widths)).eval()
    leaves = {name: module for name, module in model.named_modules() if not list(module.children())}
    calls: list = []
    with calling(model, leaves, lambda name, x, y: calls.append((name, leaves[name], x, y))), torch.no_grad():
        model(torch.zeros(1, *arch_of(arch).image, device="meta"))
    return _Trace(sum(p.numel() for p in model.parameters()), calls)


def _add_up(trace: _Trace, rule: Rule, skip: Sequence[str], window: Sequence[str], kept: Widths) -> int:
    """The operations of a trace under a rule, as ``count`` has them."""
    counters: Mapping = _thop() if rule.ops is None else rule.ops
    if rule.masked:
        convs: dict[nn.Module, tuple[str, int]] = {
            m: (n, kept.get(n, m.out_channels)) for n, m, *_ in trace.calls if isinstance(m, nn.Conv2d)
        }
        counters = {**counters, nn.Conv2d: MaskedChain(convs)}
    skipped = {type(module) for name, module, *_ in trace.calls if name in skip}
    total = 0
    for name, module, x, y in trace.calls:
        kind = nn.AvgPool2d if name in window and nn.AvgPool2d in counters else type(module)
        if kind in counters and kind not in skipped:
            total += counters[kind](module, x, y)
    return total


@lru_cache(maxsize=1)
def _thop() -> dict:
    """thop's own table, as counters: it hands the inputs as a tuple and adds to ``total_ops``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from thop.profile import register_hooks

    def counter(operation):
        def counted(module, x, y) -> int:
            module.total_ops = 0
            operation(module, (x,), y)
            return int(module.total_ops)

        return counted

    return {kind: counter(operation) for kind, operation in register_hooks.items()}


def masked_flops(arch: str, kept: Widths) -> int:
    """FLOPs of the full network with so many filters kept in each conv by masks, under CDP's rule.

    Unlike widths, masks need not agree within a unit.
    """
    return count(_shapes(arch), "cdp", arch_of(arch).image, kept=kept)[1]


def terms(arch: str, widths: Widths | None = None) -> dict[str, int]:
    """What there is to count in a network, each kind once: the parts that the rules add up in different ways."""
    model, image = _shapes(arch, widths), arch_of(arch).image
    return {name: count(model, Rule(name, "", ops), image)[1] for name, ops in TERMS.items()}


def _shapes(arch: str, widths: Widths | None = None, classes: int | None = None) -> nn.Module:
    """A network that has shapes but no numbers: enough to count, at no cost."""
    with torch.device("meta"):
        return build(arch, widths, classes)
