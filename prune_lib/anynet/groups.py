"""Which channels of any network go together: Torch-Pruning's dependency graph as plain data, checked by running it.

A *group* is what loses a channel together: the convs that make it, the norms it passes, the layers that read it. From
groups and the channels that stay come two networks: ``masked``, where whatever *makes* a channel gives zero, and
``cut``, where the channel is gone. Only if both give the same is the graph to be trusted, so that is what
``difference`` computes and nothing is exported without.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from ..cost.counting import by_layer, rule_called
from ..cost.tracing import examples, trace
from ..nets.slim import Keep
from ..system.errors import InputError, needs

TOLERANCE = 1e-5  # of the difference between masked and cut, relative to the largest output
CONVS = (nn.Conv2d, nn.ConvTranspose2d)
Side = tuple[str, str]  # (layer or parameter, "out" or "in")
DOUBTS = {  # how autograd calls an operation -> what it may do to channels
    "ConstantPad": "zero-pads them, as a parameter-free shortcut does",
    "PixelShuffle": "turns channels into pixels",
    "Permute": "reorders dimensions", "Transpose": "reorders dimensions",
    "Index": "picks channels by number", "Roll": "moves them around",
    "Softmax": "weighs channels against each other", "Sigmoid": "is not 0 at 0", "Softplus": "is not 0 at 0",
    "Exp": "is not 0 at 0",
}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A layer's (or bare parameter's) channels that belong to a group, each with the group's channel that it is."""

    layer: str
    side: str  # out: the layer makes the channels, or passes each on by itself; in: it reads them
    size: int  # how many channels the layer has on that side
    channels: Tensor  # (n,) int64
    roots: Tensor  # (n,) int64
    dim: int = 0  # of a bare parameter: the dimension that the channels are along


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together, called by the first conv that makes them."""

    root: str
    size: int
    blocks: int  # grouped convs: each of so many blocks of channels must keep the same places
    members: tuple[Member, ...]
    convs: tuple[str, ...]  # those whose filters make the channels
    refusal: str = ""  # why no smaller network has the same outputs
    norms: dict[str, str] = field(default_factory=dict)  # conv -> the BatchNorm that alone reads it
    doubt: str = ""  # an operation that channels pass between layers, and that the graph may not follow


def call(model: nn.Module, inputs) -> Any:
    """What ``model`` makes of example inputs: one tensor, a sequence of arguments, or a dict of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list | tuple) else model(inputs)


def tensors(value, floating: bool = True) -> list[Tensor]:
    """The (floating-point) tensors in a tensor, sequence or dict of them, in order."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() or not floating else []
    items: Iterable = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors(item, floating)]


def find_groups(model: nn.Module, inputs) -> list[Group]:
    """The groups of channels of Conv2d layers, on a CPU network in evaluation mode that the tracing may spoil.

    Groups whose channels reach the network's output are left out: they stay whole.

    Raises:
        InputError: Torch-Pruning is not installed, or cannot follow this network.
    """
    with needs("anynet"):
        import torch_pruning
    arguments = (
        dict(inputs) if isinstance(inputs, Mapping) else inputs if isinstance(inputs, list | tuple) else (inputs,)
    )
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad():
            # an operation more behind each output: the graph marks as output only what no layer's call returned
            graph.build_dependency(
                model, arguments, verbose=False, output_transform=lambda out: [t * 1 for t in tensors(out)]
            )
        found = list(graph.get_all_groups(root_module_types=list(CONVS)))
    except Exception as error:  # of many kinds: it asserts, divides by zero, runs out of recursion
        raise InputError(
            f"{type(model).__name__}: Torch-Pruning cannot follow ({type(error).__name__}: {_line(error)}); channels "
            "are reordered or reshaped in a way that is in no layer, as a channel shuffle does; it is not pruned here"
        ) from None
    names = {m: name for name, m in model.named_modules()} | {p: name for name, p in model.named_parameters()}
    groups = [_group(graph, items, names) for items in found]
    return [group for group in groups if group]


def _group(graph, items, names: dict) -> Group | None:
    """A group as plain data, or ``None`` if its channels are the network's output."""
    from torch_pruning.ops import _OutputOp

    members: list[Member] = []
    refusal, doubt, blocks, norms = "", "", 1, {}
    for item in items:
        module, node = item.dep.target.module, item.dep.target
        if isinstance(module, _OutputOp):
            return None
        if module not in names:  # an operation between layers
            called = getattr(node.grad_fn, "name", str)().rsplit("::", 1)[-1]
            doubt = doubt or next((f"{called} {text}" for kind, text in DOUBTS.items() if called.startswith(kind)), "")
            continue
        out = graph.is_out_channel_pruning_fn(item.dep.handler)
        size = (graph.get_out_channels if out else graph.get_in_channels)(node)
        if size is None:  # it has nothing of the channels' number, as a PReLU of one slope
            continue
        channels, roots = (torch.tensor(list(part), dtype=torch.int64) for part in (item.idxs, item.root_idxs))
        dim = node.pruning_dim if isinstance(module, nn.Parameter) else 0
        members.append(Member(names[module], "out" if out else "in", size, channels, roots, dim))
        refusal = refusal or _unfit(module, names[module])
        if len(node.outputs) == 1 and isinstance(node.outputs[0].module, nn.BatchNorm2d):
            norms[names[module]] = names[node.outputs[0].module]
        if channels.max() >= size or roots.max() >= members[0].size:
            refusal = f"Torch-Pruning's graph gives {names[module]} channels that it has not"
        groups = getattr(module, "groups", 1)
        if groups > 1 and groups != module.out_channels:
            blocks = lcm(blocks, groups)
    root = names[items[0].dep.target.module]
    size = members[0].size
    layers = {name: module for module, name in names.items()}
    makers = tuple(m.layer for m in members if m.side == "out" and isinstance(layers[m.layer], CONVS))
    return Group(root, size, blocks if size % blocks == 0 else size, tuple(members), makers, refusal, norms, doubt)


def _unfit(module, name: str) -> str:
    """Why a layer of this type cannot lose channels without changing what it makes of the others."""
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        return f"{name} ({type(module).__name__}) takes its statistics over channels, and fewer of them change the rest"
    if isinstance(module, nn.ConvTranspose2d) and 1 < module.groups < module.out_channels:
        return f"{name} is a grouped transposed conv, which is not handled"
    known = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear, nn.PReLU, nn.Parameter)
    if not isinstance(module, (*known, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)):
        return f"{name} ({type(module).__name__}) is not a layer that is cut here"
    return ""


def sides(groups: Sequence[Group], keep: Keep) -> dict[Side, tuple[Tensor, int]]:
    """``{(layer, side): (channels that stay, bool; dimension)}`` when each group keeps ``keep[its root]``."""
    found: dict[Side, tuple[Tensor, int]] = {}
    for group in groups:
        for member in group.members:
            stay, _ = found.setdefault(
                (member.layer, member.side), (torch.ones(member.size, dtype=torch.bool), member.dim)
            )
            stay[member.channels[~keep[group.root][member.roots]]] = False
    return found


@torch.no_grad()
def masked(model: nn.Module, groups: Sequence[Group], keep: Keep) -> nn.Module:
    """A copy of ``model`` in which what makes a channel that goes, or a norm that passes it, gives zero for it."""
    model = copy.deepcopy(model)
    for (name, side), (stay, dim) in sides(groups, keep).items():
        if side == "in":
            continue
        owner, _, last = name.rpartition(".")
        module = getattr(model.get_submodule(owner), last)
        if isinstance(module, nn.Parameter):
            module.index_fill_(dim, (~stay).nonzero().flatten().to(module.device), 0)
            continue
        if isinstance(module, nn.PReLU):
            continue
        across = isinstance(module, nn.ConvTranspose2d) and module.groups == 1
        for part in ("weight", "bias", "running_mean"):
            tensor = getattr(module, part, None)
            if tensor is not None:
                (tensor.transpose(0, 1) if across and part == "weight" else tensor)[~stay.to(tensor.device)] = 0
    return model


@torch.no_grad()
def cut(model: nn.Module, groups: Sequence[Group], keep: Keep) -> nn.Module:
    """A copy of ``model`` without the channels that go."""
    from torch_pruning.ops import module2type
    from torch_pruning.pruner.function import PrunerBox

    model = copy.deepcopy(model)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    kinds = {name: module2type(m) for name, m in model.named_modules()}  # a grouped conv may come to look depthwise
    for (name, side), (stay, dim) in sides(groups, keep).items():
        owner, _, last = name.rpartition(".")
        module = getattr(model.get_submodule(owner), last)
        if stay.all():
            continue
        if isinstance(module, nn.Parameter):
            left = module.index_select(dim, stay.nonzero().flatten().to(module.device))
            setattr(model.get_submodule(owner), last, nn.Parameter(left))
            continue
        pruner = PrunerBox[kinds[name]]
        prune = pruner.prune_out_channels if side == "out" else pruner.prune_in_channels
        prune(module, (~stay).nonzero().flatten().tolist())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
    return model


def difference(model: nn.Module, groups: Sequence[Group], keep: Keep, inputs) -> float:
    """The largest difference between the outputs of ``masked`` and ``cut`` on random inputs like ``inputs``.

    Relative to the largest output; infinite if the cut network does not run, or gives another shape.
    """
    inputs = _random_like(inputs, torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            expected = tensors(call(masked(model, groups, keep).eval(), inputs))
            found = tensors(call(cut(model, groups, keep).eval(), inputs))
    except Exception:  # a shape that does not fit can surface as anything
        return torch.inf
    if [t.shape for t in expected] != [t.shape for t in found]:
        return torch.inf
    offs = [
        float((e - f).abs().max() / e.abs().max().clamp_min(torch.finfo(e.dtype).tiny))
        for e, f in zip(expected, found, strict=True)
        if e.numel()
    ]
    return max((off if off == off else torch.inf for off in offs), default=0.0)


def _random_like(value: Any, generator: torch.Generator) -> Any:
    if isinstance(value, Tensor):
        return torch.randn(value.shape, generator=generator, dtype=value.dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _random_like(item, generator) for key, item in value.items()}
    return type(value)(_random_like(item, generator) for item in value) if isinstance(value, list | tuple) else value


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """A copy with other weights in which nothing is hidden: no norm's beta is 0, and no branch is multiplied by 0.

    A network may start with both (BatchNorm's beta, a residual branch's last gamma), and then a wrong cut need not
    show. Weights are drawn by He's initialisation, so that signals neither vanish nor grow.
    """
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            fan = max(1, parameter[0].numel())
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan) ** 0.5)
        else:
            parameter.uniform_(-0.5, 0.5, generator=generator)
    for module in model.modules():
        norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
        if norm and module.weight is not None:
            module.weight.uniform_(0.5, 1.5, generator=generator)  # type: ignore[operator, union-attr]
        if norm and getattr(module, "running_mean", None) is not None:
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[operator, union-attr]
    return model


def macs(model: nn.Module, inputs) -> tuple[dict[str, int], int]:
    """Multiply-accumulates (rule ``macs``) of each conv and linear layer for all of ``inputs``; how many those are."""
    rule = rule_called("macs")
    calls = trace(model, lambda: call(model, inputs), rule.kinds)
    return by_layer(calls, rule), examples(tensors(inputs, floating=False), calls)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:160]
