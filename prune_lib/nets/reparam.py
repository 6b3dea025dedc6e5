"""Compressed layers as parametrizations: the stored tensor is the method's, the computed weight is the compact one."""

import copy
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .hooks import tensors, without_hooks


class FilterFusion(nn.Module):
    """``weight = P @ bank``: m compact filters, each a weighted average of a bank of n (DCFF, section 3.3).

    The bank ``(n, C_in, k, k)`` is the parameter that is trained; ``proxy`` P ``(m, n)`` is a buffer that the method
    rewrites between epochs, so gradients reach the bank through it. With one-hot rows, as P has them once the
    temperature is high, this is plain pruning: the filters are then picked instead of multiplied, to the same numbers.
    ``scores`` ``(n,)`` is the importance of each filter of the bank, by which the rows of P are chosen.
    """

    proxy: Tensor
    scores: Tensor

    def __init__(self, kept: int, total: int):
        super().__init__()
        self.register_buffer("proxy", torch.eye(kept, total))
        self.register_buffer("scores", torch.zeros(total, dtype=torch.float64))
        self._looked_at: tuple = ()  # the version of P that was looked at last
        self._picked: Tensor | None = None  # the filters that its rows pick, if each row picks one

    def forward(self, bank: Tensor) -> Tensor:
        if not _recorded(bank):  # what is recorded multiplies, so that it stays right when P changes
            version = (self.proxy._version, self.proxy.data_ptr())
            if version != self._looked_at:
                picks = (self.proxy == 1).sum(1) == 1
                one_hot = bool(picks.all()) and int(self.proxy.count_nonzero()) == len(self.proxy)
                with torch.inference_mode(False):  # an evaluation may be the first to look, a training step the next
                    self._looked_at, self._picked = version, self.proxy.argmax(1) if one_hot else None
            if (picked := self._picked) is not None:
                return _in_its_layout(bank, lambda filters: filters.index_select(0, picked))
        return _in_its_layout(bank, lambda filters: self.proxy @ filters)


def _in_its_layout(bank: Tensor, pick: Callable[[Tensor], Tensor]) -> Tensor:
    """``pick`` of the bank's filters as rows of a matrix, laid out in memory as the bank is.

    Channels last stays channels last: from a weight of another layout a conv and all that follows it are slower.
    """
    if bank.dim() == 4 and bank.is_contiguous(memory_format=torch.channels_last):
        rows = bank.permute(0, 2, 3, 1)
        return pick(rows.flatten(1)).view(-1, *rows.shape[1:]).permute(0, 3, 1, 2)
    return pick(bank.flatten(1)).view(-1, *bank.shape[1:]) if bank.dim() > 1 else pick(bank)


def _recorded(tensor: Tensor) -> bool:
    """Whether this is being compiled, or captured as a CUDA graph: nothing may be read by the host then."""
    return torch.compiler.is_compiling() or (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


class FilterMask(nn.Module):
    """``weight * kept``: filters, or the entries of a norm, that are not kept count as zeros and get no gradient."""

    kept: Tensor

    def __init__(self, kept: Tensor):
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.kept.view(-1, *[1] * (weight.dim() - 1))


def fuse(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> FilterFusion:
    """Make ``conv`` compute its ``m`` filters from a bank: ``weight (n, C_in, k, k)`` and ``bias (n,)``, n >= m."""
    fusion = FilterFusion(conv.weight.shape[0], weight.shape[0])
    for name, filters in (("weight", weight), ("bias", bias)):
        if filters is not None:
            setattr(conv, name, nn.Parameter(filters))
            # unsafe: the shape changes, n filters to m. One module serves both, so that they share P.
            parametrize.register_parametrization(conv, name, fusion, unsafe=True)
    return fusion


def fusions(model: nn.Module) -> dict[str, tuple[nn.Conv2d, FilterFusion]]:
    """``{conv name: (conv, its fusion)}`` for every fused conv of ``model``, in module order."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module, "weight"):
            fusion = module.parametrizations.weight[0]  # type: ignore[union-attr, index]
            if isinstance(fusion, FilterFusion):
                found[name] = (module, fusion)
    return found


def bank(conv: nn.Conv2d) -> Tensor:
    """The bank ``(n, C_in, k, k)`` of a fused conv, which is the trained parameter."""
    return conv.parametrizations.weight.original  # type: ignore[union-attr, return-value]


def hide(module: nn.Module, kept: Tensor) -> None:
    """Mask the entries of ``module``, a conv or a norm, that ``kept (C_out,)`` leaves out; the last mask counts."""
    for name in ("weight", "bias"):
        parameter = getattr(module, name, None)
        if parameter is None:
            continue
        if parametrize.is_parametrized(module, name):
            module.parametrizations[name][0].kept.copy_(kept)  # type: ignore[index, union-attr, operator]
        else:
            parametrize.register_parametrization(module, name, FilterMask(kept.to(parameter.device).clone()))


OF_TORCH = frozenset({*vars(nn.Module()), "_compiled_call_impl"})  # what every module has
SIMPLE = (bool, int, float, str, type(None))
WRAPPED = ("_orig_mod", "module")  # where torch.compile, and DataParallel and its kin, keep the network itself


def copied(model: nn.Module, instead: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of ``model`` for any network: out of the wrappers of torch.compile, DataParallel and averaging.

    What a module keeps of a forward pass, as a feature map for a heat map, is copied without its gradient. ``instead``
    says for the ids of some weights what the copy has in their place.
    """
    return copy.deepcopy(inside(model), _memo(model) | dict(instead or {}))


def twin(model: nn.Module, instead: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of ``model`` that shares its weights, all but ``instead`` (by id), and has no hooks; as quick as can be.

    Modules that keep something else than numbers, words and functions are copied by deepcopy, since they may know of
    each other.
    """
    instead = instead or {}
    if not all(_simple(v) for m in model.modules() for k, v in vars(m).items() if k not in OF_TORCH):
        shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
        return without_hooks(copied(model, shared | dict(instead)))
    made: dict[int, nn.Module] = {}

    def of(module: nn.Module) -> nn.Module:
        if id(module) not in made:
            new = made[id(module)] = type(module).__new__(type(module))
            own = {k: copy.deepcopy(v) if isinstance(v, list | dict) else v for k, v in vars(module).items()
                   if k not in OF_TORCH}  # fmt: skip
            new.__dict__.update(vars(nn.Module()) | own, training=module.training)
            new._parameters.update({k: instead.get(id(p), p) for k, p in module._parameters.items()})  # type: ignore[misc, arg-type]
            new._buffers.update({k: instead.get(id(b), b) for k, b in module._buffers.items()})
            new._non_persistent_buffers_set = set(module._non_persistent_buffers_set)
            new._modules.update({k: m if m is None else of(m) for k, m in module._modules.items()})
        return made[id(module)]

    return of(model)


def _simple(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_simple(item) for item in value)
    if isinstance(value, dict):
        return all(_simple(item) for item in value.values())
    if isinstance(value, functools.partial):
        return _simple(value.func) and _simple(value.args) and _simple(value.keywords)
    return isinstance(value, (*SIMPLE, type, torch.dtype, torch.device, types.FunctionType, types.BuiltinFunctionType))


@torch.no_grad()
def plain(model: nn.Module) -> nn.Module:
    """A copy of ``model`` without parametrizations: plain layers that hold the computed weights, same outputs.

    Resolved too: the hooks of ``nn.utils.weight_norm`` and ``spectral_norm``, the masks of ``nn.utils.prune``, and
    wrappers, as by ``copied``.

    The parametrized layers are never deep-copied (removing parametrizations from a copy would break the original,
    whose class the copy shares); deepcopy finds their plain stand-ins in its memo instead.
    """
    memo = _memo(model)
    for layer in model.modules():
        if parametrize.is_parametrized(layer):
            memo[id(layer)] = _stand_in(layer, memo)
    found = copy.deepcopy(inside(model), memo)
    for layer in found.modules():
        for hook in _computing(layer):
            if isinstance(hook, WeightNorm):
                nn.utils.remove_weight_norm(layer, hook.name)
            elif isinstance(hook, SpectralNorm):
                nn.utils.remove_spectral_norm(layer, hook.name)
            else:
                prune.remove(layer, hook._tensor_name)
    return found


def computed(model: nn.Module) -> dict[str, str]:
    """``{layer: how}`` of the layers of ``model`` whose weights are computed anew in each pass; ``plain`` ends it."""
    found = {}
    for name, layer in model.named_modules():
        hooks = [type(hook).__name__ for hook in _computing(layer)]
        if parametrize.is_parametrized(layer) or hooks:
            found[name] = "parametrized" if not hooks else f"given its weight by a hook ({hooks[0]})"
    return found


def _computing(layer: nn.Module) -> list:
    """The hooks of ``layer`` by which torch computes a weight before each pass: there is no public list of them."""
    return [
        h for h in layer._forward_pre_hooks.values() if isinstance(h, WeightNorm | SpectralNorm | BasePruningMethod)
    ]


def inside(model: nn.Module) -> nn.Module:
    """The network itself, out of the wrappers of torch.compile, DataParallel and averaging."""
    while isinstance(inner := _wrapped(model), nn.Module):
        model = inner
    return model


def wrapped_within(model: nn.Module) -> bool:
    """Whether modules inside ``model`` are in wrappers, which ``copied`` takes off."""
    return any(_wrapped(module) is not None for module in model.modules() if module is not model)


def _wrapped(model: nn.Module) -> nn.Module | None:
    """What a wrapper wraps, ``None`` for a network that is none."""
    wrappers = {"OptimizedModule", "DataParallel", "DistributedDataParallel", "AveragedModel"}
    if wrappers.isdisjoint(kind.__name__ for kind in type(model).__mro__):
        return None
    return next((inner for name, inner in model.named_children() if name in WRAPPED), None)


def _memo(model: nn.Module) -> dict[int, Any]:
    """What deepcopy is to take for tensors that it cannot copy, and for wrappers inside ``model``."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for kept in (vars(module), module._buffers):
            own = {k: v for k, v in kept.items() if k not in OF_TORCH and not isinstance(v, SIMPLE)}
            for tensor in tensors(own) if own else ():
                if tensor.grad_fn is not None:
                    memo[id(tensor)] = tensor.detach().clone()
    for module in reversed(list(model.modules())):  # a wrapper may hold another
        if _wrapped(module) is not None and module is not model:
            memo[id(module)] = copy.deepcopy(inside(module), memo)
    return memo


def _as_evaluated(layer: nn.Module, name: str) -> Tensor:
    """A parametrized tensor of ``layer``, computed without the steps that computing it takes in training."""
    modules: Any = layer.parametrizations
    before = [(module, module.training) for module in modules.modules()]
    modules.eval()
    try:
        return getattr(layer, name).detach().clone()
    finally:
        for module, training in before:
            module.training = training


def _stand_in(layer: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A layer of the type that ``layer`` had before it was parametrized, with the computed tensors as its own."""
    kind: Any = parametrize.type_before_parametrizations(layer)
    lists: Any = layer.parametrizations
    copied = kind.__new__(kind)
    own = {name: value for name, value in vars(layer).items() if name not in ("_parameters", "_buffers", "_modules")}
    copied.__dict__.update(copy.deepcopy(own, memo))
    copied._parameters, copied._buffers, copied._modules = {}, {}, {}
    for name in sorted(lists, key=lambda name: name != "weight"):  # as in a layer's state dict
        value = _as_evaluated(layer, name)
        trained = [p.requires_grad for p in lists[name].parameters(recurse=False)]
        if trained:
            copied.register_parameter(name, nn.Parameter(value, any(trained)))
        else:
            copied.register_buffer(name, value)
    for name, parameter in layer._parameters.items():
        copied.register_parameter(name, copy.deepcopy(parameter, memo))
    for name, buffer in layer._buffers.items():
        copied.register_buffer(name, copy.deepcopy(buffer, memo), name not in layer._non_persistent_buffers_set)
    for name, child in layer.named_children():
        if child is not lists:
            copied.add_module(name, copy.deepcopy(child, memo))
    return copied
