"""Params and FLOPs under named counting rules, with thop underneath.

"FLOPs" means something else in every paper. Here a figure always carries the name of its rule, and each rule is a
small table: layer type -> operations, in words in its description and in code beside it.
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from .errors import InputError
from .nets import arch_of, build, layout_of
from .spec import Widths

Counter = Callable[[nn.Module, Tensor, Tensor], int]  # (module, input, output) -> operations for a batch of one


def _conv_macs(conv, x, y):
    return y.numel() * (conv.in_channels // conv.groups) * math.prod(conv.kernel_size)


def _conv_macs_bias(conv, x, y):
    return _conv_macs(conv, x, y) + (y.numel() if conv.bias is not None else 0)


def _conv_nonzero(conv, x, y):
    if conv.weight.is_meta:  # only its shape is known; none of its weights is taken for zero
        return _conv_macs(conv, x, y)
    return round(_conv_macs(conv, x, y) * conv.weight.count_nonzero().item() / conv.weight.numel())


def _linear(linear, x, y):
    return linear.in_features * y.numel()


def _linear_bias(linear, x, y):
    return _linear(linear, x, y) + y.numel()


def _linear_twice(linear, x, y):
    return (2 * linear.in_features - 1) * y.numel()


def _transposed(conv, x, y):
    return x.numel() // conv.groups * conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]


def _outputs(times):
    return lambda module, x, y: times * y.numel()


def _inputs(module, x, y):
    return x.numel()


def _average_pool(pool, x, y):
    return (x.shape[-1] // y.shape[-1] + 1) * y.numel()


def _adaptive_pool(pool, x, y):
    return (x[0, 0].numel() // y[0, 0].numel() + 1) * y.numel()


class _WindowPool(nn.AdaptiveAvgPool2d):
    """A global pool that counts as the ``AvgPool2d`` with a fixed window which the counted network had there."""


class _MaskedChain:
    """CDP's counter: each conv's kept filters times its inputs less the filters pruned from the conv *before it*.

    ``p``, the filters pruned in the previously executed conv, goes back to 0 at the first conv of a residual block
    and at a downsample conv, so pruning the residual stream is never credited on the input side.
    """

    def __init__(self, kept: Mapping[nn.Module, tuple[str, int]]):
        self.kept, self.pruned = kept, 0

    def __call__(self, conv, x, y):
        name, kept = self.kept[conv]
        if name.rsplit(".", 1)[-1] == "conv1" or "downsample" in name:
            self.pruned = 0
        inputs = conv.in_channels - self.pruned if self.pruned <= conv.in_channels else conv.in_channels
        self.pruned = conv.out_channels - kept
        area = y.shape[2] * y.shape[3] * conv.kernel_size[0] * conv.kernel_size[1]
        return area * kept * inputs // conv.groups


@dataclass(frozen=True)
class Rule:
    """A counting rule. Layer types that it does not name count 0; so does everything called as a function."""

    name: str
    text: str
    ops: Mapping[type[nn.Module], Counter] | None = field(default_factory=dict)  # None: thop's own table
    masked: bool = False  # counts the full network with masks instead of the compact one


_MMRAZOR: dict[type[nn.Module], Counter] = {
    nn.Conv1d: _conv_macs_bias,
    nn.Conv2d: _conv_macs_bias,
    nn.ConvTranspose2d: _transposed,
    nn.Linear: _linear,
    nn.ReLU: _outputs(1),
    nn.ReLU6: _outputs(1),
    nn.MaxPool2d: _inputs,
    nn.AvgPool2d: _inputs,
    nn.AdaptiveAvgPool2d: _inputs,
}
RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "macs",
            "multiply-accumulates of convs and linear layers, nothing else",
            {nn.Conv1d: _conv_macs, nn.Conv2d: _conv_macs, nn.ConvTranspose2d: _transposed, nn.Linear: _linear},
        ),
        Rule(
            "thop-0.0.31",
            "thop 0.0.31, posts 2004070130 and later (DCFF, CFDP, EagleEye): conv MACs and bias adds, linear without "
            "bias, 2 per BatchNorm element, 1 per average-pool output, window + 1 per adaptive-pool output",
            {
                nn.Conv2d: _conv_macs_bias,
                nn.ConvTranspose2d: _transposed,
                nn.Linear: _linear,
                nn.BatchNorm2d: _outputs(2),
                nn.BatchNorm1d: _outputs(2),
                nn.AvgPool2d: _outputs(1),
                nn.AdaptiveAvgPool2d: _adaptive_pool,
            },
        ),
        Rule(
            "thop-0.0.30",
            "thop 0.0.30 and the first posts of 0.0.31 (ABCPruner): as thop-0.0.31, but 4 per BatchNorm element, "
            "2 in - 1 per linear output, window side + 1 per average-pool output",
            {
                nn.Conv2d: _conv_macs_bias,
                nn.ConvTranspose2d: _transposed,
                nn.Linear: _linear_twice,
                nn.BatchNorm2d: _outputs(4),
                nn.BatchNorm1d: _outputs(4),
                nn.AvgPool2d: _average_pool,
                nn.AdaptiveAvgPool2d: _adaptive_pool,
            },
        ),
        Rule("thop-0.1.1", "thop 0.1.1 as it stands: like macs, and 4 per BatchNorm element among others", None),
        Rule(
            "mmrazor",
            "mmrazor's ResourceEstimator: conv MACs and bias adds, linear without bias, 2 per BatchNorm element, 1 per "
            "ReLU output, 1 per pooling input",
            {**_MMRAZOR, nn.BatchNorm2d: _outputs(2), nn.BatchNorm1d: _outputs(2)},
        ),
        Rule(
            "mmrazor-syncbn",
            "the same without BatchNorm: SyncBN, by which mmseg trains, is not in mmrazor's table (a reading that was "
            "found because it fits one figure)",
            _MMRAZOR,
        ),
        Rule(
            "cdp",
            "CDP's counter: conv MACs of kept filters x (inputs - filters pruned in the conv before), linear in full",
            {nn.Linear: _linear},
            masked=True,
        ),
        Rule(
            "chex",
            "CHEX's counter: conv MACs x the fraction of weights that are not zero, linear with bias",
            {nn.Conv2d: _conv_nonzero, nn.Linear: _linear_bias},
        ),
    )
}
DEFAULT_RULE = "thop-0.0.31"


def rule_called(name: str) -> Rule:
    if name not in RULES:
        raise InputError(f"unknown counting rule {name!r}; expected one of: {' '.join(RULES)}")
    return RULES[name]


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
        counters[_WindowPool] = counters[nn.AvgPool2d]
        for name in window:
            model.set_submodule(name, _WindowPool(1))
    if chosen.masked:
        convs = {m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        counters[nn.Conv2d] = _MaskedChain({m: (n, (kept or {}).get(n, m.out_channels)) for m, n in convs.items()})
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
) -> Cost:
    """Recount ``arch`` with ``widths`` (``None``: nothing pruned) under ``rule``, as the paper of ``layout`` does.

    Raises:
        InputError: an unknown arch, layout or rule, or widths that the network cannot have.
    """
    about, chosen = arch_of(arch), rule_called(rule)
    how = about.layouts[layout_of(arch, layout)]
    skips = how.functional, how.functional + how.functional_in_base
    window = how.window_pools
    base = count(_shapes(arch, None, classes), rule, about.image, skips[1], window)
    if widths is None:
        mine = base
    elif chosen.masked:
        full = _shapes(arch, None, classes)
        mine = count(_shapes(arch, widths, classes))[0], count(full, rule, about.image, kept=widths)[1]
    else:
        mine = count(_shapes(arch, widths, classes), rule, about.image, skips[0], window)
    cuts = (100 * (1 - ours / theirs) for ours, theirs in zip(mine, base, strict=True))
    return Cost(arch, rule, *mine, *base, *cuts)


def masked_flops(arch: str, kept: Widths) -> int:
    """FLOPs of the full network with so many filters kept in each conv by masks, under CDP's rule.

    Unlike widths, masks need not agree within a unit.
    """
    return count(_shapes(arch), "cdp", arch_of(arch).image, kept=kept)[1]


TERMS: dict[str, Mapping[type[nn.Module], Counter]] = {
    "conv MACs": {nn.Conv1d: _conv_macs, nn.Conv2d: _conv_macs, nn.ConvTranspose2d: _transposed},
    "conv bias": {nn.Conv2d: lambda conv, x, y: y.numel() if conv.bias is not None else 0},
    "linear MACs": {nn.Linear: _linear},
    "BatchNorm elements": {nn.BatchNorm1d: _outputs(1), nn.BatchNorm2d: _outputs(1)},
    "ReLU outputs": {nn.ReLU: _outputs(1), nn.ReLU6: _outputs(1)},
    "pooling inputs": {nn.MaxPool2d: _inputs, nn.AvgPool2d: _inputs, nn.AdaptiveAvgPool2d: _inputs},
}


def terms(arch: str, widths: Widths | None = None) -> dict[str, int]:
    """What there is to count in a network, each kind once: the parts that the rules add up in different ways."""
    model, image = _shapes(arch, widths), arch_of(arch).image
    return {name: count(model, Rule(name, "", ops), image)[1] for name, ops in TERMS.items()}


def _shapes(arch: str, widths: Widths | None = None, classes: int | None = None) -> nn.Module:
    """A network that has shapes but no numbers: enough to count, at no cost."""
    with torch.device("meta"):
        return build(arch, widths, classes)
