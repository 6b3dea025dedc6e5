"""Layers that only training calls, as an auxiliary head: running a network so that they are called."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from ..nets.hooks import call
from ..system.errors import InputError
from .channels import Channels

DROPOUTS = (
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout, torch.feature_dropout,
)  # fmt: skip


class _StillDropout(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func in DROPOUTS else func(*args, **(kwargs or {}))


@contextmanager
def training(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Within this block the modules called ``names``, and only they, see themselves in training; nothing is dropped."""
    modules = [model.get_submodule(name) for name in names]
    if not modules:
        yield
        return
    for module in modules:
        module.training = True
    try:
        with _StillDropout():
            yield
    finally:
        for module in modules:
            module.training = False


def wiring_in_training(model: nn.Module, inputs: Any, used: set[str]) -> tuple[str, ...]:
    """The modules that, seeing themselves in training, call layers which an evaluation does not; none: no such layers.

    Args:
        used: the weights that an evaluation uses.

    Raises:
        InputError: there are layers that evaluation does not use, and what they read cannot be found out.
    """
    idle = {
        name: parts for name, module in model.named_modules()
        if (parts := {f"{name}.{part}" if name else part
                      for part, p in module.named_parameters(recurse=False) if p.is_floating_point()} - used)
    }  # fmt: skip
    known = {name for name, _ in model.named_parameters()}
    idle = {name: parts & known for name, parts in idle.items() if parts & known}
    if not idle:
        return ()
    above = {name.rsplit(".", n)[0] for name in idle for n in range(1, name.count(".") + 1)} | {""}
    wiring = tuple(name for name, _ in model.named_modules() if name in above)
    floating = {name: p for name, p in model.named_parameters() if p.is_floating_point() and p.dim()}
    then = Channels(floating, lambda _: lambda *_: None)  # only what is used counts
    try:
        with torch.no_grad(), training(model, wiring), then:
            call(model, inputs)
    except Exception as error:  # whatever a model may raise, as one that wants labels then does
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
        raise InputError(
            f"{type(model).__name__}, {next(iter(idle))}: evaluation does not use it, and in training mode the network "
            f"does not run on example_inputs ({type(error).__name__}: {reason}), so that what it reads cannot be "
            "known; expected a network without it, or example_inputs that do for both"
        ) from None
    return wiring if any(parts & then.used for parts in idle.values()) else ()
