"""Counting rules: what "FLOPs" means in each paper, as a small table of kind of layer -> operations.

A figure always carries the name of its rule; the rule's text says in words what the table beside it does. A new rule
is one more entry of ``RULES``. Under every rule a subclass counts like torch's own class, and a module counts as often
as it is called; thop itself skips subclasses, and counts a shared module once more for each of its parents.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..nets.layers import Layer

Counter = Callable[[Layer], int]  # one call of a layer -> operations


def _kinds(*names: str, counter: Counter) -> dict[str, Counter]:
    """One counter for several kinds; ``Conv1-3d`` is the three of them."""
    listed = (name.replace("1-3", n) for name in names for n in ("123" if "1-3" in name else "1"))
    return dict.fromkeys(listed, counter)


def _macs(layer: Layer) -> int:
    return layer.written * (layer.inputs // layer.groups) * math.prod(layer.kernel)


def _bias(layer: Layer) -> int:
    return layer.written if layer.bias else 0


def _macs_bias(layer: Layer) -> int:
    return _macs(layer) + _bias(layer)


def _nonzero(layer: Layer) -> int:
    """MACs times the share of weights that are not zero; where only shapes are known, no weight counts as zero."""
    return _macs(layer) if layer.nonzero is None else round(_macs(layer) * layer.nonzero / layer.weights)


def _transposed(layer: Layer) -> int:
    return layer.read // layer.groups * layer.outputs * math.prod(layer.kernel)


def _linear_bias(layer: Layer) -> int:
    return _macs(layer) + layer.written


def _linear_twice(layer: Layer) -> int:
    return (2 * layer.inputs - 1) * layer.written


def _outputs(times: int) -> Counter:
    return lambda layer: times * layer.written


def _inputs(layer: Layer) -> int:
    return layer.read


def _average_pool(layer: Layer) -> int:
    return (layer.x[-1] // layer.y[-1] + 1) * layer.written


def _adaptive_pool(layer: Layer) -> int:
    return (math.prod(layer.x[2:]) // math.prod(layer.y[2:]) + 1) * layer.written


def _adaptive_exactly(layer: Layer) -> int:
    return int((math.prod(x / y for x, y in zip(layer.x[2:], layer.y[2:], strict=True)) + 1) * layer.written)


def _norm(layer: Layer) -> int:
    return (4 if layer.affine else 2) * layer.read


def _softmax(layer: Layer) -> int:
    classes = layer.x[layer.dim]
    return layer.read // classes * (3 * classes - 1)


def _upsample(layer: Layer) -> int:
    return {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(layer.mode, 0) * layer.written


class MaskedChain:
    """CDP's counter: each conv's kept filters times its inputs less the filters pruned from the conv *before it*.

    ``p``, the filters pruned in the previously executed conv, goes back to 0 at the first conv of a residual block
    and at a downsample conv, so pruning the residual stream is never credited on the input side. What is before a conv
    is decided by calls, not by modules: one that is called twice has two, and its mask holds in both. A conv counts
    once for the regions or frames of an image.
    """

    def __init__(self, kept: Mapping[str, int]):
        self.kept, self.pruned = kept, 0

    def __call__(self, conv: Layer) -> int:
        if conv.name.rsplit(".", 1)[-1] == "conv1" or "downsample" in conv.name:
            self.pruned = 0
        kept = self.kept.get(conv.name, conv.outputs)
        inputs = conv.inputs - self.pruned if self.pruned <= conv.inputs else conv.inputs
        self.pruned = conv.outputs - kept
        return math.prod(conv.y[2:]) * math.prod(conv.kernel) * kept * inputs // conv.groups


class MaskedOutputs:
    """HRank's counter: each conv's kept filters times *all* of its inputs, whatever was pruned before it.

    Only a DenseNet's transitions count their inputs without the filters pruned in the dense block before. Parameters
    are counted in the same way (``weights``): norms are none, and of a conv only its kept filters and their biases.
    """

    def __init__(self, kept: Mapping[str, int]):
        self.kept, self.pruned = kept, 0

    def __call__(self, conv: Layer) -> int:
        return math.prod(conv.y[2:]) * self._weights(conv)

    def _weights(self, conv: Layer) -> int:
        kept, inputs = self.kept.get(conv.name, conv.outputs), conv.inputs
        if conv.name.startswith("trans"):
            inputs, self.pruned = inputs - self.pruned, 0
        self.pruned += conv.outputs - kept
        return math.prod(conv.kernel) * kept * inputs // conv.groups

    @classmethod
    def weights(cls, layers: Iterable[Layer], kept: Mapping[str, int]) -> int:
        """The parameters of a network's convs and linear layers, as this counter has them."""
        count, total = cls(kept), 0
        for layer in {layer.name: layer for layer in layers}.values():
            if layer.kind == "Linear":
                total += layer.inputs * layer.outputs + layer.outputs * layer.bias
            elif layer.kind in _kinds("Conv1-3d", counter=count):
                total += count._weights(layer) + kept.get(layer.name, layer.outputs) * layer.bias
        return total


@dataclass(frozen=True)
class Rule:
    """A counting rule: kind of layer -> operations of one call. Kinds that it does not name count 0; so does
    everything called as a function.

    A ``masked`` rule counts the full network with masks, instead of the compact one: ``masked(kept)``, with the filters
    that each conv keeps, makes what counts the convs, in their order.
    """

    name: str
    text: str
    ops: Mapping[str, Counter]
    masked: Callable[[Mapping[str, int]], Counter] | None = None
    windows: bool = True  # whether a global pool counts as the pool with a fixed window that the paper's network has
    params: Callable[[Iterable[Layer], Mapping[str, int]], int] | None = None  # ``(layers, kept)``; None: all

    def total(self, layers: Iterable[Layer], kept: Mapping[str, int] | None = None) -> int:
        """The operations of all ``layers``; a masked rule takes them in their order."""
        ops = {**self.ops, **_kinds("Conv1-3d", counter=self.masked(kept or {}))} if self.masked else self.ops
        return sum(ops[layer.kind](layer) for layer in layers if layer.kind in ops)

    @property
    def kinds(self) -> set[str]:
        """The kinds of layers that it looks at."""
        return {*self.ops, *(_kinds("Conv1-3d", counter=_macs) if self.masked else ())}


_CONVS = "Conv1-3d"
_NORMS = "BatchNorm1-3d"
_MACS = {
    **_kinds(_CONVS, "Linear", counter=_macs),
    **_kinds("ConvTranspose1-3d", counter=_transposed),
}
_WITH_BIAS = {**_MACS, **_kinds(_CONVS, counter=_macs_bias)}
_POOLS = ("MaxPool1-3d", "AvgPool1-3d", "AdaptiveAvgPool1-3d")
_MMRAZOR = {**_WITH_BIAS, **_kinds("ReLU", "ReLU6", counter=_outputs(1)), **_kinds(*_POOLS, counter=_inputs)}
RULES = {
    rule.name: rule
    for rule in (
        Rule("macs", "multiply-accumulates of convs and linear layers, nothing else", _MACS),
        Rule(
            "thop-0.0.31",
            "thop 0.0.31, posts 2004070130 and later (DCFF, CFDP, EagleEye): conv MACs and bias adds, linear without "
            "bias, 2 per BatchNorm element, 1 per average-pool output, window + 1 per adaptive-pool output",
            {
                **_WITH_BIAS,
                **_kinds(_NORMS, counter=_outputs(2)),
                **_kinds("AvgPool1-3d", counter=_outputs(1)),
                **_kinds("AdaptiveAvgPool1-3d", counter=_adaptive_pool),
            },
        ),
        Rule(
            "thop-0.0.30",
            "thop 0.0.30 and the first posts of 0.0.31 (ABCPruner): as thop-0.0.31, but 4 per BatchNorm element, "
            "2 in - 1 per linear output, window side + 1 per average-pool output",
            {
                **_WITH_BIAS,
                "Linear": _linear_twice,
                **_kinds(_NORMS, counter=_outputs(4)),
                **_kinds("AvgPool1-3d", counter=_average_pool),
                **_kinds("AdaptiveAvgPool1-3d", counter=_adaptive_pool),
            },
        ),
        Rule(
            "thop-0.1.1",
            "thop 0.1.1 as it stands: like macs, and 4 per BatchNorm element among others",
            {
                **_kinds(_CONVS, "ConvTranspose1-3d", "Linear", counter=_macs),
                **_kinds(_NORMS, "SyncBatchNorm", "InstanceNorm1-3d", "LayerNorm", counter=_norm),
                **_kinds("AvgPool1-3d", counter=_outputs(1)),
                **_kinds("AdaptiveAvgPool1-3d", counter=_adaptive_exactly),
                **_kinds("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", counter=_upsample),
                "PReLU": _inputs,
                "Softmax": _softmax,
            },
            windows=False,
        ),
        Rule(
            "mmrazor",
            "mmrazor's ResourceEstimator: conv MACs and bias adds, linear without bias, 2 per BatchNorm element, 1 per "
            "ReLU output, 1 per pooling input",
            {**_MMRAZOR, **_kinds(_NORMS, counter=_outputs(2))},
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
            {"Linear": _macs},
            masked=MaskedChain,
        ),
        Rule(
            "chex",
            "CHEX's counter: conv MACs x the fraction of weights that are not zero, linear with bias",
            {**_kinds(_CONVS, counter=_nonzero), "Linear": _linear_bias},
        ),
        Rule(
            "hrank",
            "HRank's counter: conv MACs of kept filters x all inputs (in DenseNet's transitions without those that the "
            "block before lost), linear with bias; its parameters are those of convs and linear layers",
            {"Linear": _linear_bias},
            masked=MaskedOutputs,
            params=MaskedOutputs.weights,
        ),
    )
}
DEFAULT_RULE = "thop-0.0.31"


TERMS: dict[str, Mapping[str, Counter]] = {
    "conv MACs": {kind: counter for kind, counter in _MACS.items() if kind != "Linear"},
    "conv bias": _kinds(_CONVS, counter=_bias),
    "linear MACs": {"Linear": _macs},
    "BatchNorm elements": _kinds(_NORMS, counter=_outputs(1)),
    "ReLU outputs": _kinds("ReLU", "ReLU6", counter=_outputs(1)),
    "pooling inputs": _kinds(*_POOLS, counter=_inputs),
}
