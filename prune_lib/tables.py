"""A paper's table laid side by side: reported | recounted | measured | verdict, as text, HTML or JSON."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .records import records
from .rows import Row, table_rows
from .verdict import INCONSISTENT, Accuracy, judge, prints_like

COUNTS = ("flops", "flops_cut", "params", "params_cut")


@dataclass(frozen=True)
class Line:
    """One row of the table: what was reported, what it recounts to, what was measured."""

    row: Row
    counted: dict  # params, flops and their cuts, exact, under the row's rule
    accuracy: Accuracy

    def recounted(self, figure: str) -> str:
        """A recounted figure as the paper would print it (with its own precision where the paper has none)."""
        value = self.counted[figure]
        default = "1.00%" if figure.endswith("_cut") else "1.00M"
        return prints_like(value, self.row.reported.get(figure, default))

    def agrees(self, figure: str) -> bool | None:
        """Whether the recount prints as reported; ``None`` where nothing was reported."""
        printed = self.row.reported.get(figure)
        return None if printed is None else self.recounted(figure) == printed

    @property
    def disagreements(self) -> list[str]:
        return [figure for figure in COUNTS if self.agrees(figure) is False]

    @property
    def count_verdict(self) -> str:
        if not self.row.reported:
            return "nothing reported"
        return INCONSISTENT if self.disagreements else "exact"

    def to_json(self) -> dict:
        measured = self.accuracy
        return {
            "row": self.row.id,
            "title": self.row.title,
            "source": self.row.source,
            "reported": dict(self.row.reported),
            "rule": self.row.rule,
            "recounted": self.counted,
            "count_verdict": self.count_verdict,
            "count_differs": self.disagreements,
            "budget": measured.budget,
            "seeds": list(measured.seeds),
            "top1": measured.mean,
            "top1_sd": measured.sd,
            "tolerance": self.row.tolerance,
            "verdict": measured.verdict,
            "note": self.row.note,
        }


@dataclass(frozen=True)
class Table:
    name: str
    lines: Sequence[Line]

    HEADINGS: ClassVar = (
        "Row", "FLOPs reported", "recounted", "Params reported", "recounted", "Counts",
        "Top-1 reported", "best on test", "selected", "last", "Budget", "Seeds", "Top-1 verdict",
    )  # fmt: skip

    def cells(self) -> list[list[str]]:
        """The table as text, a list of cells for each line."""
        rows = []
        for line in self.lines:
            printed, accuracy = line.row.reported, line.accuracy
            both = []
            for figure in ("flops", "params"):
                both += [_pair(printed.get(figure), printed.get(f"{figure}_cut"))]
                both += [_pair(line.recounted(figure), line.recounted(f"{figure}_cut"))]
            measured = [_mean_sd(accuracy, protocol) for protocol in ("test_best", "selected", "last")]
            seeds = " ".join(map(str, accuracy.seeds)) or "–"
            reported = [line.row.title, *both, line.count_verdict, printed.get("top1", "–")]
            rows.append([*reported, *measured, accuracy.budget or "–", seeds, accuracy.verdict])
        return rows

    def __str__(self) -> str:
        cells = [list(self.HEADINGS), *self.cells()]
        sizes = [max(len(row[i]) for row in cells) for i in range(len(self.HEADINGS))]
        text = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in cells]
        return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", self.caption])

    @property
    def caption(self) -> str:
        rules = " ".join(dict.fromkeys(line.row.rule for line in self.lines))
        return (
            f"FLOPs under the rule {rules}, cuts against the full network. Top-1 in percent on the test images: at the "
            "epoch best on test (the papers' protocol), at the epoch selected on held-out training images, and at the "
            "last epoch. Only paper records are judged."
        )

    def _repr_html_(self) -> str:
        """For notebooks; every text is escaped, and a wide table scrolls within its own box."""
        head = "".join(f"<th>{html.escape(text)}</th>" for text in self.HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td{_tone(cell)}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.cells()
        )
        caption = f"<caption>{html.escape(self.caption)}</caption>"
        return (
            f'<div class="prune-table" style="overflow-x:auto"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def to_json(self) -> dict:
        return {"table": self.name, "rows": [line.to_json() for line in self.lines]}


def load_table(name: str) -> Table:
    """The table ``paper/table`` with every row recounted now and every record found under ``results/``.

    Raises:
        InputError: no such table, or a damaged record.
    """
    from .cost import cost

    lines = []
    for row in table_rows(name):
        counted = cost(row.arch, row.rates, row.rule, row.layout).to_json()
        exact = {figure: counted[figure] for figure in (*COUNTS, "base_flops", "base_params")}
        accuracy = judge(row.reported.get("top1"), row.tolerance, list(records(row)))
        lines.append(Line(row, exact, accuracy))
    return Table(name, lines)


def _pair(figure: str | None, cut: str | None) -> str:
    return "–" if figure is None else f"{figure} ({cut})" if cut else figure


def _mean_sd(accuracy: Accuracy, protocol: str) -> str:
    if accuracy.mean is None:
        return "–"
    return f"{accuracy.mean[protocol]:.2f}" + (f" ± {accuracy.sd[protocol]:.2f}" if accuracy.sd else "")


def _tone(cell: str) -> str:
    tones = {"exact": "good", "reproduced": "good", "within noise": "fair", INCONSISTENT: "poor"}
    tones["not reproduced"] = "poor"
    return f' class="prune-{tones[cell]}"' if cell in tones else ""
