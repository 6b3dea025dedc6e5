"""The channels of a network that can be chosen among.

What ``channels`` follows and ``joining`` puts together becomes *groups*: channels that go together are one choice, and
what shares a layer is one group. From the choices that stay ``cutting`` makes two networks. Only if both give the same
is the structure to be trusted; ``checking`` computes that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.hooks import call, calling, tensors
from ..nets.slim import Keep
from .channels import Channels, spans
from .joining import components, joined
from .onetype import in_its_type
from .rules import rule_of
from .waking import training, unreached, wiring_in_training

Along = tuple[str, int]  # (parameter or buffer, its dimension)
MAKERS = (nn.modules.conv._ConvNd, nn.Linear)
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
OUTPUT = "its channels are the network's output"


@dataclass(frozen=True)
class Group:
    """What is chosen from together: ``size`` choices, each of one or more channels, called by the first layer."""

    root: str
    choices: Tensor  # (size,) int64: their numbers in the structure
    makers: dict[str, tuple[Tensor, Tensor]]  # layer -> (filters, place in ``choices`` that each is of)
    norms: dict[str, str] = field(default_factory=dict)  # layer -> the BatchNorm that alone reads it

    @property
    def size(self) -> int:
        return len(self.choices)


@dataclass(frozen=True)
class Structure:
    """Which choice each index along each dimension of each weight belongs to; 0 always stays."""

    along: dict[Along, Tensor]  # (n,) int64, of dimensions where something can go
    reads: frozenset[Along]  # those by which layers only read channels; by all others they are made or passed
    groups: tuple[Group, ...]
    whole: dict[str, str]  # layer that keeps all of its channels -> why
    choices: int
    doubts: dict[int, str]  # choice -> what is done to it that makes something else than 0 of 0
    weights: dict[str, Along]  # layer -> its weight, and the dimension of its outputs; see made_along
    passed: dict[str, Tensor]  # norm without weights -> (C,) int64, the choice that each channel is of
    filters: dict[str, Tensor]  # layer -> (filters,) int64: the choice that each is of
    ways: tuple[tuple[str, ...], ...] = ((),)  # how it is run: modules that see themselves in training
    products: int = 0  # how many a run computes, those of layers among them
    unreached: tuple[str, ...] = ()  # layers, or weights of their own, that no way of running it uses

    @property
    def unreached_line(self) -> str:
        """What is wrong with the layers that are not reached."""
        first, *others = self.unreached
        more, verb = (f" and {len(others)} more, as {others[0]}," if others else "", "were" if others else "was")
        return (
            f"{first}{more} {verb} not reached from the example inputs, in training mode neither: what is not reached "
            "stays as it is, and no longer fits where other inputs lead to it from layers that lose channels; give an "
            "example that reaches it, or name the layers before it in ignore"
        )

    def alive(self, keep: Keep) -> Tensor:
        """``(choices,)`` bool: what stays if each group keeps ``keep[its root]``, and all of those not named."""
        found = torch.ones(self.choices, dtype=torch.bool)
        for group in self.groups:
            if group.root in keep:
                found[group.choices] = keep[group.root].cpu()
        return found

    def without(self, roots: Mapping[str, str]) -> "Structure":
        """The structure in which the groups called so keep everything, for the reasons given."""
        gone = [group for group in self.groups if group.root in roots]
        fixed = torch.zeros(self.choices, dtype=torch.bool)
        whole = dict(self.whole)
        for group in gone:
            fixed[group.choices] = True
            whole |= dict.fromkeys(group.makers, roots[group.root])
        along = {key: torch.where(fixed[of], 0, of) for key, of in self.along.items()}
        left = tuple(group for group in self.groups if group.root not in roots)
        return replace(self, along={k: of for k, of in along.items() if of.any()}, groups=left, whole=whole)

    def kept(self, keep: Keep, layers: Iterable[str]) -> Keep:
        """``{layer: (filters,) bool}``: which filters of each layer that makes channels stay."""
        alive, makers = self.alive(keep), {name for group in self.groups for name in group.makers}
        return {name: alive[self.filters[name]] for name in layers if name in makers}


def find_structure(
    model: nn.Module, inputs: Any, ignore: Sequence[str] = (), run: Callable[[nn.Module, Any], Any] = call
) -> Structure:
    """Follow ``model``, on the CPU and in evaluation mode, on ``inputs``; it stays as it was.

    Args:
        ignore: modules whose layers keep all channels they make.
        run: ``run(model, inputs)`` is how it is run the first time, and gives what it gives.

    Raises:
        InputError: layers that only training uses, which does not run on ``inputs``.
    """
    leaves = {name: t for name, t in [*model.named_parameters(), *model.named_buffers()] if t.dim()}
    layers, weights = dict(model.named_modules()), made_along(model)
    followed = Channels(leaves, rule_of)
    for name, module in layers.items():
        if isinstance(module, nn.MultiheadAttention):
            own = [field for part, fields in followed.leaves.items() if within(part, [name]) for field in fields]
            followed.pin(own, f"{name} (MultiheadAttention) keeps its heads")
    ways: tuple[tuple[str, ...], ...] = ((),)
    _follow(model, inputs, (), followed, run)
    products = followed.products
    with without_fast_paths(model):
        wiring = wiring_in_training(model, inputs, followed)
    if wiring:
        ways = ((), wiring)
        _follow(model, inputs, wiring, followed)
    for name in ignore:
        for layer in layers:
            if within(layer, [name]) and (made := _made_by(layers[layer], weights.get(layer), followed)) is not None:
                followed.pin([made], "ignored")
    found = _resolved(followed, layers, weights)
    return replace(found, ways=ways, products=products, unreached=unreached(model, followed))


def _follow(
    model: nn.Module, inputs: Any, way: Sequence[str], followed: Channels,
    run: Callable[[nn.Module, Any], Any] = call,
) -> None:  # fmt: skip
    def look(name: str, given: Any, output: Any) -> None:
        followed.paused = True
        fields = [f for f in followed.fields(given) or [] if f.numel() == bare[name] and spans(f) <= {0, 1}]
        for labels in (each.reshape(-1) for each in fields):
            followed.tie(labels, followed.passed.setdefault(name, labels))
        followed.paused = False

    norms = {name: m for name, m in model.named_modules() if isinstance(m, NORMS) and m.weight is None}
    bare = {name: width(norm) for name, norm in norms.items() if not any(t.dim() for t in norm.buffers())}
    with torch.no_grad(), training(model, way), without_fast_paths(model), calling(model, bare, look), followed:
        for tensor in tensors(inputs):
            followed.start(tensor)
        results = run(model, inputs)
    for tensor in tensors(results):
        followed.pin(followed.fields(tensor) or [], OUTPUT)


def width(norm: Any) -> int:
    """How many channels a norm says that it has."""
    return norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features


@contextmanager
def without_fast_paths(model: nn.Module) -> Iterator[None]:
    """Within this block attention and LSTMs run as written, not by one fused operation, and all in ``of_one_type``."""
    fused, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    if any(isinstance(module, nn.LSTM) for module in model.modules()):
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with in_its_type(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch.backends.mkldnn.enabled = mkldnn


def within(layer: str, names: Iterable[str]) -> bool:
    """Whether ``layer`` is one of the modules called ``names``, or in one."""
    return any(f"{layer}.".startswith(f"{name}.") for name in names)


def made_along(model: nn.Module) -> dict[str, Along]:
    """``{conv or linear layer: its weight and the dimension of its outputs}``; one that layers share has one name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {layer: (names[id(module.weight)], out_dim(module)) for layer, module in model.named_modules()
            if isinstance(module, MAKERS) and id(module.weight) in names}  # fmt: skip


def out_dim(module: Any) -> int:
    """The dimension of a layer's weight along which its outputs are."""
    return (
        1 if getattr(module, "transposed", False) and (module.groups == 1 or module.in_channels > module.groups) else 0
    )


def _made_by(module: Any, along: Along | None, followed: Channels) -> Tensor | None:
    """The labels of what a layer makes ``along`` its weight; ``None``: it has none, or was not run."""
    if along is None or along[0] not in followed.used:
        return None
    labels = followed.leaves[along[0]][along[1]].reshape(-1)
    if getattr(module, "transposed", False) and module.groups > 1:  # its weight is (C_in, C_out / groups)
        return (
            labels.repeat(module.groups) if along[1] else labels.repeat_interleave(module.out_channels // len(labels))
        )
    return labels


def _resolved(followed: Channels, layers: Mapping[str, nn.Module], weights: dict[str, Along]) -> Structure:
    read = torch.zeros(followed.labels, dtype=torch.bool)
    for labels in followed.read:
        read[labels] = True
    for labels in followed.made:  # a weight that is used both ways, as a tied one, makes what it reads
        read[labels] = False
    component, why = joined(followed)
    making: dict[str, Tensor] = {}
    for layer, module in layers.items():
        if (made := _made_by(module, weights.get(layer), followed)) is not None:
            making[layer] = component[made]
    pinned = torch.zeros(followed.labels, dtype=torch.bool)
    pinned[torch.tensor(list(why), dtype=torch.int64)] = True
    staying = {layer: of[pinned[of]] for layer, of in making.items()}
    reasons = {layer: why[int(of.min())] if len(of) else "" for layer, of in staying.items()}
    groups, number = _groups(making, pinned, followed, reasons, weights)
    along, reads = {}, set()
    for name in followed.used:
        for dim, labels in enumerate(followed.leaves[name]):
            of = number[component[labels.reshape(-1)]]
            if bool(of.any()):
                along[name, dim] = of
                if bool(read[labels].any()):
                    reads.add((name, dim))
    grouped = {layer for group in groups for layer in group.makers}
    whole = {layer: reasons[layer] for layer in making if layer not in grouped}
    doubts = {
        choice: text for labels, text in followed.doubts for choice in number[component[labels]].unique().tolist()
    }
    filters = {layer: number[of] for layer, of in making.items()}
    passed = {name: number[component[labels]] for name, labels in followed.passed.items()}
    return Structure(
        along, frozenset(reads), tuple(groups), whole, int(number.max()) + 1, doubts, weights, passed, filters
    )


def _groups(
    making: Mapping[str, Tensor], pinned: Tensor, followed: Channels, reasons: dict[str, str], weights: dict[str, Along]
):
    """The groups, and ``(labels,)``: the number of each component's choice, 0 for what always stays."""
    order = list(making)
    free = {layer: of[~pinned[of]] for layer, of in making.items()}
    place = torch.full((followed.labels,), -1)
    one, other = [], []
    for number, layer in enumerate(order):  # layers with a choice in common are one group
        met = place[free[layer]]
        one += [torch.full_like(met[met >= 0], number)]
        other += [met[met >= 0]]
        place[free[layer]] = number
    together = components(len(order), torch.cat(one), torch.cat(other)).tolist() if order else []
    number_of, count = torch.zeros(followed.labels, dtype=torch.int64), 1
    groups: list[Group] = []
    for root in sorted(set(together)):
        members = [layer for layer, its in zip(order, together, strict=True) if its == root]
        choices = torch.cat([free[layer] for layer in members]).unique()
        if not len(choices):
            continue
        if len(choices) == 1:
            reasons |= {layer: reasons[layer] or "all of its channels go together" for layer in members}
            continue
        choices = _in_order(choices, [free[layer] for layer in members])
        number_of[choices] = torch.arange(count, count + len(choices))
        makers = {}
        for layer in members:
            filters = (~pinned[making[layer]]).nonzero().flatten()
            makers[layer] = filters, number_of[making[layer][filters]] - count
        norms = {layer: norm for layer in members if (norm := _norm_of(weights[layer][0], followed))}
        groups.append(Group(members[0], torch.arange(count, count + len(choices)), makers, norms))
        count += len(choices)
    return groups, number_of


def _in_order(choices: Tensor, by: Sequence[Tensor]) -> Tensor:
    """Choices in the order in which the layers have them."""
    every = torch.cat(list(by))
    names, inverse = every.unique(return_inverse=True)
    first = torch.full((len(names),), len(every)).scatter_reduce(0, inverse, torch.arange(len(every)), "amin")
    return names[first.argsort()]


def _norm_of(weight: str, followed: Channels) -> str:
    """The BatchNorm that alone reads what the layer with ``weight`` makes, and reads nothing else."""
    readers = followed.readers.get(weight, set())
    norm = next(iter(readers)) if len(readers) == 1 else ""
    alone = followed.readers.get(f"{norm} of", set()) == {weight}
    return norm.rpartition(".")[0] if norm in followed.leaves and alone else ""
