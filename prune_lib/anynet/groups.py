"""Which channels of any network go together: Torch-Pruning's dependency graph as plain data, checked by running it.

A *group* is what loses a channel together: the convs that make it, the norms it passes, the layers that read it. From
groups and the channels that stay come two networks: ``masked``, where whatever *makes* a channel gives zero, and
``cut``, where the channel is gone. Only if both give the same is the graph to be trusted, so that is what
``difference`` computes and nothing is exported without.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from math import lcm
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..cost.counting import by_layer, rule_called
from ..cost.tracing import examples, trace
from ..nets import compare
from ..nets.hooks import call, mapped, tensors
from ..nets.reparam import copied
from ..nets.slim import Keep
from ..system.errors import InputError, needs

TOLERANCE = 1e-5  # of the difference between masked and cut, relative to the largest output
LONGEST = 10  # times the widest layer: no list of a network's channels is longer
CONVS = (nn.Conv2d, nn.ConvTranspose2d)
KNOWN = (  # layers that Torch-Pruning knows
    nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm,
    nn.PReLU, nn.LayerNorm, nn.GroupNorm, nn.Embedding, nn.MultiheadAttention, nn.LSTM,
)  # fmt: skip
SPLITS = (torch.split, torch.split_with_sizes, Tensor.split, Tensor.split_with_sizes)
DROPOUTS = (
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout, torch.feature_dropout,
)  # fmt: skip
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


class Tracing(TorchFunctionMode):
    """Within this mode autograd records more than usual, so that channels can be followed.

    That is all under ``no_grad``, and ``detach``. A split by sizes is made of what the graph has right. ``ends`` are
    what whole numbers or booleans are made of (argmax, a comparison): there a trace must end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (Tensor.detach, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        if func in SPLITS and not isinstance(size := args[1] if len(args) > 1 else next(iter(kwargs.values())), int):
            return _parts(args[0], list(size), args[2] if len(args) > 2 else kwargs.get("dim", 0))
        if torch.is_grad_enabled():
            result = func(*args, **kwargs)
        else:
            with torch.enable_grad():
                result = func(*args, **kwargs)
        if isinstance(result, Tensor) and not result.is_floating_point():
            self.ends += [t for t in tensors(args, floating=True) if t.requires_grad]
        return result


@torch.enable_grad()
def _parts(tensor: Tensor, sizes: list[int], dim: int) -> tuple[Tensor, ...]:
    """A split by sizes in operations that the graph has right: chunks, or slices where sizes differ."""
    if len(set(sizes)) == 1:
        return tensor.chunk(len(sizes), dim)
    starts = accumulate(sizes, initial=0)
    return tuple(tensor.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False))


class _StillDropout(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func in DROPOUTS else func(*args, **(kwargs or {}))


@contextmanager
def training(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Within this block the modules called ``names``, and only they, see themselves in training; nothing is dropped."""
    modules = [model.get_submodule(name) for name in names]
    for module in modules:
        module.training = True
    try:
        with _StillDropout():
            yield
    finally:
        for module in modules:
            module.training = False


def used(outputs: Iterable[Tensor]) -> set[Tensor]:
    """The parameters on which ``outputs`` depend, as far as autograd has recorded it."""
    found, seen = set(), set()
    todo = [t.grad_fn for t in outputs if t.grad_fn is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        todo += [each for each, _ in node.next_functions if each is not None]
    return found


def traced(model: nn.Module, inputs: Any, wiring: Sequence[str] = ()) -> list[Tensor]:
    """The outputs of ``model``, a copy that may be spoiled, as tensors that autograd traces back to its parameters.

    In place of whole numbers come the tensors that they are made of.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    with torch.enable_grad(), training(model, wiring), Tracing() as tracing:
        found = tensors(call(model, inputs))
    return [t for t in found if t.requires_grad] + (tracing.ends if any(not t.requires_grad for t in found) else [])


def wiring_in_training(model: nn.Module, inputs: Any) -> tuple[str, ...]:
    """The modules that, seeing themselves in training, call layers which an evaluation does not; none: no such layers.

    Raises:
        InputError: there are layers that evaluation does not use, and what they read cannot be found out.
    """
    work = copy.deepcopy(model)
    reached = used(traced(work, inputs))
    idle = {
        name: {p for p in module.parameters(recurse=False) if p.is_floating_point()} - reached
        for name, module in work.named_modules()
    }
    idle = {name: parameters for name, parameters in idle.items() if parameters}
    if not idle:
        return ()
    above = {name.rsplit(".", n)[0] for name in idle for n in range(1, name.count(".") + 1)} | {""}
    wiring = tuple(name for name, _ in work.named_modules() if name in above)
    try:
        then = used(traced(work, inputs, wiring))
    except Exception as error:  # whatever a model may raise, as one that wants labels then does
        raise InputError(
            f"{type(model).__name__}, {next(iter(idle))}: evaluation does not use it, and in training mode the network "
            f"does not run on example_inputs ({type(error).__name__}: {_line(error)}), so that what it reads cannot be "
            "known; expected a network without it, or example_inputs that do for both"
        ) from None
    return wiring if any(not parameters.isdisjoint(then) for parameters in idle.values()) else ()


class _Endless(Exception):
    """The graph passes more channels around than the network has."""


class _Counted(list):
    """The index mappings of one edge of the graph; what they give is counted, since it may grow for ever."""

    def __init__(self, mappings, count):
        super().__init__(mappings)
        self.limited = count

    def __iter__(self):
        for mapping in super().__iter__():
            yield mapping and (lambda channels, mapping=mapping: self.limited(mapping(channels)))


def find_groups(model: nn.Module, inputs: Any, ignore: Sequence[str] = (), wiring: Sequence[str] = ()) -> list[Group]:
    """The groups of channels of Conv2d layers, on a CPU network in evaluation mode that the tracing may spoil.

    Groups whose channels reach the network's output are left out: they stay whole.

    Args:
        ignore: modules whose convs' groups are left out as well.
        wiring: see ``wiring_in_training``.

    Raises:
        InputError: Torch-Pruning is not installed, or cannot follow this network.
    """
    with needs("anynet"):
        import torch_pruning
    tied = _tied(model)
    names = {module: name for name, module in model.named_modules()}
    dims = _along_channels(model)  # which makes parameters of some buffers
    names |= {parameter: name for name, parameter in model.named_parameters()}
    graph = torch_pruning.DependencyGraph()
    groups: list[Group] = []
    root = ""
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # an operation more behind each output: the graph marks as output only what no layer's call returned
            graph.build_dependency(
                model, inputs, lambda model, given: [t * 1 for t in traced(model, given, wiring)],
                unwrapped_parameters=list(dims.items()), verbose=False,
            )  # fmt: skip
        watch = _watch(graph)
        seen: set[nn.Module] = set()
        for conv in [m for m in graph.module2node if isinstance(m, CONVS)]:
            root = names[conv]
            if conv in seen or within(root, ignore):
                continue
            pruner = graph.get_pruner_of_module(conv)
            try:
                with watch():
                    items = graph.get_pruning_group(conv, pruner.prune_out_channels, list(range(conv.out_channels)))
            except _Endless:
                doubt = "what is done with its channels behind it has no end in Torch-Pruning's graph"
                groups.append(Group(root, conv.out_channels, 1, (), (root,), doubt))
                continue
            seen |= {dep.target.module for dep, _ in items if graph.is_out_channel_pruning_fn(dep.handler)}
            if group := _group(graph, items, names, dims, tied):
                groups.append(group)
    except Exception as error:  # of many kinds: it asserts, divides by zero, runs out of recursion
        raise InputError(
            f"{type(model).__name__}{root and ', '}{root}: Torch-Pruning {torch_pruning.__version__} (tried: 1.6) "
            f"cannot follow ({type(error).__name__}: {_line(error)}); channels "
            "are reordered or reshaped in a way that is in no layer, as a channel shuffle does; it is not pruned here"
        ) from None
    return [group for group in groups if not any(within(conv, ignore) for conv in group.convs)]


def within(layer: str, names: Iterable[str]) -> bool:
    """Whether ``layer`` is one of the modules called ``names``, or in one."""
    return any(f"{layer}.".startswith(f"{name}.") for name in names)


def _watch(graph) -> Callable:
    """A context in which what the mappings of ``graph`` give is limited to what a network of its widths can need."""
    widths = [each(m) for m in graph.module2node for each in (graph.get_in_channels, graph.get_out_channels)]
    widest = max([width for width in widths if width], default=1)
    passed = 0

    def count(channels: list) -> list:
        nonlocal passed
        passed += len(channels)
        if len(channels) > LONGEST * widest or passed > LONGEST**4 * widest:
            raise _Endless
        return channels

    @contextmanager
    def watch() -> Iterator[None]:
        nonlocal passed
        passed = 0
        yield

    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = _Counted(dependency.index_mapping, count)
    return watch


def _along_channels(model: nn.Module) -> dict[nn.Parameter, int]:
    """``{parameter: the dimension that is along channels}`` of those that are in no layer which the graph knows.

    Buffers that may hold one number a channel (a frozen norm's) become such parameters.
    """
    found: dict[nn.Parameter, int] = {}
    for module in list(model.modules()):
        if isinstance(module, KNOWN):
            continue
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            table = tensor.dim() in (3, 4) and tensor.shape[-3] > 1  # (C, H, W), with a batch or without
            if not tensor.is_floating_point() or not (table or tensor.numel() == max(tensor.shape, default=0)):
                continue
            if not isinstance(tensor, nn.Parameter):
                delattr(module, name)
                setattr(module, name, tensor := nn.Parameter(tensor))
            found[tensor] = tensor.dim() - 3 if table else tensor.shape.index(tensor.numel())
    return found


def _tied(model: nn.Module) -> dict[str, str]:
    """``{layer: why it cannot be cut}`` of layers that have a tensor in common with another one."""
    layers: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            layers.setdefault(parameter, []).append(name)
    shared = [names for names in layers.values() if len(names) > 1]
    return {name: f"{' and '.join(names)} share one tensor (tied weights)" for names in shared for name in names}


def _group(graph, items, names: dict, dims: dict, tied: Mapping[str, str]) -> Group | None:
    """A group as plain data, or ``None`` if its channels are the network's output."""
    members: list[Member] = []
    refusal, doubt, blocks, norms = "", "", 1, {}
    for item in items:
        module, node = item.dep.target.module, item.dep.target
        if module not in names:  # an operation between layers
            if not node.outputs:
                return None
            called = getattr(node.grad_fn, "name", str)().rsplit("::", 1)[-1]
            doubt = doubt or next((f"{called} {text}" for kind, text in DOUBTS.items() if called.startswith(kind)), "")
            continue
        out = graph.is_out_channel_pruning_fn(item.dep.handler)
        size = (graph.get_out_channels if out else graph.get_in_channels)(node)
        dim = dims.get(module, node.pruning_dim) if isinstance(module, nn.Parameter) else 0
        if isinstance(module, nn.Parameter):
            size = module.shape[dim]
        if size is None or (size == 1 and isinstance(module, nn.Parameter)):  # a PReLU of one slope, one scale for all
            continue
        channels, roots = (torch.tensor(list(part), dtype=torch.int64) for part in (item.idxs, item.root_idxs))
        members.append(Member(names[module], "out" if out else "in", size, channels, roots, dim))
        refusal = refusal or tied.get(names[module], "") or _unfit(module, names[module])
        readers = node.outputs
        if len(readers) == 1 and isinstance(readers[0].module, nn.BatchNorm2d) and len(readers[0].inputs) == 1:
            norms[names[module]] = names[readers[0].module]
        if channels.max() >= size or roots.max() >= members[0].size:
            refusal = refusal or f"Torch-Pruning's graph gives {names[module]} channels that it has not"
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
    if getattr(module, "transposed", False) and 1 < module.groups < module.out_channels:
        return f"{name} is a grouped transposed conv, which is not handled"
    if not isinstance(module, (*KNOWN[:5], nn.Parameter)):
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
    model = copied(model)
    for (name, side), (stay, dim) in sides(groups, keep).items():
        if side == "in":
            continue
        module = _called(model, name)
        if isinstance(module, Tensor):
            module.index_fill_(dim, (~stay).nonzero().flatten().to(module.device), 0)
            continue
        if isinstance(module, nn.PReLU):
            continue
        across = getattr(module, "transposed", False) and module.groups == 1
        for part in ("weight", "bias", "running_mean"):
            tensor = getattr(module, part, None)
            if tensor is not None:
                (tensor.transpose(0, 1) if across and part == "weight" else tensor)[~stay.to(tensor.device)] = 0
    return model


@torch.no_grad()
def cut(model: nn.Module, groups: Sequence[Group], keep: Keep) -> nn.Module:
    """A copy of ``model`` without the channels that go."""
    import torch_pruning as tp

    kinds: tuple = (
        (nn.modules.batchnorm._BatchNorm, tp.prune_batchnorm_out_channels, tp.prune_batchnorm_in_channels),
        (nn.modules.instancenorm._InstanceNorm, tp.prune_instancenorm_out_channels, tp.prune_instancenorm_in_channels),
        (nn.Linear, tp.prune_linear_out_channels, tp.prune_linear_in_channels),
        (nn.PReLU, tp.prune_prelu_out_channels, tp.prune_prelu_in_channels),
        (nn.modules.conv._ConvNd, tp.prune_conv_out_channels, tp.prune_conv_in_channels),
    )
    by_itself = (tp.prune_depthwise_conv_out_channels, tp.prune_depthwise_conv_in_channels)
    before = dict(model.named_modules())  # a grouped conv may come to look depthwise
    model = copied(model)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    for (name, side), (stay, dim) in sides(groups, keep).items():
        module = _called(model, name)
        if stay.all():
            continue
        if isinstance(module, Tensor):
            left = module.index_select(dim, stay.nonzero().flatten().to(module.device))
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, nn.Parameter(left) if isinstance(module, nn.Parameter) else left)
            continue
        if depthwise(before[name]):
            prune = by_itself
        else:
            prune = next(functions for kind, *functions in kinds if isinstance(module, kind))
        prune[side == "in"](module, (~stay).nonzero().flatten().tolist())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
    return model


def depthwise(module: nn.Module) -> bool:
    """Whether ``module`` is a conv that makes each of its channels of one that it reads."""
    return isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.out_channels > 1


def _called(model: nn.Module, name: str) -> Any:
    """The layer, bare parameter or buffer of ``model`` called ``name``."""
    owner, _, last = name.rpartition(".")
    return getattr(model.get_submodule(owner), last)


def difference(
    model: nn.Module, groups: Sequence[Group], keep: Keep, inputs: Any, wirings: Sequence[Sequence[str]] = ((),)
) -> float:
    """The largest difference between what ``masked`` and ``cut`` make of ``inputs``; see ``nets.compare``.

    Infinite if the cut network does not run, or gives another shape.
    """
    try:
        expected, found = masked(model, groups, keep).eval(), cut(model, groups, keep).eval()
        pairs = []
        for wiring in wirings:
            with torch.no_grad(), training(expected, wiring), training(found, wiring):
                pairs.append((tensors(call(expected, inputs)), tensors(call(found, inputs))))
    except Exception:  # a shape that does not fit can surface as anything
        return torch.inf
    return max(compare.difference(*pair) for pair in pairs)


def probe(model: nn.Module, inputs: Any) -> Any:
    """What to compare masked and cut networks on: noise like ``inputs`` if ``model`` makes finite numbers of it.

    Else ``inputs`` themselves, as where their root is taken, or they are a grid.
    """
    generator = torch.Generator().manual_seed(0)
    noise = mapped(
        inputs,
        lambda t: torch.randn(t.shape, generator=generator, dtype=t.dtype) if t.is_floating_point() else t,
    )
    try:
        with torch.no_grad():
            finite = all(bool(t.isfinite().all()) for t in tensors(call(model, noise)))
    except Exception:  # whatever a model may raise
        finite = False
    return noise if finite else inputs


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """A copy with other weights in which nothing is hidden: no norm's beta is 0, and no branch is multiplied by 0.

    A network may start with both (BatchNorm's beta, a residual branch's last gamma), and then a wrong cut need not
    show. Weights are drawn by He's initialisation, so that signals neither vanish nor grow.
    """
    model, generator = copied(model), torch.Generator().manual_seed(1)
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
