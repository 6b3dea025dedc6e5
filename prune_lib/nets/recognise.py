"""Which network tensors are of, by their names and shapes alone: without torch, and without reading a number."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..system.errors import InputError
from .arch import Arch
from .archs import ARCHS
from .cifar import resnet_cifar
from .layers import Shape
from .networks import check_widths
from .plans import plan
from .spec import Widths

SOURCES = ".source"  # of a shortcut that takes chosen channels: no part of the network as it is counted
TRACKED = "num_batches_tracked"  # older torch wrote none


@dataclass(frozen=True)
class Match:
    """A network that tensors fit."""

    arch: Arch
    widths: Widths
    classes: int
    how: str  # by name; by position
    convs: dict[str, str]  # conv of the arch -> the name of its weight in the file
    others: list[str] = field(default_factory=list)  # archs that have the very same tensors

    @property
    def narrower(self) -> Widths:
        """The convs that have fewer filters than the full network's."""
        return {conv: n for conv, n in self.widths.items() if n < self.arch.filters[conv]}


def recognise(shapes: Mapping[str, Shape], said: str = "") -> Match | None:
    """The network whose tensors have these names and shapes, at whatever widths; None where there is none.

    By name where names are this library's (the ImageNet ResNets' are torchvision's), else by position: conv by conv in
    the file's order, with the very shapes of all other tensors.

    Args:
        said: the architecture that the file itself names; it is looked at first.
    """
    shapes = {name: tuple(shape) for name, shape in shapes.items() if not name.endswith((TRACKED, SOURCES))}
    convs = [name for name, shape in shapes.items() if len(shape) == 4]
    archs = sorted(_candidates(len(convs)), key=lambda arch: arch.name != said)
    for look, how in ((_by_name, "by name"), (_by_position, "by position")):
        found = [match for arch in archs if (match := look(arch, shapes, convs, how))]
        if found:
            first, *rest = found
            alike = [match.arch.name for match in rest if match.widths == first.widths]
            return Match(first.arch, first.widths, first.classes, how, first.convs, alike)
    return None


def _candidates(convs: int) -> list[Arch]:
    """All archs; and CIFAR's ResNet of any other depth that has so many convs."""
    depth = convs + 1
    more = [resnet_cifar(f"resnet{depth}", depth)] if depth % 6 == 2 and 8 <= depth <= 1202 else []
    return [*ARCHS.values(), *(arch for arch in more if arch.name not in ARCHS)]


def _by_name(arch: Arch, shapes: Mapping[str, Shape], convs: list[str], how: str) -> Match | None:
    names = {conv: f"{conv}.weight" for conv in arch.filters}
    return _checked(arch, shapes, names, how, f"{arch.head}.weight", exact=True)


def _by_position(arch: Arch, shapes: Mapping[str, Shape], convs: list[str], how: str) -> Match | None:
    if len(convs) != len(arch.filters):
        return None
    heads = [name for name, shape in shapes.items() if len(shape) == 2]
    return _checked(arch, shapes, dict(zip(arch.filters, convs, strict=True)), how, heads[-1] if heads else "", False)


def _checked(
    arch: Arch, shapes: Mapping[str, Shape], names: dict[str, str], how: str, head: str, exact: bool
) -> Match | None:
    """The match, if the plan of ``arch`` at these widths has these tensors and no others."""
    if not all(name in shapes and len(shapes[name]) == 4 for name in names.values()) or head not in shapes:
        return None
    try:
        widths = check_widths(arch, {conv: shapes[name][0] for conv, name in names.items()})
        classes = arch.scored(shapes[head][0])
        tensors = plan(arch, widths, classes).tensors()
    except (InputError, LookupError, ValueError, ZeroDivisionError):
        return None
    wanted = {name: shape for name, shape in tensors.items() if not name.endswith(TRACKED)}
    if classes < 1 or len(wanted) != len(shapes):
        return None
    same = wanted == dict(shapes) if exact else _kinds(wanted) == _kinds(shapes)
    return Match(arch, widths, classes, how, names) if same else None


def _kinds(shapes: Mapping[str, Shape]) -> Counter:
    return Counter((name.rsplit(".", 1)[-1], shape) for name, shape in shapes.items())
