"""Every row of every paper in one table: reported, recounted, measured, judged, with links to its records.

The page is plain HTML and readable as it is; ``book/_static/results.js`` adds sorting and filters.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ...cost.printed import Printed
from ...papers.rows import BUDGETS, METRICS, OWN, TRIALS, Row, all_rows, paper_name
from ...runs.records import Run, records, superseded_lines
from ...system.paths import home
from .errata import NAMES
from .links import links
from .table import Line, recount, tone
from .verdict import judge

NONE = "–"
HEADS = (  # (group, heading, name of its filter)
    ("", "Row", ""), ("", "Paper", "Paper"), ("", "Network", ""),
    ("FLOPs", "reported", ""), ("FLOPs", "recounted", ""),
    ("Params", "reported", ""), ("Params", "recounted", ""), ("Counts", "verdict", "Counts"),
    ("Accuracy, %", "reported", ""), ("Accuracy, %", "best on test", ""), ("Accuracy, %", "selected", ""),
    ("Accuracy, %", "last", ""), ("Accuracy, %", "budget", "Budget"), ("Accuracy, %", "seeds", ""),
    ("Accuracy, %", "verdict", "Accuracy"), ("", "Record", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A text, the small print below it, and the number to sort by, if any."""

    text: str = NONE
    small: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Result:
    """One row, its recount, what was measured at the highest budget, and the records behind it."""

    line: Line
    runs: Sequence[dict]  # the finished records behind the figures
    files: Sequence[str]  # their paths below ``results/``

    def cells(self) -> list[Cell]:
        """One cell for each of ``HEADS``, except for the last, which holds the links."""
        line, row, accuracy = self.line, self.line.row, self.line.accuracy
        metric = next((name for name in METRICS if name in row.reported), row.metric)
        unit = "" if metric == "top1" else metric
        verdict = accuracy.verdict if metric in row.reported else NONE
        measured = [self._measured(protocol) for protocol in ("test_best", "selected", "last")]
        return [
            Cell(row.title, row.id), Cell(paper_name(row.id)), Cell(row.arch or NONE, row.dataset),
            _printed(row, "flops"), self._recounted("flops", row.rule),
            _printed(row, "params"), self._recounted("params"),
            Cell(line.count_verdict if row.reported else NONE, ", ".join(NAMES[name] for name in line.disagreements)),
            _printed(row, metric, unit), *measured, self._budget(),
            Cell(str(len(self.runs) or NONE), "", len(self.runs)), Cell(verdict),
        ]  # fmt: skip

    def _recounted(self, figure: str, rule: str = "") -> Cell:
        """The recount of the published spec; for rows of our own, the count of the network that was run."""
        line, cut = self.line, f"{figure}_cut"
        if line.row.reported and figure in line.counted:
            return Cell(f"{line.counted[figure]:,}", rule, line.counted[figure])
        if not line.row.reported:
            counts = {run["metrics"][figure] for run in self.runs}
            return Cell(f"{min(counts):,}", rule, min(counts)) if len(counts) == 1 else Cell()
        if cut in line.row.reported and (implied := line.implied(cut)) is not None:
            low, high = (f"{value:.1f}" for value in implied)
            return Cell(NONE, f"implies -{low}%" if low == high else f"implies -{low} to -{high}%")
        return Cell()

    def _measured(self, protocol: str) -> Cell:
        accuracy = self.line.accuracy
        if protocol not in (accuracy.mean or {}):
            return Cell()
        assert accuracy.mean is not None
        mean = accuracy.mean[protocol]
        return Cell(f"{mean:.2f}", f"± {accuracy.sd[protocol]:.2f}" if accuracy.sd else "", mean)

    def _budget(self) -> Cell:
        """The budget, and how much training that was: epochs times images, and the data if not the paper's."""
        if not self.runs:
            return Cell()
        budget, row = self.runs[0]["budget"], self.line.row
        recipe, data = self.runs[0]["recipe"], self.runs[0]["provenance"]["data"]
        epochs = f"{recipe['epochs']} epoch{'s' if recipe['epochs'] != 1 else ''}"
        other = f" of {data['name']}" if row.recipes[budget].data != row.data else ""
        return Cell(budget, f"{epochs} × {data['train']:,} images{other}", float(BUDGETS.index(budget)))

    def to_json(self) -> dict:
        return self.line.to_json() | {"paper": paper_name(self.line.row.id), "records": list(self.files)}


@dataclass(frozen=True)
class Results:
    results: Sequence[Result]

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        lines = [[cell.text for cell in result.cells()] + [str(len(result.files))] for result in self.results]
        return "\n".join("\t".join(line) for line in [[f"{group} {head}".strip() for group, head, _ in HEADS], *lines])

    def _repr_html_(self) -> str:
        """Every text is escaped; the table scrolls within its own box, also by keyboard."""
        spans = ""
        for group, heads in groupby(group for group, _, _ in HEADS):
            size = len(list(heads))
            spans += f'<th scope="colgroup" colspan="{size}">{group}</th>' if group else "<td></td>" * size
        filters = [f' data-filter="{how}"' if how else "" for _, _, how in HEADS]
        names = "".join(f'<th scope="col"{how}>{head}</th>' for (_, head, _), how in zip(HEADS, filters, strict=True))
        body, files = "".join(map(_row, self.results)), links(download="results")
        return (
            '<div class="prune-table prune-results prune-sort" tabindex="0" role="region" '
            'aria-label="Results of all rows"><table>'
            f"<caption>Every row of every paper: reported, recounted, measured, judged.{files}</caption>"
            f"<thead><tr>{spans}</tr><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def to_json(self) -> list[dict]:
        return [result.to_json() for result in self.results]


def load_results(paper: str = "", least: str = "short", among: Mapping[str, Row] | None = None) -> Results:
    """Every row of ``paper`` (default: of all), with its records of at least the budget ``least``.

    Reported rows come before our own, and within each kind rows with measurements first.
    """
    rows = all_rows() if among is None else among
    results = [_result(row, least) for row in rows.values() if row.id.startswith(f"{paper}/" if paper else "")]
    return Results(sorted(results, key=lambda r: (not r.line.row.reported, not r.runs, bool(r.line.row.unknown))))


def record_files() -> list[Path]:
    """The records that the results page may link to: those of every budget but ``TRIALS``, of the papers' rows."""
    folder = home() / "results"
    return [
        path
        for path in sorted(folder.rglob("*.json"))
        if not path.name.startswith((*(f"{budget}-" for budget in TRIALS), "."))
        and path.relative_to(folder).parts[0] != OWN
    ]


def _result(row: Row, least: str) -> Result:
    allowed = BUDGETS[BUDGETS.index(least) :]
    measured = [record for record in records(row) if record["budget"] in allowed] if row.method else []
    accuracy = judge(row.printed, row.tolerance, measured, row.metric)
    finished = [r for r in measured if r["status"] == "finished" and r["budget"] == accuracy.budget]
    runs = dict.fromkeys(Run(row, record["budget"], record["seed"]) for record in finished)
    files = [f"{row.runs}/{path.name}" for run in runs for path in run.files]
    counted = recount(row) if row.reported else {}  # for rows of our own, the counts are in the record
    return Result(Line(row, counted, accuracy, superseded=superseded_lines(row)), finished, files)


def _printed(row: Row, figure: str, unit: str = "") -> Cell:
    """A figure as the source prints it, with its cut below."""
    printed, cut = row.reported.get(figure), row.reported.get(f"{figure}_cut")
    value = Printed.read(printed).value if printed else None
    return Cell(printed or NONE, unit or (f"-{cut}" if cut else ""), value)


def _row(result: Result) -> str:
    row = result.line.row
    first, *others = result.cells()
    address = f'<small><a href="#{html.escape(first.small)}">{html.escape(first.small)}</a></small>'
    cells = f"<td>{html.escape(first.text)}{address}</td>" + "".join(map(_cell, others))
    behind = "<br>".join(_link(row, file) for file in result.files) or NONE
    behind += "".join(
        f"<details><summary>superseded</summary><small>{html.escape(words)}</small></details>"
        for words in result.line.superseded
    )
    of, name = "reported" if row.reported else "own", html.escape(row.id)
    return f'<tr id="{name}" data-source="{of}">{cells}<td>{behind}</td></tr>'


def _link(row: Row, file: str) -> str:
    """A link to a record, named by its seed; screen readers also hear the row."""
    run = Run.named(row, Path(file).name)
    assert run is not None
    address, of = html.escape(f"../results/{file}"), html.escape(row.id)
    return f'<a href="{address}">seed {run.seed}<span class="prune-hidden"> of {of}</span></a>'


def _cell(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    small = f"<small>{html.escape(cell.small)}</small>" if cell.small else ""
    return f"<td{tone(cell.text)}{value}>{html.escape(cell.text)}{small}</td>"
