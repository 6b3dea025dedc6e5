"""Figures as papers print them: what was printed, and the range of values that would be printed like that."""

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from ..system.errors import InputError, short

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "": 1, "%": 1}
BINARY = {"K": 2.0**10, "M": 2.0**20, "B": 2.0**30, "G": 2.0**30, "T": 2.0**40}
PRINTED = re.compile(r"(?P<number>\d+(?:\.(?P<decimals>\d+))?)(?P<unit>[KMBGT%]?)", re.ASCII)
_WORDS = re.compile(r"(?i)\s*(?:flops?|macs?|macc|mult-adds|multi-adds|madds?|params?|parameters|ops)\s*$")
_LONG = {"thousand": "K", "million": "M", "billion": "B", "trillion": "T"}
_POWER = re.compile(
    r"(?i)(?P<number>\d+(?:\.\d+)?)\s*(?:[x×*·]\s*10\s*(?:\^|\*\*)?\s*|e\s*\+?)(?P<power>\d{1,2})", re.ASCII
)
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


@dataclass(frozen=True)
class Printed:
    """A figure as a paper prints it: ``72.77M`` is 72.77, two decimals, unit M.

    A count printed as a whole number that ends in zeros is taken as rounded there: ``960M`` has -1 decimals.
    """

    number: float
    decimals: int
    unit: str
    binary: bool = False  # whether the unit is a power of 1024

    @classmethod
    def read(cls, text: str) -> "Printed":
        match = PRINTED.fullmatch(str(text).strip())
        if not match or len(match[0]) > 40:
            raise InputError(f"printed figure {short(text)}; expected such as 72.77M, 0.96B or 76.83%")
        number, decimals = match["number"], len(match["decimals"] or "")
        if not decimals and match["unit"] != "%" and len(number) > 1:
            decimals = len(number.rstrip("0")) - len(number)
        return cls(float(number), decimals, match["unit"])

    @property
    def unit_value(self) -> float:
        """What its unit stands for: M is 1,000,000, or 2^20."""
        return (BINARY if self.binary else UNITS)[self.unit]

    @property
    def value(self) -> float:
        """The figure in units of one: ``72.77M`` is 72,770,000."""
        return float(Decimal(repr(self.number)) * Decimal(self.unit_value))

    @property
    def range(self) -> tuple[float, float]:
        """The range of values printed like this, in units of one: ``72.77M`` is 72,765,000 to 72,775,000."""
        half, unit = 0.5 * 10.0**-self.decimals, self.unit_value
        return (self.number - half) * unit, (self.number + half) * unit

    def like(self, value: float, truncated: bool = False) -> str:
        """``value`` printed in the same unit with as many decimals, halves up; or cut off where ``truncated``."""
        step = Decimal(1).scaleb(-self.decimals)
        scaled = Decimal(repr(value)) / Decimal(self.unit_value)
        return f"{scaled.quantize(step, ROUND_DOWN if truncated else ROUND_HALF_UP):f}{self.unit}"


def prints_like(value: float, reported: str) -> str:
    """``value`` printed in the way of ``reported``: ``prints_like(72771956, "72.77M")`` is ``"72.77M"``."""
    return Printed.read(reported).like(value)


def figure(text: object, what: str = "figure") -> str:
    """A figure as people write it, as ``Printed`` reads it: ``4.1 GFLOPs`` is ``4.1G``, ``3.8 × 10^9`` is ``3.8G``.

    Raises:
        InputError: it is no figure; ``what`` begins the message.
    """
    given = str(text)
    bare = given.translate(_SUPERSCRIPT).strip()[:60]
    bare = _WORDS.sub("", bare).removeprefix("~").strip()
    for word, unit in _LONG.items():
        bare = re.sub(rf"(?i)\s*{word}$", unit, bare)
    if (power := _POWER.fullmatch(bare)) and 3 <= (exponent := int(power["power"])) <= 14:
        digits = Decimal(power["number"]).scaleb(exponent % 3)
        bare = f"{digits:f}{'KMGT'[exponent // 3 - 1]}"
    bare = bare.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+[A-Za-z]?", bare) else bare
    bare = re.sub(r"\s+(?=[A-Za-z%]$)", "", bare)
    bare = bare[:-1] + bare[-1:].upper()
    bare = bare if len(bare) <= 20 else given  # more digits than any count has
    try:
        return bare if Printed.read(bare).value > 0 else _refuse(given, what)
    except InputError:
        return _refuse(given, what)


def _refuse(given: str, what: str) -> str:
    raise InputError(f"{what} {short(given)}; expected a number and a unit, such as 55.84M, 4.1G, 76.8% or 125,485,696")
