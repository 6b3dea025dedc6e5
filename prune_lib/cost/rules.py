"""Counting rules: what "FLOPs" means in each paper, as a small table of layer type -> operations.

A figure always carries the name of its rule; the rule's text says in words what the table beside it does.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..system.errors import InputError

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


class WindowPool(nn.AdaptiveAvgPool2d):
    """A global pool that counts as the ``AvgPool2d`` with a fixed window which the counted network had there."""


class MaskedChain:
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


TERMS: dict[str, Mapping[type[nn.Module], Counter]] = {
    "conv MACs": {nn.Conv1d: _conv_macs, nn.Conv2d: _conv_macs, nn.ConvTranspose2d: _transposed},
    "conv bias": {nn.Conv2d: lambda conv, x, y: y.numel() if conv.bias is not None else 0},
    "linear MACs": {nn.Linear: _linear},
    "BatchNorm elements": {nn.BatchNorm1d: _outputs(1), nn.BatchNorm2d: _outputs(1)},
    "ReLU outputs": {nn.ReLU: _outputs(1), nn.ReLU6: _outputs(1)},
    "pooling inputs": {nn.MaxPool2d: _inputs, nn.AvgPool2d: _inputs, nn.AdaptiveAvgPool2d: _inputs},
}
