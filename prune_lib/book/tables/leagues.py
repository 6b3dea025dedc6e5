"""Leagues: the rows of an arena table by what they reached; what test selection is worth; how a recipe was chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ...papers.rows import Row, table_rows
from ...runs.records import records
from .contrasts import CANNOT_TELL, NOT_TESTED, Contrast, first_runs, holm, last_metric, load_contrast, quantile
from .table import Grid, recount
from .verdict import SUPPORTED

LEAGUES = tuple(f"arena/{name}" for name in (
    "dense", "uniform50", "uniform30", "uniform70", "own50", "own30", "own70", "scratch50"
))  # fmt: skip


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


def baseline(table: str) -> Row:
    """What a league is held against: random filters, or where no filters are chosen the table's first row."""
    rows = table_rows(table)
    return next((row for row in rows if row.id == f"{table}/random"), rows[0])


def league(table: str, budget: str = "fast") -> list[Place]:
    """The rows of an arena table that have records, best first, each against the table's ``baseline``."""
    than = baseline(table).id
    rows = [row for row in table_rows(table) if last_metric(row, budget)]
    contrasts = holm([load_contrast({"of": row.id, "than": than}, budget) for row in rows])
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
            else f"{contrast.mean:+z.2f} ± {contrast.half:.2f}",
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


def tries_grid(table: str, budget: str = "fast") -> Grid:
    """The tries of a recipe, best on held-out images first: what differs, and the last epoch's figures in percent."""
    lines = []
    for row in table_rows(table):
        for seed, run in first_runs(row, budget).items():
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


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _span(values: Sequence[float]) -> str:
    """The least and the largest, or the one that they print as."""
    return "–".join(dict.fromkeys(f"{value:.1f}" for value in (min(values), max(values))))
