"""What the field's counters print, as data: each is a rule over the layers and the functions that a network calls.

Counters differ in what they see. Some look at modules of torch's own classes (thop, ptflops, Torch-Pruning), and miss
what is called as a function; some at functions (fvcore, calflops, DeepSpeed, torch's), whoever calls them; ptflops at
both, so that it counts a ReLU module twice. A call of a function is a ``Layer`` whose kind is ``F.relu``, ``torch.add``
or ``Tensor.matmul``; a module that has no other in it is noted once more, as one of the kind ``leaf``. The papers'
rules, and thop's that papers used, are in ``rules``. What the packages themselves print lies in
``benchmarks/counters.json``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

from ..nets.layers import Layer
from .rules import Counter, Rule, _adaptive_pool, _bias, _inputs, _kinds, _macs, _outputs, _transposed


@dataclass(frozen=True)
class Package(Rule):
    """The rule of a package that counts any network."""

    per_mac: int = 1  # operations of a multiply-accumulate
    averaged: bool = False  # whether it divides by the examples of a batch


def _times(times: int, counter: Counter) -> Counter:
    return lambda layer: times * counter(layer)


def _plus_bias(times: int, counter: Counter) -> Counter:
    return lambda layer: times * counter(layer) + _bias(layer)


def _norm(affine: int, plain: int) -> Counter:
    return lambda layer: (affine if layer.affine else plain) * layer.read


def _product(layer: Layer) -> int:
    """A matrix product: each output sums over the last dimension of the first factor."""
    return layer.written * layer.inputs


def _einsum(per_mac: int) -> Counter:
    """A sum of products as numpy prints its cost: 2 per MAC, with four digits. Some counters read it there."""
    return lambda layer: int(float(f"{2 * layer.written * layer.inputs:.3e}")) * per_mac // 2


def _attention(layer: Layer) -> int:
    """Queries times keys, and their softmax times values; ``inputs`` is how many keys there are."""
    return 2 * layer.read * layer.inputs


def _heads(layer: Layer) -> int:
    """Self-attention as ptflops has it: scaling, four projections, two products and a softmax for each head."""
    width, heads = layer.inputs, layer.groups
    length = layer.x[layer.dim]
    batch = layer.read // (length * width)
    inside = heads * (2 * length * length * (width // heads) + length * length)
    biases = 3 * length * width if layer.bias else 0
    return batch * (length * width + 3 * length * width**2 + biases + inside + length * width * (width + 1))


def _linear_bias_once(layer: Layer) -> int:
    return _macs(layer) + (layer.y[-1] if layer.bias else 0)


def _interpolated(nearest: int, linear: int) -> Counter:
    return lambda layer: {"nearest": nearest, "bilinear": linear}.get(layer.mode, 0) * layer.written


def _resized(otherwise: Counter) -> Counter:
    """The pixels of one channel where a size was asked for; ``kernel`` is that size."""
    return lambda layer: prod(layer.kernel) if layer.kernel else otherwise(layer)


def _old_upsample(layer: Layer) -> int:
    return {"linear": 5, "bilinear": 11, "bicubic": 259, "trilinear": 31}.get(layer.mode, 0) * layer.written


def _old_linear(layer: Layer) -> int:
    return (2 * layer.inputs - (not layer.bias)) * layer.written


def _old_average_pool(layer: Layer) -> int:
    """A side and a division for each output: of a window that is given as two numbers, their product."""
    return ((prod(layer.kernel) if layer.kernel else layer.x[-1] // layer.y[-1]) + 1) * layer.written


def _forward_conv(layer: Layer) -> int:
    """A transposed conv taken for a conv: each of its outputs reads all inputs."""
    return layer.written * layer.inputs // layer.groups * prod(layer.kernel)


def _leaf(layer: Layer) -> int:
    """torchinfo: parameters times places for a conv, times images for the rest, times tokens where a name only ends so.

    ``inputs`` are the values called weight or bias, ``outputs`` those in whose names either stands.
    """
    if "Conv" in layer.mode:
        return layer.inputs * layer.y[0] * prod(layer.y[2:])
    return layer.inputs * layer.y[0] + layer.outputs * prod(layer.y[:2])


def _any(kinds: Iterable[str], counter: Counter) -> dict[str, Counter]:
    return _kinds(*kinds, counter=counter)


CONVS, CROSSED = ("Conv1-3d",), ("ConvTranspose1-3d",)
F_CONVS, F_CROSSED = ("F.conv1-3d",), ("F.conv_transpose1-3d",)
NORMS = ("BatchNorm1-3d", "InstanceNorm1-3d", "GroupNorm")
F_NORMS = ("F.layer_norm", "F.group_norm", "F.instance_norm")
POOLS = ("MaxPool1-3d", "AvgPool1-3d", "AdaptiveMaxPool1-3d", "AdaptiveAvgPool1-3d")
F_POOLS = ("F.max_pool1-3d", "F.avg_pool1-3d", "F.adaptive_max_pool1-3d", "F.adaptive_avg_pool1-3d")
ACTIVATIONS = ("ReLU", "PReLU", "ELU", "LeakyReLU", "ReLU6", "GELU")
F_ACTIVATIONS = ("F.relu", "F.prelu", "F.elu", "F.relu6", "F.gelu", "F.silu")
MATMULS = ("torch.matmul", "Tensor.matmul")
OTHER_MATMULS = ("torch.mm", "Tensor.mm", "torch.bmm", "Tensor.bmm")
OPERATOR = ("Tensor.__matmul__",)
SUMS = ("torch.add", "Tensor.add", "torch.mul", "Tensor.mul")

_OLD_THOP = {
    **_any((*CONVS, *CROSSED), _plus_bias(1, _forward_conv)),
    **_any(("AdaptiveAvgPool1-3d",), _adaptive_pool),
    **_any(("Upsample", "UpsamplingBilinear2d"), _old_upsample),
    "LeakyReLU": _inputs,
}
_SEEN_BY_MODULES = {
    **_any(CONVS, _plus_bias(1, _macs)),
    **_any(ACTIVATIONS, _outputs(1)),
    **_any(POOLS, _inputs),
    **_any(NORMS, _norm(2, 1)),
    "Upsample": _outputs(1),
    "MultiheadAttention": _heads,
}


def _functions(times: int, products: Iterable[str]) -> dict[str, Counter]:
    """Convs, linear layers and products, at so many operations for each multiply-accumulate."""
    return {
        **_any(F_CONVS, _times(times, _macs)),
        **_any(F_CROSSED, _times(times, _transposed)),
        "F.linear": _times(times, _macs),
        **_any(products, _times(times, _product)),
    }


_PROFILED = {
    **_functions(2, MATMULS),
    **_any(F_CONVS, _plus_bias(2, _macs)),
    **_any(F_CROSSED, _plus_bias(2, _transposed)),
    **_any((*F_ACTIVATIONS, "F.leaky_relu", *F_POOLS, "F.softmax"), _inputs),
    "F.batch_norm": _norm(2, 1),
    **_any(F_NORMS, _norm(5, 4)),
    **_any(SUMS, _outputs(1)),
    "torch.einsum": _einsum(2),
}
_ATTENTION = {"F.scaled_dot_product_attention": _attention}
_SEEN_BY_DEEPSPEED = (*MATMULS, *OTHER_MATMULS, *OPERATOR)
COUNTERS = {
    rule.name: rule
    for rule in (
        Package(
            "fvcore",
            "fvcore 0.1.5, FlopCountAnalysis: MACs of convs, linear layers and products, 2 per BatchNorm element, 5 "
            "per element of other norms, 1 per input of an adaptive average pool, 4 per bilinear upsampling output; "
            "fused attention is not counted",
            {
                **_functions(1, (*MATMULS, *OTHER_MATMULS, *OPERATOR)),
                "torch.einsum": _einsum(1),
                "F.batch_norm": _norm(2, 1),
                **_any(F_NORMS, _norm(5, 4)),
                "F.adaptive_avg_pool2d": _inputs,
                "F.interpolate": _interpolated(1, 4),
            },
        ),
        Package(
            "ptflops",
            "ptflops 0.7, its default engine: MACs and bias adds, 2 per BatchNorm element, 1 per activation output and "
            "per pooling input; activations and pools once as modules and once more as the functions that these call",
            {
                **_SEEN_BY_MODULES,
                **_any(CROSSED, _plus_bias(1, _transposed)),
                "Linear": _plus_bias(1, _macs),
                "LayerNorm": _norm(1, 1),
                **_any((*F_ACTIVATIONS, *F_POOLS, "F.softmax"), _inputs),
                "F.interpolate": _outputs(1),
                **_any((*MATMULS, *OTHER_MATMULS), _product),
                **_any(SUMS, _outputs(1)),
            },
            averaged=True,
        ),
        Package(
            "torch",
            "torch's FlopCounterMode: 2 per MAC of convs, linear layers, products and fused attention, nothing else",
            {
                **_functions(2, (*MATMULS, *OTHER_MATMULS, *OPERATOR, "torch.einsum")),
                "F.scaled_dot_product_attention": _times(2, _attention),
            },
            per_mac=2,
        ),
        Package(
            "torch-pruning",
            "Torch-Pruning 1.6, count_ops_and_params: MACs and bias adds, 2 per norm element, 1 per activation output "
            "and per pooling input, of modules alone",
            {
                **_SEEN_BY_MODULES,
                **_any(CROSSED, _plus_bias(1, _forward_conv)),
                "GroupNorm": _norm(2, 1),
                "LayerNorm": _norm(2, 1),
                "Linear": _linear_bias_once,
            },
            averaged=True,
        ),
        Package(
            "calflops",
            "calflops 0.3, FLOPs: 2 per MAC, conv bias adds, 2 per BatchNorm element, 5 per element of other norms, 1 "
            "per activation, per pooling input and per torch.add; fused attention is not counted",
            {**_PROFILED, "F.interpolate": _resized(_inputs)},
            per_mac=2,
        ),
        Package("calflops-macs", "calflops 0.3, MACs: convs, linear layers, torch.matmul", _functions(1, MATMULS)),
        Package(
            "deepspeed",
            "DeepSpeed 0.19's FlopsProfiler, flops: as calflops, and every matrix product and fused attention too",
            {
                **_PROFILED,
                **_any(_SEEN_BY_DEEPSPEED, _times(2, _product)),
                "F.scaled_dot_product_attention": _times(2, _attention),
                "F.interpolate": _resized(_outputs(1)),
            },
            per_mac=2,
        ),
        Package(
            "deepspeed-macs",
            "DeepSpeed 0.19's FlopsProfiler, MACs: of convs, linear layers, matrix products and fused attention",
            {**_functions(1, _SEEN_BY_DEEPSPEED), **_ATTENTION},
        ),
        Package(
            "torchinfo",
            "torchinfo 1.8, mult-adds: a conv's parameters times its places; of any other layer its parameters once an "
            "image, so 2 per BatchNorm channel; nothing that has no parameters",
            {"leaf": _leaf},
        ),
        Package(
            "thop-1910",
            "thop 0.0.31.post1910280903 and post1912272122: as thop-0.0.30, but a linear layer's bias is added",
            {
                **_OLD_THOP,
                "Linear": _old_linear,
                **_any(("BatchNorm1-3d",), _outputs(4)),
                **_any(("AvgPool1-3d",), _old_average_pool),
            },
        ),
        Package(
            "thop-2001",
            "thop 0.0.31.post2001170342: as thop-1910, but 2 per BatchNorm element and 1 per average-pool output",
            {
                **_OLD_THOP,
                "Linear": _old_linear,
                **_any(("BatchNorm1-3d", ), _outputs(2)),
                **_any(("AvgPool1-3d",), _outputs(1)),
            },
        ),
    )
}  # fmt: skip

POSTS = {  # thop's releases -> by which rule each counts
    "0.0.30": "thop-0.0.30",
    "0.0.31-1909021322": "thop-0.0.30",
    "0.0.31-1909230639": "thop-0.0.30",
    "0.0.31-1910280903": "thop-1910",
    "0.0.31-1912272122": "thop-1910",
    "0.0.31-2001170342": "thop-2001",
    "0.0.31-2004070130": "thop-0.0.31",
    "0.0.31-2004101309": "thop-0.0.31",
    "0.0.31-2005141432": "thop-0.0.31",
    "0.0.31-2005141830": "thop-0.0.31",
    "0.0.31-2005241907": "thop-0.0.31",
    "0.1.1": "thop-0.1.1",
}

FUNCTIONS = {  # of torch.nn.functional, that a module of this kind calls
    **{f"{kind}{n}d": f"F.{function}{n}d" for n in (1, 2, 3) for kind, function in (
        ("Conv", "conv"), ("ConvTranspose", "conv_transpose"), ("MaxPool", "max_pool"), ("AvgPool", "avg_pool"),
        ("AdaptiveAvgPool", "adaptive_avg_pool"), ("AdaptiveMaxPool", "adaptive_max_pool"),
    )},
    **{f"BatchNorm{n}d": "F.batch_norm" for n in (1, 2, 3)},
    "Linear": "F.linear", "ReLU": "F.relu", "ReLU6": "F.hardtanh",
}  # fmt: skip


def as_called(layers: Iterable[Layer]) -> Iterator[Layer]:
    """The layers of a plan, each with the function that it calls, and as a module that has no other in it."""
    for layer in layers:
        yield layer
        if layer.kind in FUNCTIONS:
            yield replace(layer, kind=FUNCTIONS[layer.kind])
        named = sum(prod(s) for key, s in layer.tensors().items() if key.rsplit(".", 1)[-1] in ("weight", "bias"))
        yield replace(layer, kind="leaf", mode=layer.kind, inputs=named, outputs=0)
