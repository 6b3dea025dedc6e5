"""Where a printed figure comes from: which ways of counting a network print it, and whether a paper's figures agree.

Of one printed figure:

    found = check("55.84M", "resnet56", rates, base="125.49M", cut="55.5%")
    found.figure.prints   # the ways that print it, the plainest first
    print(found)          # all of it in words
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from math import log

from ..nets.archs import ARCHS
from ..nets.networks import arch_of, read_spec
from ..system.errors import InputError
from .printed import Printed, figure
from .ways import EARLY, INPUTS, MOST, Subject, Variant, Way, of_variant, ways

SHOWN = 6  # ways, and misses, that are put into words
WEIGHTS = {
    "2 per MAC": 0.5,
    EARLY: 0.7,
    INPUTS: 0.7,
    "truncated": 0.8,
    "linear layers left out": 0.9,
}  # how odd; others 1.2
WEAK = 0.2  # chance of being printed anyway from which a match says little
FULL = "of the full network"


@dataclass(frozen=True)
class Print:
    """A way of counting whose value prints as the figure, and how it was printed."""

    way: Way
    changes: tuple[str, ...]  # in the printing: truncated, units of 1024

    @property
    def all_changes(self) -> tuple[str, ...]:
        return (*self.way.changes, *self.changes)

    def to_json(self) -> dict:
        way = self.way
        return {
            "of": way.of, "network": way.network, "rule": way.rule, "changes": [*self.all_changes], "value": way.value,
        }  # fmt: skip


@dataclass(frozen=True)
class Traced:
    """What the ways of counting make of one printed figure."""

    printed: str
    prints: Sequence[Print]  # those that print it, the plainest first
    near: Sequence[Way]  # if none does: the plain ones whose values are nearest
    tried: int  # ways
    chance: float  # that a figure of as many digits, between half and twice this one, is printed by some way

    def to_json(self) -> dict:
        value = Printed.read(self.printed).value
        near = [{**Print(way, ()).to_json(), "off": way.value / value - 1} for way in self.near]
        prints = [found.to_json() for found in self.prints]
        return {
            "printed": self.printed, "found": bool(prints), "prints": prints, "near": near, "tried": self.tried,
            "chance": self.chance,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """In words: one line for each value, with the plainest ways to it."""
        if not self.prints:
            text = [f"nothing prints it ({self.tried} ways tried); the nearest:"]
            value = Printed.read(self.printed).value
            return text + [f"{w.value:16,}  {w.value / value - 1:+.2%}  {w.network}: {w}" for w in self.near]
        groups: dict[tuple, list[Print]] = {}
        for found in self.prints:
            of, network, value = found.way.of, found.way.network, found.way.value
            key = of, network, found.all_changes, None if found.all_changes else value
            groups.setdefault(key, []).append(found)
        text = [f"{len(self.prints)} of {self.tried} ways to count print it, the plainest first:"]
        for (of, network, changes, _), alike in [*groups.items()][:SHOWN]:
            rules = ", ".join(found.way.rule for found in alike)
            text.append(f"{alike[0].way.value:16,}  {of} of {network}: {'; '.join((rules, *changes))}")
        if len(groups) > SHOWN:
            text.append(f"{'…':>16}  and {len(groups) - SHOWN} more, less plain")
        if self.chance >= WEAK:
            text.append(f"{'':16}  weak: {self.chance:.0%} of all figures with so few digits are printed by some way")
        return text


@dataclass(frozen=True)
class Statement:
    """Something that figures of one paper say of one another."""

    holds: bool
    text: str


@dataclass(frozen=True)
class Check:
    """What ``check`` found; as text with ``str``."""

    arch: str
    figure: Traced
    others: Mapping[str, Traced]  # of params, base …, where given
    statements: Sequence[Statement]
    hints: Sequence[str] = ()

    @property
    def found(self) -> bool:
        """Whether something prints the figure."""
        return bool(self.figure.prints)

    @property
    def agree(self) -> bool | None:
        """Whether the given figures agree with one another; None where only one was given."""
        return all(statement.holds for statement in self.statements) if self.statements else None

    def to_json(self) -> dict:
        return {
            "arch": self.arch, "found": self.found, "agree": self.agree, "figure": self.figure.to_json(),
            "others": {name: traced.to_json() for name, traced in self.others.items()},
            "statements": [{"holds": s.holds, "text": s.text} for s in self.statements], "hints": [*self.hints],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.figure.printed}, {self.arch}: {self.figure.lines()[0]}", *self.figure.lines()[1:]]
        for name, traced in self.others.items():
            lines += ["", f"{traced.printed}, {name}: {traced.lines()[0]}", *traced.lines()[1:]]
        if self.statements:
            lines += ["", *(f"{'agrees' if s.holds else 'disagrees':9}  {s.text}" for s in self.statements)]
        return "\n".join([*lines, *(["", *self.hints] if self.hints else [])])


def check(
    printed: str,
    arch: str,
    rates: str | None = None,
    *,
    layout: str | None = None,
    params: str | None = None,
    base: str | None = None,
    cut: str | None = None,
    image: tuple[int, int] | None = None,
    classes: int | None = None,
    known: Iterable[Subject] = (),
) -> Check:
    """Which ways of counting ``arch`` print the figure ``printed``, and whether it agrees with the others given.

    Args:
        printed: a count of FLOPs, or of params where nothing else fits: ``55.84M``, ``4.1 GFLOPs``, ``0.85M params``;
            or a cut, ``76.8%``.
        arch: a network of this library, or one of torchvision's by its name there (``torchvision/vgg16`` where both
            have it).
        rates: as the paper writes them; without, the figure is of the full network, or of one of ``known``.
        layout: whose list it is; without, every layout that has so many rates is tried.
        params, base, cut: the other figures printed for it: its params, the full network's FLOPs (or params, where
            the figure is of params), and how much was cut, ``55.5%`` or ``2.2x``.
        image: ``(height, width)`` that was counted at; without, the usual sizes are tried.
        classes: that the network tells apart.
        known: pruned networks that have been printed elsewhere.

    Raises:
        InputError: no such network, layout or rates, or something that is no figure.
    """
    of_params = "param" in str(printed).lower()
    text = figure(printed)
    given = {"params": params and figure(params, "--params"), "base": base and figure(base, "--base")}
    share = _cut(cut) if cut else None
    if any(value and value.endswith("%") for value in given.values()):
        raise InputError(f"params {params}, base {base}; expected counts such as 0.38M, and percentages as the cut")
    if image is not None and not all(type(side) is int and 1 <= side <= 10_000 for side in image):
        raise InputError(f"images of {image}; expected two whole numbers from 1 to 10000")
    if classes is not None and not (type(classes) is int and 1 <= classes <= 1_000_000):
        raise InputError(f"{classes} classes; expected a whole number from 1 to 1000000")
    counted = _Counted(arch, rates, layout, image, classes, [*known])
    kinds = ("params",) if of_params else ("FLOPs",) if params else ("FLOPs", "params")
    if text.endswith("%"):
        if rates is None:
            raise InputError(f"figure {text}: a cut of what? expected the rates too, or a count such as 55.84M")
        traced = _trace(text, counted.cuts(kinds))
    else:
        traced = _trace(text, [way for way in counted.ways if way.of in kinds])
        if not traced.prints and counted.at_other_sizes():
            traced = _trace(text, [way for way in counted.ways if way.of in kinds])
    kind = traced.prints[0].way.of if traced.prints else kinds[0]
    others = {}
    if given["params"]:
        others["params"] = _trace(given["params"], [way for way in counted.ways if way.of == "params"])
    if given["base"]:
        others["base"] = _trace(given["base"], [way for way in counted.full if way.of == kind])
    statements = [] if text.endswith("%") else [*_statements(counted, kind, traced, others, share)]
    return Check(counted.name, traced, others, statements, counted.hints(bool(traced.prints)))


class _Counted:
    """All ways to count what was named: the pruned networks that it may be, and the full one."""

    def __init__(self, arch, rates, layout, image, classes, known):
        self.given, self.rates, self.classes, self.others = (
            arch,
            rates,
            classes,
            False,
        )  # whether other sizes are still to be tried
        if arch in ARCHS:
            about = arch_of(arch)
            self.name = about.name
            sides = (about.image[0], *image) if image else None
            if rates is None:
                names = [layout] if layout else [next(iter(about.layouts))]
                pruned = []
            else:
                pruned = _readings(about, rates, layout)
                names = [subject.how.name for subject in pruned]
            self.full = [
                way
                for name in dict.fromkeys(names)
                for way in ways(Subject(about.name, about, None, about.layout(name)), sides, classes)
            ]
            self.pruned = [way for subject in [*pruned, *known] for way in ways(subject, sides, classes)]
        else:
            from .zoo import variants

            if rates is not None or layout is not None:
                raise InputError(f"{arch}: torchvision's networks are counted full; rates are for: {' '.join(ARCHS)}")
            self.name = arch
            self.full, self.pruned = _plainest_first(arch, variants(arch, image, classes)), []
            self.others = image is None

    @cached_property
    def ways(self) -> list[Way]:
        """Of the pruned networks; and of the full one, which is a change where rates were given."""
        if self.rates is None:
            return [*self.full, *self.pruned]
        full = [replace(way, changes=(FULL, *way.changes)) for way in self.full if way.other < MOST]
        return [*self.pruned, *full]

    def at_other_sizes(self) -> bool:
        """Look at torchvision's network at other sizes too; whether there is anything new to look at."""
        if not self.others:
            return False
        from .zoo import variants

        self.full += _plainest_first(self.given, variants(self.given, None, self.classes, others=True))
        self.others = False
        del self.ways
        return True

    def cuts(self, kinds) -> list[Way]:
        """The pruned networks' ways, each with how many millionths of a percent of the full network it cuts."""
        whole = {way.key: way.value for way in self.full}
        return [
            replace(way, value=round(1e8 * (1 - way.value / whole[way.key])))
            for way in self.pruned
            if way.of in kinds and whole.get(way.key)
        ]

    def hints(self, found: bool) -> list[str]:
        if found or self.given not in ("vgg16", "googlenet"):
            return []
        return [f"{self.given} here is CIFAR-10's; ImageNet's is --arch torchvision/{self.given}"]


def _plainest_first(network: str, found: Iterable[Variant]) -> list[Way]:
    listed = [way for variant in found for way in of_variant(network, variant)]
    return sorted(listed, key=lambda way: (way.other, len(way.changes)))


def _readings(about, rates: str, layout: str | None) -> list[Subject]:
    """What a rate string may mean: its widths by every layout that has so many rates, each widths once."""
    found: dict[tuple, Subject] = {}
    first: InputError | None = None
    for name in [layout] if layout else about.layouts:
        try:
            _, widths = read_spec(about, rates, name)
        except InputError as error:
            first = first or error
            continue
        named = f"{about.name} by layout {name}" if len(about.layouts) > 2 and not layout else about.name
        found.setdefault(tuple(widths.items()), Subject(named, about, widths, about.layout(name)))
    if first and not found:
        counts = {len(plan.groups): name for name, plan in about.layouts.items()}
        if layout or len(counts) == 1 or not str(first).startswith("the spec has"):
            raise first
        expected = " or ".join(f"{number} ({name})" for number, name in sorted(counts.items()))
        raise InputError(f"{str(first).partition(';')[0]}; expected {expected}")
    return list(found.values())


def _trace(text: str, counted: Sequence[Way]) -> Traced:
    """Which of the ways ``counted`` print ``text``."""
    cut = text.endswith("%")
    counted = [way for way in counted if way.value > 0]
    prints: list[Print] = []
    modes = _modes(text)
    for changes, printed, truncated in modes:
        wanted = printed.like(printed.value / 100 * 100, truncated)
        low, high = printed.range
        slack = high - low
        for way in counted:
            value = way.value / 1e6 if cut else way.value
            near = low - slack <= value <= high + slack and way.other + len(changes) <= MOST
            if near and printed.like(value, truncated) == wanted:
                prints.append(Print(way, changes))
    prints.sort(key=lambda found: sum(WEIGHTS.get(change, 1.2) for change in found.all_changes))
    once: dict[tuple, Print] = {}
    for found in prints:
        once.setdefault((found.way.of, found.way.network, found.way.rule, found.way.value), found)
    return Traced(
        text, list(once.values()), [] if prints else _nearest(text, counted), len(counted), _chance(text, counted)
    )


def _modes(text: str) -> list[tuple[tuple[str, ...], Printed, bool]]:
    """How a value may have been printed: rounded or truncated, in units of 1000 or of 1024, at its zeros or not."""
    rounded = Printed.read(text)
    exact = replace(rounded, decimals=max(0, rounded.decimals))
    modes: list[tuple[tuple[str, ...], Printed, bool]] = [((), exact, False), (("truncated",), exact, True)]
    if rounded.decimals < 0:
        modes.append((("rounded at its zeros",), rounded, False))
    if rounded.unit not in ("", "%"):
        units = replace(exact, binary=True)
        name = f"units of 2^{ {'K': 10, 'M': 20, 'T': 40}.get(rounded.unit, 30) }"
        modes += [((name,), units, False), ((name, "truncated"), units, True)]
    return modes


def _nearest(text: str, counted: Sequence[Way]) -> list[Way]:
    """The ways with at most one change whose values are nearest, each value once, the plainest way to it."""
    value = Printed.read(text).value * (1e6 if text.endswith("%") else 1)
    once: dict[int, Way] = {}
    for way in counted:
        if len(way.changes) <= 1:
            once.setdefault(way.value, way)
    return sorted(once.values(), key=lambda way: abs(log(way.value / value)))[:SHOWN]


def _chance(text: str, counted: Sequence[Way]) -> float:
    """The share of figures with as many digits, from half to twice this one, that some way prints."""
    printed = Printed.read(text)
    step = Decimal(1).scaleb(-max(0, printed.decimals)) * Decimal(printed.unit_value)
    low, high = printed.value / 2, printed.value * 2
    cells = max(1, int(Decimal(high - low) / step))
    scale = 1e6 if text.endswith("%") else 1
    hit = {
        int(Decimal(way.value / scale) / step + Decimal("0.5")) for way in counted if low <= way.value / scale < high
    }
    return min(1.0, len(hit) / cells)


def _cut(text: str) -> tuple[str, float, float]:
    """A cut as printed, and the shares that are printed so; ``2.2x`` is a speed-up."""
    bare = str(text).strip().lower().removesuffix("x").removesuffix("×")
    speed_up = bare != str(text).strip().lower()
    shown = bare if speed_up else figure(text, "--cut")
    if not speed_up and not shown.endswith("%"):
        raise InputError(f"--cut {text!r}; expected a percentage such as 55.5%, or a speed-up such as 2.2x")
    low, high = Printed.read(shown.removesuffix("%") if speed_up else shown).range
    if speed_up:
        if low < 1:
            raise InputError(f"--cut {text!r}; expected a speed-up of more than 1, such as 2.2x")
        return f"{bare}x", 1 - 1 / low, 1 - 1 / high
    if not 0 < high <= 100.5:
        raise InputError(f"--cut {text!r}; expected a percentage from 0 to 100")
    return shown, low / 100, high / 100


def _statements(
    counted: _Counted, kind: str, traced: Traced, others: Mapping[str, Traced], share
) -> Iterable[Statement]:
    """Whether the figure, the base and the cut agree, and whether one way of counting prints all."""
    mine = Printed.read(traced.printed)
    low, high = mine.range
    base = others.get("base")
    if base and share:
        text, least, most = share
        less, more = Printed.read(base.printed).range
        smallest, largest = 1 - high / less, 1 - low / more
        said = f"{traced.printed} of {base.printed} is a cut of {_between(smallest, largest)}; printed {text}"
        holds = smallest <= most and least <= largest
        why = "" if holds else _why_not(least, most, smallest, largest, counted, kind, mine)
        yield Statement(holds, said + why)
    elif base and Printed.read(base.printed).value < mine.value:
        yield Statement(False, f"{traced.printed} is more than its base {base.printed}")
    if base and base.prints and traced.prints:
        yield _one_way(traced, base)
    if share and not base:
        yield _base_of(counted, kind, traced, share)
    if share and counted.pruned and any(FULL not in found.way.changes for found in traced.prints):
        yield _own_cut(counted, traced, share)
    if (params := others.get("params")) and params.prints and traced.prints:
        networks = [{(p.way.network, FULL in p.way.changes) for p in found.prints} for found in (traced, params)]
        both = sorted(name for name, _ in networks[0] & networks[1])
        yield Statement(
            bool(both),
            f"{', '.join(both[:3])} has both {traced.printed} and {params.printed} parameters" if both
            else f"no one network has both {traced.printed} and {params.printed} parameters",
        )  # fmt: skip


def _between(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}%"


def _why_not(
    least: float, most: float, smallest: float, largest: float, counted: _Counted, kind: str, mine: Printed
) -> str:
    """What would explain a cut that does not follow: what stays, truncation, or another full network."""
    if smallest <= 1 - least and 1 - most <= largest:
        return ", which is what stays, not what is cut"
    step = most - least
    if smallest <= most + step / 2 and least + step / 2 <= largest:
        return ", which is truncated"
    ways = _bases(counted, kind, mine, least, most)
    return f"; it would follow from a full network of {_named(ways)}" if ways else ""


def _bases(counted: _Counted, kind: str, mine: Printed, least: float, most: float) -> list[Way]:
    """The plain ways to count the full network of which the figure is the rest after such a cut, each value once."""
    low, high = mine.range
    if most >= 1:
        return []
    first, last = low / (1 - least), high / (1 - most)
    once: dict[int, Way] = {}
    for way in counted.full:
        other_size = any(change.endswith(" images") for change in way.changes)
        if way.of == kind and len(way.changes) <= 1 and not other_size and first <= way.value <= last:
            once.setdefault(way.value, way)
    return list(once.values())


def _named(found: Sequence[Way]) -> str:
    return " or ".join(f"{way.value:,} ({way})" for way in found[:2])


def _one_way(traced: Traced, base: Traced) -> Statement:
    """Whether one way of counting prints the figure and its base."""
    keys = {(found.way.key, found.changes) for found in base.prints}
    both = [found.way for found in traced.prints if (found.way.key, found.changes) in keys]
    if both:
        return Statement(True, f"{both[0]} prints both {traced.printed} and its base {base.printed}")
    first, second = traced.prints[0], base.prints[0]
    said = [", ".join((p.way.rule, *p.all_changes)) for p in (first, second)]
    return Statement(
        False,
        f"no one way prints both: {traced.printed} is by {said[0]}, its base {base.printed} by {said[1]}",
    )


def _base_of(counted: _Counted, kind: str, traced: Traced, share: tuple[str, float, float]) -> Statement:
    """Whether some way to count the full network gives the printed cut."""
    text, least, most = share
    mine = Printed.read(traced.printed)
    found = _bases(counted, kind, mine, least, most)
    if found:
        return Statement(True, f"{traced.printed} is {text} less than a full network of {_named(found)}")
    low, high = mine.range
    limit = f"{low / (1 - least):,.0f} to {high / (1 - most):,.0f}" if most < 1 else "any size"
    return Statement(False, f"a cut of {text} to {traced.printed} needs a full network of {limit}; none counts so")


def _own_cut(counted: _Counted, traced: Traced, share: tuple[str, float, float]) -> Statement:
    """Whether the plainest way that prints the figure gives the printed cut by itself."""
    text, least, most = share
    whole = {way.key: way.value for way in counted.full}
    pruned = [found.way for found in traced.prints if FULL not in found.way.changes and whole.get(found.way.key)]
    cuts = [(way, 1 - way.value / whole[way.key]) for way in pruned]
    if not cuts:
        return Statement(False, f"no way that prints {traced.printed} gives a cut")
    for way, cut in (cuts[0], *(pair for pair in cuts if pair[0].other <= 1)):
        if least <= cut <= most:
            return Statement(True, f"{way} alone gives {traced.printed} and a cut of {100 * cut:.2f}%, printed {text}")
    way, cut = cuts[0]
    half = (most - least) / 2
    truncated = ", which is truncated" if least + half <= cut <= most + half else ""
    return Statement(
        False, f"{way}, which prints {traced.printed}, gives a cut of {100 * cut:.2f}%; printed {text}{truncated}"
    )
