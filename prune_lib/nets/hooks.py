"""Look at what layers give while a network runs: the only file with forward hooks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

AT_ONCE, FEW = 64, 2**20  # images whose maps a CPU's caches hold, and weights that they hold beside them


def watching(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor], None]):
    """Within this block every forward pass calls ``see(layer, output)`` for each of ``layers``."""
    return calling(model, layers, lambda name, given, output: see(name, output))


@contextmanager
def calling(model: nn.Module, layers: Iterable[str], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Within this block every forward pass calls ``see(layer, first input, output)`` for each of ``layers``."""

    def hook(name: str):
        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # None: the output stays
            see(name, inputs[0], output)

        return look

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parts(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """``images`` as they are best passed: a CPU is given few at a time, so that its caches hold their maps.

    But all of them where the network has many weights, which would be read anew for each part, and on a GPU.
    """
    few = images.device.type == "cpu" and sum(p.numel() for p in model.parameters()) <= FEW
    return images.split(AT_ONCE) if few else (images,)


@torch.inference_mode()
def run(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> int:
    """Pass the images of every batch through ``model`` in evaluation mode, in parts; returns how many there were."""
    model.eval()
    seen = 0
    for images, _ in batches:
        for part in parts(model, images):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                model(part)
        seen += len(images)
    return seen
