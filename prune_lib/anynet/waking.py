"""What only training uses, as an auxiliary head or the buffer of a running mean: running a network so that it is."""

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


RANDOM = (
    torch.rand, torch.randn, torch.rand_like, torch.randn_like, torch.normal, torch.bernoulli, torch.Tensor.bernoulli,
    torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.bernoulli_, torch.Tensor.exponential_,
    torch.Tensor.log_normal_, torch.Tensor.cauchy_,
)  # fmt: skip
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


class _Still(TorchFunctionMode):
    """Nothing is dropped, and every random number is 1, so that networks of other widths have the same."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in DROPOUTS:
            return args[0]
        result = func(*args, **(kwargs or {}))
        return result.fill_(1) if func in RANDOM else result


@contextmanager
def training(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Within this block the modules called ``names``, and only they, see themselves in training; nothing is random."""
    modules = [model.get_submodule(name) for name in names]
    if not modules:
        yield
        return
    for module in modules:
        module.training = True
    try:
        with _Still():
            yield
    finally:
        for module in modules:
            module.training = False


def idle(model: nn.Module, followed: Channels) -> dict[str, torch.Tensor]:
    """``{name: weight or buffer}`` of those that nothing used and that have channels which could be cut."""
    weights = ((name, p) for name, p in model.named_parameters() if p.is_floating_point())
    names = followed.leaves.keys() - followed.used
    return {name: t for name, t in (*weights, *model.named_buffers()) if name in names and t.numel() > 1}


def unreached(model: nn.Module, followed: Channels) -> tuple[str, ...]:
    """The layers of which no weight was used, and weights of others that were not.

    A norm is among them only if one of its kind beside it was used, in whose place it may be; another is left over.
    """
    busy = {name.rpartition(".")[0] for name in followed.used}
    kinds = {name: (name.rpartition(".")[0], type(module)) for name, module in model.named_modules()}
    over = {name for name, module in model.named_modules() if isinstance(module, NORMS)
            and name not in busy and kinds[name] not in {kinds[each] for each in busy}}  # fmt: skip
    buffers = dict(model.named_buffers())
    parts = [name for name in idle(model, followed) if name not in buffers and name.rpartition(".")[0] not in over]
    above = ((name.rpartition(".")[0], name) for name in parts)
    return tuple(dict.fromkeys(name if layer in busy or not layer else layer for layer, name in above))


def wiring_in_training(model: nn.Module, inputs: Any, followed: Channels) -> tuple[str, ...]:
    """The modules that, seeing themselves in training, use weights or buffers which an evaluation does not.

    None: there are no such weights or buffers. A layer of torch's that holds them does not see itself in training.

    Args:
        followed: an evaluation.

    Raises:
        InputError: there are some that evaluation does not use, and what they read cannot be found out.
    """
    found = idle(model, followed)
    if not found:
        return ()
    modules, wiring = dict(model.named_modules()), {""}
    for layer in {name.rpartition(".")[0] for name in found}:
        wiring |= {layer.rsplit(".", n)[0] for n in range(1, layer.count(".") + 1)}
        wiring |= set() if type(modules[layer]).__module__.startswith("torch.nn.") else {layer}
    way = tuple(name for name in modules if name in wiring)
    then = Channels(found, lambda _: lambda *_: None)  # only what is used counts
    try:
        with torch.no_grad(), training(model, way), then:
            call(model, inputs)
    except Exception as error:  # whatever a model may raise, as one that wants labels then does
        name = next((name for name, t in found.items() if t.is_floating_point()), None)
        if name is None:
            return ()
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
        raise InputError(
            f"{type(model).__name__}, {_called(model, name)}: evaluation does not use it, and in training mode the "
            f"network does not run on example_inputs ({type(error).__name__}: {reason}), so that what it reads cannot "
            "be known; expected a network without it, or example_inputs that do for both"
        ) from None
    return way if then.used else ()


def _called(model: nn.Module, name: str) -> str:
    """What to call a weight or buffer in a message: a weight of a layer by the layer."""
    return name if name in dict(model.named_buffers()) else name.rpartition(".")[0] or name
