"""The layers that a torch network calls, as a counting rule sees them: any network's, whoever wrote it."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.layers import Layer, Shape


def trace(model: nn.Module, run: Callable[[], object], kinds: Collection[str]) -> list[Layer]:
    """The calls of layers of ``kinds`` while ``run()`` passes something through ``model``, in evaluation mode.

    A layer is of a kind if its class is torch's class of that name or derives from it. One that several modules share
    is noted as often as it is called, under its first name. The network stays as it was.
    """
    calls: list[Layer] = []

    def look(name: str, kind: str):
        def hook(module: nn.Module, args: tuple, named: dict, output) -> None:  # None: the output stays
            calls.append(_layer(name, kind, module, _first((*args, *named.values())), _first(output)))

        return hook

    handles = [
        module.register_forward_hook(look(name, kind), with_kwargs=True)
        for name, module in model.named_modules()
        if (kind := kind_of(module, kinds))
    ]
    try:
        with evaluating(model), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def kind_of(module: nn.Module, kinds: Collection[str]) -> str:
    """The nearest of ``kinds`` that the class of ``module`` is or derives from; nothing if there is none."""
    names = (cls.__name__ for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.modules."))
    return next((name for name in names if name in kinds), "")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this block the network is in evaluation mode; afterwards every module is in the mode it had."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _layer(name: str, kind: str, module: Any, x: Shape, y: Shape) -> Layer:
    weight, kernel = getattr(module, "weight", None), getattr(module, "kernel_size", ())
    if kind == "Linear":
        inputs, outputs, kernel = module.in_features, module.out_features, ()
    elif "Conv" in kind:
        inputs, outputs = module.in_channels, module.out_channels
    else:
        return Layer(
            name, kind, x, y, affine=bool(getattr(module, "affine", getattr(module, "elementwise_affine", False))),
            mode=str(getattr(module, "mode", "")), dim=_dim(module, x),
        )  # fmt: skip
    known = isinstance(weight, Tensor) and not weight.is_meta
    return Layer(
        name, kind, x, y, inputs, outputs, tuple(kernel), getattr(module, "groups", 1), module.bias is not None,
        nonzero=int(weight.count_nonzero()) if known else None,  # type: ignore[union-attr]
    )  # fmt: skip


def _dim(module: Any, x: Shape) -> int:
    dim = getattr(module, "dim", 1)
    return dim if type(dim) is int and -len(x) <= dim < len(x) else 0


def _first(value) -> Shape:
    """The shape of the first tensor in a tensor, sequence or dict; of nothing if there is none."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((shape for shape in map(_first, items) if shape), ())


def examples(run_on: list[Tensor], calls: list[Layer]) -> int:
    """How many examples a call of a network was given.

    The first layer that has weights tells: its input holds all of them along its first dimension, unless it has no
    such dimension. Where a network folds frames or crops into that dimension, it is a multiple of the length of the
    input tensor that the examples came in.
    """
    for layer in calls:
        dims = len(layer.kernel) + 2 if "Conv" in layer.kind else 2
        if len(layer.x) < dims:
            return 1
        lengths = {len(tensor) for tensor in run_on if tensor.dim() > 1}
        return max((n for n in lengths if n and layer.x[0] % n == 0), default=1)
    return 1


def blank(model: nn.Module, image: Shape) -> Tensor:
    """One image of zeros where the network is."""
    like = next(model.parameters(), torch.empty(0))
    return torch.zeros(1, *image, device=like.device, dtype=like.dtype if like.is_floating_point() else None)
