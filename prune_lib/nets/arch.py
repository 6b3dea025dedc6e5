"""An architecture as data, before any tensor exists: convs, full widths, and how rate lists map to them.

A *unit* is a group of convs that keep the same number of filters, since their outputs are added, or since one reads
the other channel by channel. A *layout* says which convs each entry of a paper's list governs. Both are plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..system.errors import InputError
from .spec import Layout

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Arch:
    name: str
    cls: str  # "module:Class" in this package
    filters: dict[str, int]  # conv name -> filters of the full network, in module order
    units: dict[str, tuple[str, ...]] = field(repr=False)  # unit -> its convs; together they are all convs
    layouts: dict[str, Layout] = field(repr=False)  # whose list -> its layout; the first is the default
    inputs: dict[str, tuple[str, ...]] = field(repr=False)  # conv, norm or linear -> the convs whose channels it reads
    options: Mapping[str, object] = field(default_factory=dict)  # the class's other arguments
    image: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    head: str = "linear"  # the last linear layer
    background: int = 0  # classes that it scores beyond those of the data
    anchors: int = 1  # times that it scores them all
    cam_layer: str = ""  # the module whose output Grad-CAM weighs: the last with maps of 4x4 pixels or more
    redrawn: tuple[str, ...] = ()  # each correction of the way its first weights are drawn: since when, and of what
    padded: dict[str, str] = field(default_factory=dict)  # unit -> the unit that a zero-padding shortcut adds to it

    @property
    def draws(self) -> int:
        """How often the way its first weights are drawn was corrected: part of the key of runs that begin from them."""
        return len(self.redrawn)

    @property
    def plain(self) -> tuple[str, ...]:
        """The convs that DCFF's code does not fuse: those of shortcuts, and depthwise ones."""
        return tuple(c for c in self.filters if "downsample" in c or c.endswith(".depthwise"))

    def layout(self, name: str | None = None) -> Layout:
        """The layout called ``name``; ``None`` is the first, that of the paper which the library has the network from.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        if name is None:
            return next(iter(self.layouts.values()))
        if name not in self.layouts:
            raise InputError(f"{self.name} has no layout {name!r}; expected one of: {' '.join(self.layouts)}")
        return self.layouts[name]

    def scored(self, outputs: int) -> int:
        """The number of classes of the data, given the number of outputs of the ``head``."""
        return outputs // self.anchors - self.background

    @property
    def backbone(self) -> str:
        """The name of the module with the convs: ``""``, the network itself, or the part under a task's head."""
        return "backbone" if next(iter(self.filters)).startswith("backbone.") else ""


def make_arch(
    name: str, cls: str, filters: dict, tied: Groups, layouts: dict[str, Layout], inputs: dict, **others
) -> Arch:
    """An arch whose units are the groups ``tied`` and each other conv alone, in the order of the convs."""
    group = {conv: convs for convs in tied for conv in convs}
    units: dict[str, tuple[str, ...]] = {}
    for conv in filters:
        convs = group.get(conv, (conv,))
        units.setdefault(convs[0], convs)
    default = next(iter(layouts.values()))
    layouts = {**layouts, "units": replace(default, groups=tuple(units.values()), rounding="rate")}
    layouts = {key: replace(layout, name=key) for key, layout in layouts.items()}
    return Arch(name, cls, filters, units, layouts, inputs, **others)


def each(filters: dict[str, int]) -> Groups:
    return tuple((conv,) for conv in filters)
