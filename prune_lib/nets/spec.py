"""Compression specs: the papers' rate strings, read without evaluating anything, and the widths they stand for.

    rates  = parse("[0.5]*2+[0.4]*2")                # [0.5, 0.5, 0.4, 0.4]
    layout = Layout((("conv1",), ("conv2",), …))     # rate i governs the convs of group i
    widths = to_widths(rates, layout, filters)       # conv name -> number of filters kept

This module does not import torch, so a malformed spec is refused before anything heavy is loaded.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..system.errors import InputError

Widths = dict[str, int]  # conv name -> number of filters kept

MAX_RATES = 4096  # no published list is longer than 66; this only limits what a typo can cost
_TOKEN = re.compile(r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<symbol>[\[\](),*+]))", re.ASCII)


class SpecError(InputError):
    """A rate string or a list of rates that cannot be used."""


def width(filters: int, rate: float) -> int:
    """How many of ``filters`` a pruning rate leaves: ``int(filters * (1 - rate))`` in IEEE doubles, truncated.

    This is every paper's rule here but the two below, with its surprises: ``width(160, 0.9)`` is 15, because
    ``1 - 0.9`` is a little less than a tenth in binary.
    """
    return int(filters * (1 - rate))


ROUNDINGS: dict[str, Callable[[int, float], int]] = {  # how a list's entry becomes a width
    "rate": width,
    "fraction": lambda filters, rate: filters - int(rate * filters),  # EagleEye truncates what is pruned
    "tenths": lambda filters, tenths: int(filters * tenths / 10),  # ABCPruner's honey: whole tenths that are kept
}


@dataclass(frozen=True)
class Layout:
    """How a paper writes its list for a network, and what its code does with that network when it counts.

    Entry ``i`` governs the convs of ``groups[i]``. ``functional``, ``functional_in_base`` and ``window_pools`` name
    modules that the network counted by the paper has in another form: pools called as functions, in all its networks
    or in the *full* one only, and a fixed window for an adaptive pool.
    """

    groups: tuple[tuple[str, ...], ...]
    rounding: str = "rate"
    functional: tuple[str, ...] = ()
    functional_in_base: tuple[str, ...] = ()
    window_pools: tuple[str, ...] = ()
    name: str = ""  # among its network's layouts
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # convs whose rate is a share of what they read


def parse(text: str, rounding: str = "rate") -> list[float]:
    """Read a rate string such as ``'[0.5]*2+([0.3,0.4]+[0.1])*3'`` into its list of rates.

    Grammar: ``spec = term {'+' term}``, ``term = ('[' rate {',' rate} ']' | '(' spec ')') {'*' count}``. With
    ``rounding="tenths"`` the entries are whole numbers from 1 to 10 instead.

    Raises:
        SpecError: empty or malformed text, a rate outside [0, 1), or more than ``MAX_RATES`` rates.
    """
    reader = _Reader(text, tenths=rounding == "tenths")
    rates = reader.spec()
    if reader.symbol:
        raise reader.error("an end of the spec, '+' or '*'")
    return rates


class _Reader:
    """A recursive-descent reader of one spec; ``symbol`` is the token ahead ('' at the end)."""

    def __init__(self, text: str, tenths: bool):
        if not isinstance(text, str) or not text.strip():
            raise SpecError("the spec is empty; expected rates such as '[0.5]*2+[0.4]*2'")
        if len(text) > 20 * MAX_RATES:
            raise SpecError(f"the spec has {len(text)} characters; expected at most {20 * MAX_RATES}")
        self.text, self.next, self.depth, self.tenths = text, 0, 0, tenths
        self.advance()

    def advance(self) -> None:
        self.at = self.next
        if not self.text[self.at :].strip():
            self.symbol, self.next = "", len(self.text)
            return
        token = _TOKEN.match(self.text, self.at)
        if not token:
            self.symbol = "?"
            raise self.error("a number, '[', ']', '(', ')', ',', '+' or '*'")
        self.symbol, self.at, self.next = token[0].strip(), token.end() - len(token[0].strip()), token.end()

    def error(self, expected: str) -> SpecError:
        rest = self.text[self.at :].strip()
        found = f"{rest[:12]!r}" if rest else "the end"
        return SpecError(f"spec, character {self.at + 1}: found {found}, expected {expected}")

    def take(self, symbol: str) -> None:
        if self.symbol != symbol:
            raise self.error(f"'{symbol}'")
        self.advance()

    def spec(self) -> list[float]:
        rates = self.term()
        while self.symbol == "+":
            self.advance()
            rates = self.check_length(rates + self.term())
        return rates

    def term(self) -> list[float]:
        if self.symbol == "(":
            self.depth += 1
            if self.depth > 50:
                raise self.error("at most 50 brackets inside one another")
            self.advance()
            rates = self.spec()
            self.take(")")
            self.depth -= 1
        else:
            self.take("[")
            rates = [self.rate()]
            while self.symbol == ",":
                self.advance()
                rates.append(self.rate())
            self.take("]")
        while self.symbol == "*":
            self.advance()
            rates = self.repeat(rates)
        return rates

    def rate(self) -> float:
        expected = "a whole number from 1 to 10" if self.tenths else "a rate in [0, 1)"
        if not self.symbol[:1].isdigit() and self.symbol[:1] != ".":
            raise self.error(expected)
        value = float(self.symbol)
        if not (value in range(1, 11) if self.tenths else 0 <= value < 1):
            raise self.error(expected)
        self.advance()
        return value

    def repeat(self, rates: list[float]) -> list[float]:
        if not self.symbol.isdigit() or len(self.symbol) > 6 or int(self.symbol) < 1:
            raise self.error("a whole number of repeats, from 1")
        count = int(self.symbol)
        self.check_length(range(len(rates) * count))
        self.advance()
        return rates * count

    def check_length(self, rates):
        if len(rates) > MAX_RATES:
            raise SpecError(f"spec, character {self.at + 1}: {len(rates)} rates; expected at most {MAX_RATES}")
        return rates


def to_widths(rates: Sequence[float], layout: Layout, filters: Mapping[str, int]) -> Widths:
    """Apply entry ``i`` to every conv of group ``i``; convs that no group names keep all their filters.

    Raises:
        SpecError: another number of rates than the layout has, or a conv that would lose all its filters.
    """
    groups, round_ = layout.groups, ROUNDINGS[layout.rounding]
    if len(rates) != len(groups):
        raise SpecError(f"the spec has {len(rates)} rates; expected {len(groups)}, one for each group of the layout")
    widths = dict(filters)
    for rate, group in zip(rates, groups, strict=True):
        for conv in group:
            whole = sum(widths[source] for source in layout.reads[conv]) if conv in layout.reads else filters[conv]
            widths[conv] = round_(whole, rate)
            if widths[conv] < 1:
                raise SpecError(
                    f"rate {rate:g} leaves no filter of {conv}, which has {whole}; "
                    f"expected a rate that keeps at least one"
                )
    return widths
