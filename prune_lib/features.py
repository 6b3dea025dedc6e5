"""Look at what layers give while a network runs: the only file with forward hooks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def watching(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor], None]):
    """Within this block every forward pass calls ``see(layer, output)`` for each of ``layers``."""
    return calling(model, layers, lambda name, given, output: see(name, output))


@contextmanager
def calling(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Within this block every forward pass calls ``see(layer, first input, output)`` for each of ``layers``."""

    def hook(name: str):
        return lambda module, inputs, output: see(name, inputs[0], output)

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def run(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> int:
    """Pass every batch through ``model`` in evaluation mode; returns how many images there were."""
    model.eval()
    seen = 0
    for images, labels in batches:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            model(images)
        seen += len(labels)
    return seen
