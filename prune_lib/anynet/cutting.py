"""Two networks from the choices that stay.

``masked``, where whatever makes a channel that goes gives zero, and ``cut``, where the channel is gone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.reparam import twin
from ..nets.slim import Keep
from .structure import Structure


@torch.no_grad()
def masked(model: nn.Module, structure: Structure, keep: Keep) -> nn.Module:
    """A copy of ``model`` in which what makes a channel that goes, or a norm that passes it, gives zero for it.

    It has the weights that nothing is taken from in common with ``model``.
    """
    alive, own = structure.alive(keep), _own(model)
    instead: dict[str, Tensor] = {}
    for (name, dim), of in structure.along.items():
        if (name, dim) in structure.reads or name.endswith("running_var") or bool(alive[of].all()):
            continue
        tensor = instead.setdefault(name, own[name].detach().clone())
        tensor.index_fill_(dim, (~alive[of]).nonzero().flatten().to(tensor.device), 0)
    return _with(model, own, instead, sharing=True)


@torch.no_grad()
def cut(model: nn.Module, structure: Structure, keep: Keep, sharing: bool = False) -> nn.Module:
    """A copy of ``model`` without the channels that go; each weight keeps its type, layout and ``requires_grad``.

    Args:
        sharing: have the weights that nothing is taken from in common with ``model``.
    """
    alive, own = structure.alive(keep), _own(model)
    stays: dict[str, dict[int, Tensor]] = {}
    for (name, dim), of in structure.along.items():
        if not bool(alive[of].all()):
            stays.setdefault(name, {})[dim] = alive[of].nonzero().flatten()
    instead = {}
    for name, dims in stays.items():
        left = own[name].detach()
        for dim, places in dims.items():
            left = left.index_select(dim, places.to(left.device))
        if left.dim() == 4 and own[name].is_contiguous(memory_format=torch.channels_last):
            left = left.contiguous(memory_format=torch.channels_last)
        instead[name] = left
    cutting = {id(own[name]) for name in stays}
    changed = {name.rpartition(".")[0] for name, tensor in _own(model, again=True).items() if id(tensor) in cutting}
    before = {name: model.get_submodule(name) for name in changed}
    smaller = _with(model, own, instead, sharing)
    for name in changed:
        _declare(smaller.get_submodule(name), before[name])
    for name, of in structure.passed.items():
        _declare(smaller.get_submodule(name), model.get_submodule(name), int(alive[of].sum()))
    return smaller


def _own(model: nn.Module, again: bool = False) -> dict[str, Tensor]:
    """Weights and buffers by name; with ``again`` by each name that one has, as a weight which layers share."""
    once = not again
    return dict([*model.named_parameters(remove_duplicate=once), *model.named_buffers(remove_duplicate=once)])


def _with(model: nn.Module, own: Mapping[str, Tensor], instead: Mapping[str, Tensor], sharing: bool) -> nn.Module:
    """A copy of ``model`` that has ``instead`` of some of its weights, and shares the others (no buffer) if asked."""
    shared = {name for name, t in own.items() if sharing and isinstance(t, nn.Parameter)}
    memo = clones(t for name, t in own.items() if name not in instead and name not in shared)
    for name, new in instead.items():
        mine = own[name]
        memo[id(mine)] = nn.Parameter(new, mine.requires_grad) if isinstance(mine, nn.Parameter) else new
    return twin(model, memo)


def clones(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """Copies of weights and buffers by their ids, for ``twin``."""
    return {
        id(t): nn.Parameter(t.detach().clone(), t.requires_grad) if isinstance(t, nn.Parameter) else t.detach().clone()
        for t in tensors
    }


def _declare(module: Any, before: Any, channels: int = 0) -> None:
    """Give a layer, as it was ``before``, the widths of its weight, or a norm without weights its ``channels``."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd):
        outs, ins = weight.shape[:2] if not module.transposed else weight.shape[1::-1]
        alone = before.groups > 1 and before.in_channels == before.groups  # depthwise: a group reads one channel
        if module.transposed and before.groups > 1:
            module.in_channels, module.groups = ins, ins if alone else before.groups
            module.out_channels = outs * module.groups
        elif alone:
            module.out_channels = outs
            module.groups = module.in_channels = outs * before.groups // before.out_channels
        else:
            module.in_channels, module.out_channels = ins * module.groups, outs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        shown: Any = module.running_mean if weight is None else weight
        module.num_features = channels or len(shown)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = channels or len(weight)
        module.num_groups = module.num_channels * before.num_groups // before.num_channels
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        first = "_l0" if isinstance(module, nn.RNNBase) else ""
        module.input_size = getattr(module, f"weight_ih{first}").shape[1]
        module.hidden_size = (
            getattr(module, f"weight_hh{first}").shape[0]
            * before.hidden_size
            // len(getattr(before, f"weight_hh{first}"))
        )
