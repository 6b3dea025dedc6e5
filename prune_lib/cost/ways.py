"""Every way in which a network's FLOPs and params may have been counted: rules, scopes, sizes, and known slips.

A *way* is a counting rule and what was changed beside it, in words: the input size, what was left out or counted too,
2 per MAC, inputs left in full. ``checking`` asks which ways print a figure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

from ..nets.arch import Arch
from ..nets.archs import ARCHS
from ..nets.layers import Layer
from ..nets.networks import arch_of
from ..nets.plans import plan
from ..nets.spec import Layout, Widths
from .counting import flops_of
from .rules import RULES, TERMS, Rule

TWICE = ("2 per MAC", "every count doubled")  # so common in print that it may stand beside two other changes
INPUTS = "every conv's inputs left in full"
POOLS = "pools as this library's modules"
EARLY, LATE = "the stride on the first 1x1 convs", "the stride on the 3x3 convs"
MOST = 2  # other changes at once: with more, something prints any figure
SIDES = (128, 160, 192, 224, 227, 256, 288, 299, 320)  # pixels of ImageNet's images
SMALL_SIDES = (64, 224)  # of other images than CIFAR's


@dataclass(frozen=True)
class Way:
    """One way to count, and what it gives."""

    of: str  # FLOPs or params
    network: str  # whose
    rule: str  # under which rule
    changes: tuple[str, ...]  # what was done otherwise, in words
    value: int

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """How it counts, whatever network; what only a pruned one can have is no part of it."""
        return self.of, self.rule, tuple(change for change in self.changes if change != INPUTS)

    @property
    def other(self) -> int:
        """How many changes it has beside doubling."""
        return len(self.changes) - sum(change in TWICE for change in self.changes)

    def __str__(self) -> str:
        return ", ".join((self.rule, *self.changes))


@dataclass(frozen=True)
class Subject:
    """A network that a figure may be of: ``widths`` of None are the full one's."""

    name: str
    arch: Arch
    widths: Widths | None = None
    layout: Layout | None = None  # whose list the widths are from: what that paper calls as functions counts nothing
    narrow: bool = False  # whether only the network as it is is looked at, at its own size

    @property
    def how(self) -> Layout:
        return self.layout or self.arch.layout()


@dataclass(frozen=True)
class Variant:
    """A network as somebody may have counted it."""

    changes: tuple[str, ...]
    layers: Sequence[Layer]
    skip: frozenset[str] = frozenset()  # modules that are called as functions
    window: tuple[str, ...] = ()  # adaptive pools that have a fixed window
    kept: tuple[Sequence[Layer], Widths] | None = None  # the full network's layers and the masks, for a masked rule
    masked: bool = True  # whether masked rules make sense of it
    params: Mapping[str, int] | None = None  # by kind; None: those of the layers
    extra: Sequence[tuple[str, int]] = ()  # MACs by counters that look at more than layers
    weighed: bool = True  # whether its params are others than those of a variant that was there before


def ways(subject: Subject, image: tuple[int, ...] | None = None, classes: int | None = None) -> list[Way]:
    """All ways to count a subject, the plainest first.

    Args:
        image: ``(C, H, W)`` that was counted at; the network's own, and other sizes as changes, where it is not said.
        classes: that it tells apart; the network's own, and CIFAR-100's as a change, where it is not said.
    """
    found: list[Way] = []
    for variant in _variants(subject, image, classes):
        found += of_variant(subject.name, variant)
    return sorted(found, key=lambda way: (way.other, len(way.changes)))


def of_variant(network: str, variant: Variant) -> Iterator[Way]:
    """The ways to count one variant: every rule, every scope, each also doubled; and its params."""
    room = MOST - len(variant.changes)
    counted = [layer for layer in variant.layers if layer.name not in variant.skip]
    macs = RULES["macs"].total(counted)
    for rule in RULES.values():
        if not rule.masked:
            value = flops_of(variant.layers, rule, variant.skip, variant.window)
        elif not variant.masked:
            continue
        else:
            layers, kept = variant.kept or (variant.layers, None)
            value = flops_of(layers, rule, kept=kept)
        yield from _doubled(network, rule.name, variant.changes, value, macs)
    for name, value in variant.extra:
        yield from _doubled(network, name, variant.changes, value, value)
    parts = {text: rule.total(counted) for text, rule in PARTS.items()}
    parts["shortcuts left out"] = -RULES["macs"].total(x for x in counted if "downsample" in x.name)
    parts = {text: value for text, value in parts.items() if value}
    for number in range(1, room + 1):
        for texts in combinations(parts, number):
            if sum("BatchNorm" in text for text in texts) < 2:
                value = macs + sum(parts[text] for text in texts)
                whole = macs + sum(parts[text] for text in texts if text.endswith("left out"))
                yield from _doubled(network, "macs", (*variant.changes, *texts), value, whole)
    if room:
        for text, rule in FORMULAS.items():
            yield Way("FLOPs", network, "macs", (*variant.changes, text), rule.total(counted))
    if variant.weighed:
        yield from _params(network, variant, room)


def _doubled(network: str, rule: str, changes: tuple[str, ...], value: int, macs: int) -> Iterator[Way]:
    """A count as it is; with 2 for each of its MACs; and with 2 for whatever it counts."""
    yield Way("FLOPs", network, rule, changes, value)
    yield Way("FLOPs", network, rule, (*changes, TWICE[0]), value + macs)
    if value != macs:
        yield Way("FLOPs", network, rule, (*changes, TWICE[1]), 2 * value)


def _params(network: str, variant: Variant, room: int) -> Iterator[Way]:
    kinds = variant.params or params_of(variant.layers)
    whole = sum(n for kind, n in kinds.items() if kind not in ("shortcuts", "statistics"))
    yield Way("params", network, "all parameters", variant.changes, whole)
    changes = {
        "BatchNorm left out": -kinds["norms"],
        "running statistics counted too": kinds["statistics"],
        "biases left out": -kinds["biases"],
        "last layers left out": -kinds["linear"],
        "shortcuts left out": -kinds["shortcuts"],
    }
    changes = {text: value for text, value in changes.items() if value}
    for number in range(1, room + 1):
        for texts in combinations(changes, number):
            if {"biases left out", "last layers left out"} <= {*texts}:  # whose biases are gone already
                continue
            value = whole + sum(changes[text] for text in texts)
            if value > 0:
                yield Way("params", network, "all parameters", (*variant.changes, *texts), value)


def params_of(layers: Sequence[Layer]) -> dict[str, int]:
    """Parameters by kind: weights of convs, norms, biases, and so on; a layer that is called twice counts once."""
    kinds = dict.fromkeys(("convs", "norms", "statistics", "biases", "linear", "shortcuts"), 0)
    for layer in {layer.name: layer for layer in layers}.values():
        shapes = {name.rsplit(".", 1)[-1]: prod(shape) for name, shape in layer.tensors().items()}
        weight, bias = shapes.get("weight", 0), shapes.get("bias", 0)
        if layer.affine:
            kinds["norms"] += weight + bias
            kinds["statistics"] += shapes.get("running_mean", 0) + shapes.get("running_var", 0)
        elif layer.kind == "Linear":
            kinds["linear"] += weight
        else:
            kinds["convs"] += weight
        kinds["biases"] += 0 if layer.affine else bias
        if "downsample" in layer.name:
            kinds["shortcuts"] += weight + bias
    return kinds


def _variants(subject: Subject, image: tuple[int, ...] | None, classes: int | None) -> Iterator[Variant]:
    """The network as it is, and with one or two things otherwise."""
    about = subject.arch
    own = image or about.image, about.classes if classes is None else classes
    forms = dict(_forms(subject))
    sizes = {(): own[0]} | ({} if image or subject.narrow else _sizes(about))
    heads: dict[tuple[str, ...], int] = {(): own[1]}
    if classes is None and about.image[1] == 32 and not subject.narrow:
        heads[("100 classes",)] = 100
    for form, (arch, change) in forms.items():
        for size, sides in sizes.items():
            for head, number in heads.items():
                changes = (*form, *size, *head)
                if len(changes) > MOST:
                    continue
                arch_here = replace(arch, image=sides)  # type: ignore[arg-type]
                layers = change(plan(arch_here, subject.widths or arch.filters, number).layers)
                if size and sum(params_of(layers).values()) != _own_params(arch, subject.widths, number, change):
                    continue  # a linear layer that reads whole maps: another network at another size
                yield from _slips(subject, arch_here, number, changes, layers, change, weighed=not size)


def _own_params(arch: Arch, widths: Widths | None, classes: int, change: Callable) -> int:
    return sum(params_of(change(plan(arch, widths or arch.filters, classes).layers)).values())


def _slips(
    subject: Subject,
    arch: Arch,
    classes: int,
    changes: tuple[str, ...],
    layers: Sequence[Layer],
    change: Callable,
    weighed: bool,
) -> Iterator[Variant]:
    """A network, with its pools as its paper has them or all as modules, and with inputs in full."""
    how, pruned = subject.how, subject.widths is not None
    functional = frozenset(how.functional + (() if pruned else how.functional_in_base))
    full = change(plan(arch, arch.filters, classes).layers) if pruned else layers
    kept = (full, subject.widths) if subject.widths is not None else None
    yield Variant(changes, layers, functional, how.window_pools, kept, weighed=weighed)
    if len(changes) == MOST:
        return
    if functional or how.window_pools:
        yield Variant((*changes, POOLS), layers, kept=kept, masked=False, weighed=False)
    if pruned:
        inputs = {layer.name: layer.inputs for layer in full}
        whole = [
            replace(x, inputs=inputs[x.name]) if x.kind.startswith("Conv") and x.groups == 1 else x for x in layers
        ]
        yield Variant((*changes, INPUTS), whole, functional, how.window_pools, masked=False, weighed=weighed)


Change = Callable[[Sequence[Layer]], Sequence[Layer]]


def _same(layers: Sequence[Layer]) -> Sequence[Layer]:
    return layers


def _forms(subject: Subject) -> Iterator[tuple[tuple[str, ...], tuple[Arch, Change]]]:
    """The network that was named, and others that go by its name."""
    about, widths = subject.arch, subject.widths
    yield (), (about, _same)
    if subject.narrow:
        return
    if "layer1.0.conv3" in about.filters:
        early = about.options.get("early_stride")
        yield (LATE if early else EARLY,), (replace(about, options={**about.options, "early_stride": not early}), _same)
    if about.cls == "resnet_cifar:ResNet":
        yield ("1x1 convs as shortcuts",), (about, conv_shortcuts)
    for other in family(about):
        strides = {arch.options.get("early_stride") for arch in (about, other)}
        if len(strides) == 1 and (widths is None or other.filters == about.filters):
            yield (f"of {other.name}",), (other, _same)


def family(arch: str | Arch) -> list[Arch]:
    """The other networks that a paper may mean by the name of this one: VGG-16s with other heads, ResNet-50s."""
    about = arch_of(arch)
    stem = about.name.partition("_")[0]
    return [
        other
        for other in ARCHS.values()
        if other.name != about.name
        and (other.cls, other.image) == (about.cls, about.image)
        and other.name.partition("_")[0] == stem
    ]


def conv_shortcuts(layers: Sequence[Layer]) -> Sequence[Layer]:
    """The layers of a CIFAR ResNet, with a 1x1 conv and a norm where a shortcut pads (option B)."""
    known = {layer.name: layer for layer in layers}
    extra: list[Layer] = []
    for block in ("layer2.0", "layer3.0"):
        x, y = known[f"{block}.conv1"].x, known[f"{block}.conv2"].y
        conv = f"{block}.downsample.0"
        extra.append(Layer(conv, "Conv2d", x, y, x[1], y[1], (1, 1)))
        extra.append(Layer(f"{block}.downsample.1", "BatchNorm2d", y, y, affine=True))
    return [*layers, *extra]


def _sizes(about: Arch) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Other sizes of images at which a network is counted, as changes."""
    channels, *own = about.image
    if own not in ([32, 32], [224, 224]):
        return {}
    sides = SMALL_SIDES if own == [32, 32] else SIDES
    return {(f"{side}x{side} images",): (channels, side, side) for side in sides if [side, side] != own}


def _scope(ops: Mapping[str, Callable[[Layer], int]]) -> Rule:
    return Rule("", "", ops)


def _times(kind: str, number: int) -> dict[str, Callable[[Layer], int]]:
    def times(count: Callable[[Layer], int]) -> Callable[[Layer], int]:
        return lambda layer: number * count(layer)

    return {name: times(count) for name, count in TERMS[kind].items()}


PARTS: dict[str, Rule] = {  # what is counted beside MACs, or left out of them
    "linear layers left out": _scope(_times("linear MACs", -1)),
    "2 per MAC of linear layers": _scope(TERMS["linear MACs"]),
    "conv biases counted too": _scope(TERMS["conv bias"]),
    "linear biases counted too": _scope({"Linear": lambda layer: layer.written if layer.bias else 0}),
    "1 per BatchNorm element": _scope(TERMS["BatchNorm elements"]),
    "2 per BatchNorm element": _scope(_times("BatchNorm elements", 2)),
    "4 per BatchNorm element": _scope(_times("BatchNorm elements", 4)),
    "1 per ReLU output": _scope(TERMS["ReLU outputs"]),
    "1 per pooling input": _scope(TERMS["pooling inputs"]),
}
_CONVS = [kind for kind in TERMS["conv MACs"] if not kind.startswith("ConvTranspose")]
FORMULAS: dict[str, Rule] = {  # of multiplications and additions, instead of MACs
    "2 in - 1 per output": _scope(
        {
            **dict.fromkeys(_CONVS, lambda x: (2 * (x.inputs // x.groups) * prod(x.kernel) - 1) * x.written),
            "Linear": lambda x: (2 * x.inputs - 1) * x.written,
        }
    ),
    "2 (in + 1) per conv output, 2 in - 1 per linear output (Molchanov et al. 2017)": _scope(
        {
            **dict.fromkeys(_CONVS, lambda x: 2 * ((x.inputs // x.groups) * prod(x.kernel) + 1) * x.written),
            "Linear": lambda x: (2 * x.inputs - 1) * x.written,
        }
    ),
}
