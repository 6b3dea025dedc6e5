"""The papers' comparative claims, judged: paired differences between records at one recipe, with intervals.

A contrast is the difference of two rows' test metric at the last epoch, seed by seed. Its interval is Student's t over
the seeds. The contrasts of one claim are judged together, corrected by Holm (1979): so the chance that any of them is
told apart where there is nothing to tell is 5 % for each claim, and not for all claims together. The intervals are of
one contrast each; where a claim has several, one whose interval leaves out zero may still be undecided.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from statistics import mean, stdev

from ...papers.rows import Row, get_row, papers, table_rows, table_short
from ...runs.records import records
from ...system.errors import InputError, needs
from ...system.reading import from_yaml
from .table import Grid, recount
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
        return f"{self.mean:+.2f}" + (f" ± {self.half:.2f}" if self.half is not None else "")

    def words(self) -> str:
        """The verdict with what goes with it: ``cannot tell (±0.52; about 4 more seeds)``."""
        if self.same and self.verdict != NOT_TESTED:
            return f"{self.verdict} (the same weights, bit for bit)"
        if self.verdict != CANNOT_TELL:
            return self.verdict
        more = f"; about {self.more_seeds} more seed{'s' * (self.more_seeds > 1)}" if self.more_seeds else ""
        return f"{CANNOT_TELL} (±{self.half:.2f}{more})"


@dataclass(frozen=True)
class Claim:
    id: str
    text: str
    source: str
    contrasts: tuple[Contrast, ...]

    @property
    def verdict(self) -> str:
        """Supported if every tested contrast is, contradicted if any is; else what cannot be told."""
        verdicts = {contrast.verdict for contrast in self.contrasts} - {NOT_TESTED}
        if not verdicts:
            return NOT_TESTED
        if CONTRADICTED in verdicts:
            return CONTRADICTED
        return SUPPORTED if verdicts == {SUPPORTED} else CANNOT_TELL


@dataclass(frozen=True)
class Claims:
    claims: Sequence[Claim]

    @property
    def contrasts(self) -> list[Contrast]:
        return [contrast for claim in self.claims for contrast in claim.contrasts]

    @property
    def grid(self) -> Grid:
        """A line for each claim, and its verdict."""
        cells = [["Claim", "Made by", "Contrasts with seeds enough", "Verdict"]]
        for claim in self.claims:
            tested = sum(contrast.verdict != NOT_TESTED for contrast in claim.contrasts)
            cells.append([claim.text, claim.source, f"{tested} of {len(claim.contrasts)}", claim.verdict])
        return Grid(
            cells,
            "What the papers claim by comparison, in our words, and what can be said of it at equal recipe.",
            prose=True, ids=[claim.id for claim in self.claims], filters=["Verdict"], download="claims",
        )  # fmt: skip

    @property
    def differences(self) -> Grid:
        """A line for each contrast: how much better one row is than the other, and what can be told of it."""
        cells, ids = [["Claim", "Contrast", "Difference", "Seeds", "p, by Holm", "Verdict", "Would decide"]], []
        for claim in self.claims:
            for number, contrast in enumerate(claim.contrasts, 1):
                more = contrast.more_seeds
                cells.append([
                    claim.id.replace("_", " "), contrast.title, contrast.shown, str(len(contrast.seeds) or "–"),
                    "–" if contrast.verdict == NOT_TESTED else f"{contrast.holm:.3f}", contrast.verdict,
                    f"about {more} more seed{'s' * (more > 1)}" if more else "–",
                ])  # fmt: skip
                ids.append(f"{claim.id}/{number}")
        tested = sum(contrast.verdict != NOT_TESTED for contrast in self.contrasts)
        return Grid(
            cells,
            "Differences of test top-1 at the last epoch, in percentage points, with 95 % intervals over paired seeds, "
            "each of one contrast alone; p and verdict are corrected by Holm over the contrasts of a claim. "
            f"{tested} contrasts have three seeds or more.",
            prose=True, ids=ids,
        )  # fmt: skip

    def __str__(self) -> str:
        """A paragraph for each claim: itself, where it is from, and a line for each contrast."""
        paragraphs = []
        for claim in self.claims:
            lines = [f"{claim.verdict.upper()}: {claim.text}", f"  {claim.source}"]
            lines += [f"  {c.title}: {c.shown} ({len(c.seeds)} seeds), {c.words()}" for c in claim.contrasts]
            paragraphs.append("\n".join(lines))
        return "\n\n".join([*paragraphs, self.differences.caption])

    def _repr_html_(self) -> str:
        return self.grid._repr_html_() + self.differences._repr_html_()

    def to_json(self) -> list[dict]:
        return [
            {
                "id": claim.id, "text": claim.text, "source": claim.source, "verdict": claim.verdict,
                "contrasts": [
                    asdict(c) | {"mean": c.mean, "half_width": c.half, "verdict": c.verdict} for c in claim.contrasts
                ],
            }
            for claim in self.claims
        ]  # fmt: skip


def load_claims(budget: str = "fast", text: str | None = None) -> Claims:
    """Every claim of ``papers/claims.yaml``, judged by the finished records of ``budget``.

    Args:
        text: other claims, as YAML.

    Raises:
        InputError: a claim that is not whole, or names a row that there is not.
    """
    return Claims([
        Claim(name, claim["text"], claim["source"], tuple(holm([_contrast(of, budget) for of in claim["contrasts"]])))
        for name, claim in _stated(text).items()
    ])  # fmt: skip


def claims_of(paper: str, budget: str = "fast") -> list[Claim]:
    """The claims that name a paper, as ``cdp``, as their source: by its short name, or by that before a colon."""
    about = papers()[paper]["paper"]
    names = {name for name in (about["short"], about["title"].partition(":")[0]) if len(name) < 20}
    told = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)))
    return [claim for claim in load_claims(budget).claims if told.search(claim.source)]


def _stated(text: str | None) -> dict:
    text = text or (files("prune_lib") / "papers" / "claims.yaml").read_text(encoding="utf-8")
    document = from_yaml(text, "claims.yaml")
    claims = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(claims, dict):
        raise InputError("claims.yaml: no claims in it; expected a mapping from names to claims")
    for name, claim in claims.items():
        if not isinstance(claim, dict) or set(claim) != {"text", "source", "contrasts"} or not claim["contrasts"]:
            raise InputError(f"claims.yaml, {name}: expected text, source and contrasts")
        for fields in claim["contrasts"]:
            if not isinstance(fields, dict) or not {"of", "than"} <= set(fields) <= {"of", "than", "within"}:
                raise InputError(f"claims.yaml, {name}: a contrast is {fields!r}; expected of, than and perhaps within")
    return claims


def _contrast(fields: Mapping, budget: str) -> Contrast:
    rows = get_row(fields["of"]), get_row(fields["than"])
    one, other = (last_metric(row, budget) for row in rows)
    seeds = tuple(sorted(one.keys() & other.keys()))
    ends = [_first(row, budget)[seed]["networks"].get("last", {}).get("sha256") for row in rows for seed in seeds]
    return Contrast(
        fields["of"], fields["than"], budget, fields.get("within"), seeds,
        differences=tuple(one[seed] - other[seed] for seed in seeds),
        same=rows[0] != rows[1] and None not in ends and ends[: len(seeds)] == ends[len(seeds) :] != [],
    )  # fmt: skip


def _first(row: Row, budget: str) -> dict[int, dict]:
    """``{seed: record}`` of a row's finished runs; of a seed run twice, the first that ended."""
    runs = [run for run in records(row, budget) if run["status"] == "finished"]
    runs.sort(key=lambda run: run["provenance"].get("ended", ""), reverse=True)
    return {run["seed"]: run for run in runs}


def last_metric(row: Row, budget: str) -> dict[int, float]:
    """``{seed: test metric at the last epoch}`` of a row's finished runs."""
    return {seed: run["metrics"][f"{row.metric}_last"] for seed, run in _first(row, budget).items()}


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


@dataclass(frozen=True)
class Place:
    """One row of the league: its mean over seeds, and what can be told between it and the league's baseline."""

    row: Row
    figures: dict[int, float]
    against: Contrast
    before: float | None  # test top-1 before training on, mean over seeds
    recalibrated: float | None  # and with BatchNorm's statistics taken anew
    seconds: float | None  # processor time of the criterion, mean over seeds
    macs: tuple[float, ...]  # of each run, as a share of the full network's

    @property
    def mean(self) -> float:
        return mean(self.figures.values())


LEAGUES = tuple(f"arena/{name}" for name in (
    "dense", "uniform50", "uniform30", "uniform70", "own50", "own30", "own70", "scratch50"
))  # fmt: skip


def baseline(table: str) -> Row:
    """What a league is held against: random filters, or where no filters are chosen the table's first row."""
    rows = table_rows(table)
    return next((row for row in rows if row.id == f"{table}/random"), rows[0])


def league(table: str, budget: str = "fast") -> list[Place]:
    """The rows of an arena table that have records, best first, each against the table's ``baseline``."""
    than = baseline(table).id
    rows = [row for row in table_rows(table) if last_metric(row, budget)]
    contrasts = holm([_contrast({"of": row.id, "than": than}, budget) for row in rows])
    places = []
    for row, contrast in zip(rows, contrasts, strict=True):
        runs = [run for run in records(row, budget) if run["status"] == "finished"]
        figures = {
            name: [run["metrics"].get(name) for run in runs] for name in ("top1_before", "top1_recalibrated")
        } | {"seconds": [run.get("found", {}).get("criterion_seconds") for run in runs]}
        means = {name: mean(values) if None not in values else None for name, values in figures.items()}
        places.append(
            Place(row, last_metric(row, budget), contrast, means["top1_before"], means["top1_recalibrated"],
                  means["seconds"], tuple(_share_of_macs(row, run) for run in runs))
        )  # fmt: skip
    return sorted(places, key=lambda place: -place.mean)


def _share_of_macs(row: Row, run: dict) -> float:
    """MACs of the compact network that a run left, as a share of the full one's."""
    metrics = run["metrics"]
    return (metrics.get("macs_slim") or metrics["flops"]) / recount(row, "macs")["base_flops"]


def verdicts(budget: str = "fast") -> Sequence[Sequence[str]]:
    """The claims that were tested, a line for each: where it is made, what was measured, and the verdict.

    A claim's contrasts stand below each other, those that are told in bold, and the table that all share before them.
    """
    cells = [["Claim", "Made by", "Measured here, points of top-1", "Verdict"]]
    for claim in load_claims(budget).claims:
        tested = [c for c in claim.contrasts if c.verdict != NOT_TESTED]
        if tested:
            tables = {get_row(row).table for c in tested for row in (c.of, c.than)}
            shared = [f"{table_short(tables.pop())}:"] if len(tables) == 1 else []
            lines = [_measured(c, c.rows if shared else c.title) for c in tested]
            cells.append([claim.text, claim.source, "<br>".join([*shared, *lines]), claim.verdict])
    return cells


def _measured(contrast: Contrast, title: str) -> str:
    """``L1 − random +0.33 ± 0.54``, the figure in bold where it is told."""
    shown = "the same weights" if contrast.same else contrast.shown.replace("-", "−")
    told = contrast.verdict in (SUPPORTED, CONTRADICTED)
    return f"{title.replace(' against ', ' − ')} {'**' * told}{shown}{'**' * told}"


def league_grid(table: str, budget: str = "fast") -> Grid:
    """The league as a table: mean and deviation, against its baseline, before training on, MACs, a criterion's cost."""
    from ...papers.criteria import CRITERIA

    base = baseline(table)
    cells = [["Row", "Top-1", "Seeds", f"Against {base.title}", "Told from it", "As pruned", "BatchNorm anew",
              "MACs, %", "Seconds", "Looks at"]]  # fmt: skip
    places = league(table, budget)
    for place in places:
        contrast, values = place.against, list(place.figures.values())
        told = {CANNOT_TELL: f"cannot be told from {base.title}", NOT_TESTED: "–"}.get(
            contrast.verdict, "better" if contrast.verdict == SUPPORTED else "worse"
        )
        name = place.row.method.get("criterion", place.row.method["name"])
        is_base = place.row.id == base.id
        cells.append([
            place.row.title, f"{place.mean:.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else ""),
            str(len(values)),
            "–" if is_base or contrast.mean is None or contrast.half is None
            else f"{contrast.mean:+.2f} ± {contrast.half:.2f}",
            "–" if is_base else told,
            _two(place.before), _two(place.recalibrated), _span([100 * share for share in place.macs]),
            _two(place.seconds),
            CRITERIA[name].needs if name in CRITERIA else "–",
        ])  # fmt: skip
    caption = (
        f"Test top-1 in percent at the last epoch, budget {budget}; differences with 95 % intervals over paired seeds, "
        "each of one row alone; what is told is corrected by Holm. MACs are of the full network's, over the seeds. "
        "Seconds are processor time of scoring."
    )
    return Grid(cells, caption, ids=[place.row.id for place in places], download="league")


def worth_of_test_selection(budget: str = "fast") -> Grid:
    """What "best epoch on the test set" adds to the last and to the selected epoch, over all runs of ``budget``."""
    runs = [
        run["metrics"] for run in records(budget=budget)
        if run["status"] == "finished" and run["metrics"].get("top1_selected") is not None
    ]  # fmt: skip
    cells = [["Best on test less", "Mean", "95 % interval", "Largest", "Runs"]]
    for name, text in (("last", "the last epoch"), ("selected", "the epoch selected on held-out images")):
        gains = [run["top1_test_best"] - run[f"top1_{name}"] for run in runs]
        if len(gains) < 2:
            continue
        half = quantile(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
        cells.append([text, f"{mean(gains):.3f}", f"±{half:.3f}", f"{max(gains):.2f}", str(len(gains))])
    return Grid(cells, f"Points of test top-1 that choosing the epoch by the test images adds; budget {budget}.")


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _span(values: Sequence[float]) -> str:
    """The least and the largest, or the one that they print as."""
    return "–".join(dict.fromkeys(f"{value:.1f}" for value in (min(values), max(values))))


def tries_grid(table: str, budget: str = "fast") -> Grid:
    """The tries of a recipe, best on held-out images first: what differs, and the last epoch's figures in percent."""
    lines = []
    for row in table_rows(table):
        for seed, run in _first(row, budget).items():
            heldout, test = (run["curves"][f"{split}_top1"][-1] for split in ("heldout", "test"))
            lines.append((heldout, [row.title, str(seed), str(run["recipe"]["epochs"]), f"{heldout:.2f}",
                                    f"{test:.2f}", f"{max(run['curves']['images_per_second']):,.0f}",
                                    run["provenance"]["hardware"]["name"]]))  # fmt: skip
    lines.sort(key=lambda line: -line[0])
    heads = ["Try", "Seed", "Epochs", "Held out", "Test", "Images a second, at most", "On"]
    return Grid(
        [heads, *(cells for _, cells in lines)],
        "A line for each run; the held-out images decided, and the test images did not.",
    )
