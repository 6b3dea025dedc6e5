"""Contrasts: paired differences between records at one recipe, with intervals and verdicts.

A contrast is the difference of two rows' test metric at the last epoch, seed by seed. Its interval is Student's t over
the seeds. Contrasts that are judged together are corrected by Holm (1979); the intervals are of one contrast each, so
that one whose interval leaves out zero may still be undecided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import mean, stdev

from ...papers.rows import Row, get_row, table_short
from ...runs.records import records
from ...system.errors import needs
from .verdict import CONTRADICTED, SUPPORTED

CANNOT_TELL, NOT_TESTED = "cannot tell", "not tested yet"
LEVEL = 0.05
LEAST_SEEDS = 3  # that a contrast must have to be judged
MOST_SEEDS = 1000  # that a sentence about further seeds will name


@dataclass(frozen=True)
class Contrast:
    """How much better one row is than another, in percentage points, over the seeds that both have."""

    of: str
    than: str
    budget: str
    within: float | None  # the claim is that they are equal to so many points
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    same: bool = False  # with each seed both runs ended at the same weights, bit for bit: nothing is left to chance
    p: float = 1.0  # see ``p_value``
    holm: float = 1.0  # corrected over the contrasts that are judged together

    @property
    def mean(self) -> float | None:
        return mean(self.differences) if self.differences else None

    @property
    def sd(self) -> float | None:
        return stdev(self.differences) if len(self.differences) > 1 else None

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval, ``t sd / sqrt(n)``."""
        n = len(self.differences)
        return None if self.sd is None else quantile(1 - LEVEL / 2, n - 1) * self.sd / math.sqrt(n)

    @property
    def verdict(self) -> str:
        if self.mean is None or len(self.differences) < LEAST_SEEDS:
            return NOT_TESTED
        if self.holm >= LEVEL:
            return CANNOT_TELL
        holds = self.mean > 0 if self.within is None else abs(self.mean) < self.within
        return SUPPORTED if holds else CONTRADICTED

    @property
    def more_seeds(self) -> int | None:
        """About how many more seeds would decide it, were mean, deviation and Holm's factor to stay as they are.

        ``None``: more than a thousand.
        """
        if self.sd is None or not self.mean or self.verdict != CANNOT_TELL or self.within is not None:
            return None
        n, level = len(self.differences), LEVEL * self.p / self.holm
        for seeds in range(n + 1, MOST_SEEDS):
            if quantile(1 - level / 2, seeds - 1) * self.sd / math.sqrt(seeds) < abs(self.mean):
                return seeds - n
        return None

    @property
    def title(self) -> str:
        """Both rows by name, and the table that they share, or each its own."""
        one, other = get_row(self.of), get_row(self.than)
        if one.table == other.table:
            return f"{self.rows} ({table_short(one.table)})"
        return f"{one.title} ({table_short(one.table)}) against {other.title} ({table_short(other.table)})"

    @property
    def rows(self) -> str:
        """Both rows by name."""
        return f"{get_row(self.of).title} against {get_row(self.than).title}"

    @property
    def shown(self) -> str:
        """The mean difference with half of its interval: ``+0.31 ± 0.52``."""
        if self.mean is None:
            return "–"
        return f"{self.mean:+z.2f}" + (f" ± {self.half:.2f}" if self.half is not None else "")

    def words(self) -> str:
        """The verdict with what goes with it: ``cannot tell (±0.52; about 4 more seeds)``."""
        if self.same and self.verdict != NOT_TESTED:
            return f"{self.verdict} (the same weights, bit for bit)"
        if self.verdict != CANNOT_TELL:
            return self.verdict
        more = f"; about {self.more_seeds} more seed{'s' * (self.more_seeds > 1)}" if self.more_seeds else ""
        return f"{CANNOT_TELL} (±{self.half:.2f}{more})"


def load_contrast(fields: Mapping, budget: str) -> Contrast:
    rows = get_row(fields["of"]), get_row(fields["than"])
    one, other = (last_metric(row, budget) for row in rows)
    seeds = tuple(sorted(one.keys() & other.keys()))
    ends = [first_runs(row, budget)[seed]["networks"].get("last", {}).get("sha256") for row in rows for seed in seeds]
    return Contrast(
        fields["of"], fields["than"], budget, fields.get("within"), seeds,
        differences=tuple(one[seed] - other[seed] for seed in seeds),
        same=rows[0] != rows[1] and None not in ends and ends[: len(seeds)] == ends[len(seeds) :] != [],
    )  # fmt: skip


def holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts with p-values, and these corrected: the k-th smallest of m by ``m - k + 1``, never falling."""
    ps = [p_value(contrast) for contrast in contrasts]
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected, least = dict.fromkeys(range(len(ps)), 1.0), 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[i] = least
    return [
        replace(contrast, p=1.0 if p is None else p, holm=corrected[i])
        for i, (contrast, p) in enumerate(zip(contrasts, ps, strict=True))
    ]


def p_value(contrast: Contrast) -> float | None:
    """Student's t of the paired differences, two-sided. ``None`` below three seeds, and of a row against itself.

    Runs that end at the same weights leave no doubt that there is no difference: 0. A claim that two are equal to so
    many points is tested both ways, that they are (two one-sided tests) and that they are not, and the smaller of the
    two counts twice.
    """
    n = len(contrast.differences)
    if contrast.sd is None or contrast.mean is None or n < LEAST_SEEDS or contrast.of == contrast.than:
        return None
    if contrast.same:
        return 0.0
    error = max(contrast.sd, 1e-9) / math.sqrt(n)
    if contrast.within is None:
        return 2 * tail(abs(contrast.mean) / error, n - 1)
    within = contrast.within - abs(contrast.mean)  # from the nearer limit; below zero beyond it
    return min(1.0, 2 * tail(abs(within) / error, n - 1))


@cache
def quantile(share: float, freedom: int) -> float:
    """Of Student's t distribution."""
    with needs("book"):
        from scipy.stats import t

    return float(t.ppf(share, freedom))


def tail(value: float, freedom: int) -> float:
    """The chance that Student's t is larger than ``value``."""
    with needs("book"):
        from scipy.stats import t

    return float(t.sf(value, freedom))


def last_metric(row: Row, budget: str) -> dict[int, float]:
    """``{seed: test metric at the last epoch}`` of a row's finished runs."""
    return {seed: run["metrics"][f"{row.metric}_last"] for seed, run in first_runs(row, budget).items()}


def first_runs(row: Row, budget: str) -> dict[int, dict]:
    """``{seed: record}`` of a row's finished runs; of a seed run twice, the first that ended."""
    runs = [run for run in records(row, budget) if run["status"] == "finished"]
    runs.sort(key=lambda run: run["provenance"].get("ended", ""), reverse=True)
    return {run["seed"]: run for run in runs}
