"""What a torch network calls, as counters see it: modules of torch's own classes, functions, and leaves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nets.layers import Layer
from .counters import COUNTERS, FUNCTIONS
from .tracing import _first, _layer, evaluating

KINDS = {kind for rule in COUNTERS.values() for kind in rule.ops} | set(FUNCTIONS.values())
PLACES: dict[str, Any] = {"F": functional, "torch": torch, "Tensor": torch.Tensor}


def record(model: nn.Module, run: Callable[[], object]) -> list[Layer]:
    """The calls that ``run()`` makes of modules and functions, in evaluation mode; the network stays as it was.

    Attention takes the way that it takes in training, as in counters that do not switch gradients off.
    """
    calls: list[Layer] = []

    def after(name: str):
        def hook(module: nn.Module, args: tuple, named: dict, output) -> None:
            x, y = _first((*args, *named.values())), _first(output)
            if next(module.children(), None) is None:
                calls.append(_leaf(name, module, x, y))
            kind = type(module).__name__
            if kind in KINDS and type(module).__module__.startswith("torch.nn.modules."):
                calls.append(_module(name, kind, module, x, y))

        return hook

    handles = [module.register_forward_hook(after(name), with_kwargs=True) for name, module in model.named_modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), torch.no_grad(), _watched(calls):
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return calls


@contextmanager
def _watched(calls: list[Layer]) -> Iterator[None]:
    """Within this block every call of a function that some counter knows is noted."""
    inside: list[str] = []
    before: list[tuple[Any, str, Any]] = []
    kinds = sorted(kind for kind in KINDS if "." in kind)
    for kind in kinds:
        place, _, name = kind.partition(".")
        before.append((PLACES[place], name, getattr(PLACES[place], name)))
    own = {name for owner, name, _ in before if owner is torch.Tensor and name in vars(torch.Tensor)}
    for (owner, name, whole), kind in zip(before, kinds, strict=True):
        setattr(owner, name, _noting(kind, whole, calls, inside))
    try:
        yield
    finally:
        for owner, name, whole in before:
            if owner is torch.Tensor and name not in own:
                delattr(owner, name)  # it was its base's
            else:
                setattr(owner, name, whole)


def _noting(kind: str, whole: Callable, calls: list[Layer], inside: list[str]) -> Callable:
    def function(*args, **named):
        inside.append(kind)
        try:
            output = whole(*args, **named)
        finally:
            inside.pop()
        if not inside:  # a function that another is made of: on the device "meta" torch's own are written in Python
            calls.append(_function(kind, args, named, output))
        return output

    return function


def _function(kind: str, args: tuple, named: dict, output: Any) -> Layer:
    given = [*args, *named.values()]
    x, y = _first(given), _first(output)
    second: Any = given[1] if len(given) > 1 and isinstance(given[1], Tensor) else None
    if "conv" in kind:
        weight: Any = named.get("weight", second)
        groups = named.get("groups", args[6] if len(args) > 6 else 1)
        shape = weight.shape
        wide, narrow = (shape[0], shape[1] * groups) if "transpose" in kind else (shape[1] * groups, shape[0])
        bias = named.get("bias", args[2] if len(args) > 2 else None)
        return Layer("", kind, x, y, wide, narrow, tuple(shape[2:]), groups, bias is not None)
    if kind == "F.linear":
        weight = named.get("weight", second)
        return Layer("", kind, x, y, weight.shape[1], weight.shape[0], bias=len(given) > 2 and given[2] is not None)
    if kind in ("F.batch_norm", "F.layer_norm", "F.group_norm", "F.instance_norm"):
        at = {"F.batch_norm": 3, "F.layer_norm": 2, "F.group_norm": 2, "F.instance_norm": 3}[kind]
        scale = named.get("weight", args[at] if len(args) > at else None)
        return Layer("", kind, x, y, affine=scale is not None)
    if kind == "F.scaled_dot_product_attention":
        return Layer("", kind, x, y, inputs=second.shape[-2])
    if kind == "torch.einsum":
        return Layer("", kind, x, y, inputs=_summed(args))
    if "m" in kind.split(".")[1] and second is not None:  # a matrix product
        return Layer("", kind, x, y, inputs=x[-1] if x else 1)
    size = named.get("size", second if second is not None else args[1] if len(args) > 1 else None)
    sides = tuple(size) if isinstance(size, list | tuple) else (size,) if isinstance(size, int) else ()
    return Layer("", kind, x, y, kernel=sides, mode=str(named.get("mode", args[3] if len(args) > 3 else "nearest")))


def _summed(args: tuple) -> int:
    """Over how many values each output of an einsum of two factors sums."""
    equation, *given = args
    factors = given[0] if len(given) == 1 and isinstance(given[0], list | tuple) else given
    inside, _, out = equation.replace(" ", "").partition("->")
    parts = zip(inside.split(","), factors, strict=True)
    sizes = {letter: n for part, factor in parts for letter, n in zip(part, factor.shape, strict=False)}
    total = 1
    for letter, n in sizes.items():
        total *= 1 if letter in out else n
    return total


def _module(name: str, kind: str, module: Any, x: tuple, y: tuple) -> Layer:
    if kind == "MultiheadAttention":
        at = 1 if module.batch_first else 0
        bias = module.in_proj_bias is not None
        return Layer(name, kind, x, y, module.embed_dim, groups=module.num_heads, bias=bias, dim=at)
    if kind.startswith("AvgPool"):
        side = module.kernel_size
        return Layer(name, kind, x, y, kernel=tuple(side) if isinstance(side, tuple) else (side,))
    return _layer(name, kind, module, x, y)


def _leaf(name: str, module: nn.Module, x: tuple, y: tuple) -> Layer:
    sizes = {key: p.numel() for key, p in module.named_parameters()}
    named = sum(n for key, n in sizes.items() if key in ("weight", "bias"))
    others = sum(n for key, n in sizes.items() if key not in ("weight", "bias") and ("weight" in key or "bias" in key))
    return Layer(name, "leaf", x, y, named, others, mode=type(module).__name__)
