"""Run a network on what it takes, and watch the outputs of its layers: the only file with forward hooks."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..system.device import autocast
from ..system.errors import InputError

AT_ONCE, FEW = 64, 2**20  # images whose maps a CPU's caches hold, and weights that they hold beside them


def call(model: nn.Module, inputs: Any) -> Any:
    """What ``model`` makes of example inputs: one tensor, a sequence of arguments, or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list | tuple) else model(inputs)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with each tensor in it changed; lists, tuples, mappings and dataclasses around it keep their types."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        items = [mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        found = copy.copy(value)
        for key, item in value.items():
            found[key] = mapped(item, change)  # type: ignore[index]
        return found
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = copy.copy(value)  # type: ignore[arg-type]
        for field in dataclasses.fields(value):
            object.__setattr__(found, field.name, mapped(getattr(value, field.name), change))
        return found
    return value


def tensors(value: Any, floating: bool = False) -> list[Tensor]:
    """The tensors in ``value``, as ``mapped`` finds them, in order; only those of floating-point numbers if asked."""
    found: list[Tensor] = []

    def see(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(value, see)
    return [tensor for tensor in found if tensor.is_floating_point() or not floating]


def answer(output: Any) -> Tensor:
    """The one tensor that a network answers with: the output, or ``logits`` in it, or else its first tensor of numbers.

    Raises:
        InputError: there is none.
    """
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    found = tensors(output if named is None else named, floating=True)
    if not found:
        raise InputError(f"the network gives {type(output).__name__}, in which no floating-point tensor is found")
    return found[0]


def apart(batch: Any) -> tuple[Any, Tensor | None]:
    """What a network takes of a batch, and the batch's labels, ``None`` where there are none.

    A batch is a tensor, or a tuple of one and its labels, or a mapping that the network takes by name, with ``labels``
    or ``label`` in it.

    Raises:
        InputError: something else.
    """
    if isinstance(batch, Mapping) or hasattr(batch, "keys"):
        named = dict(batch)
        labels = next((found for name in ("labels", "label") if (found := named.pop(name, None)) is not None), None)
        if not tensors(named):
            raise InputError(f"data gives a mapping of {', '.join(map(str, batch))}; expected tensors in it")
        return named, labels if isinstance(labels, Tensor) else None
    first, *rest = batch if isinstance(batch, list | tuple) and batch else [batch]
    if not isinstance(first, Tensor) or first.dim() < 2:
        found = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise InputError(f"data gives {found}; expected batches of images (N, C, H, W), alone or before labels")
    return first, rest[0] if rest and isinstance(rest[0], Tensor) else None


def watching(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor], None]):
    """Within this block, every forward pass calls ``see(layer, output)`` for each of ``layers``."""
    return calling(model, layers, lambda name, given, output: see(name, output))


@contextmanager
def calling(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Within this block every forward pass calls ``see(layer, first input, output)`` for each of ``layers``.

    The first input is the first argument, or the first one that is named where none is not.
    """

    def hook(name: str):
        def look(module: nn.Module, inputs: tuple, named: dict, output: Tensor) -> None:  # None: the output stays
            see(name, next(iter((*inputs, *named.values())), None), output)  # type: ignore[arg-type]

        return look

    handles = [model.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_hooks(model: nn.Module) -> nn.Module:
    """``model`` itself, a copy of somebody's network, without their hooks, which are not ours to call."""
    for module in model.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            getattr(module, kind).clear()
    return model


def parts(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Split ``images`` for a forward pass: a CPU gets few at a time, so that their maps fit into its caches.

    A GPU gets all of them, and so does a network with many weights, which each part would read again.
    """
    few = images.device.type == "cpu" and sum(p.numel() for p in model.parameters()) <= FEW
    return images.split(AT_ONCE) if few else (images,)


def maps_of(layer: nn.Module, output: Tensor) -> Tensor:
    """What a layer makes as maps, ``(N, C, H, W)``: a linear layer's outputs are channels, and tokens are pixels."""
    if isinstance(layer, nn.Linear):
        output = output.movedim(-1, 1)
    if output.dim() == 4:
        return output
    return output.flatten(2, -2) if output.dim() > 4 else output.view(*output.shape, *[1] * (4 - output.dim()))


@torch.inference_mode()
def run(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> int:
    """Pass the images of every batch through ``model`` in evaluation mode, in parts; returns how many there were."""
    model.eval()
    seen = 0
    for images, _ in batches:
        for part in parts(model, images):
            with autocast(images.device, precision):
                model(part)
        seen += len(images)
    return seen


def failing(model: nn.Module, inputs: Any) -> tuple[Any, Exception | None, str]:
    """``(what model makes of inputs, None, "")``, or ``(None, the error, the innermost module in which it came)``."""
    path: list[str] = []

    def entering(name: str):
        return lambda *_: path.append(name)

    def leaving(*_: Any) -> None:
        path.pop()

    handles = [module.register_forward_pre_hook(entering(name)) for name, module in model.named_modules()]
    handles += [module.register_forward_hook(leaving) for module in model.modules()]
    try:
        return call(model, inputs), None, ""
    except Exception as error:  # whatever a model may raise
        return None, error, path[-1] if path else ""
    finally:
        for handle in handles:
            handle.remove()
