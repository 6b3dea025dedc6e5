"""A paper's table laid side by side: reported | recounted | measured | verdict, as text, HTML or JSON."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

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

    def counts(self) -> list[list[str]]:
        """Headings, then one line each: params and FLOPs as reported and as recounted."""
        cells = [["Row", "FLOPs reported", "recounted", "Params reported", "recounted", "Verdict"]]
        for line in self.lines:
            printed, pairs = line.row.reported, []
            for figure in ("flops", "params"):
                pairs += [_pair(printed.get(figure), printed.get(f"{figure}_cut"))]
                pairs += [_pair(line.recounted(figure), line.recounted(f"{figure}_cut"))]
            cells.append([line.row.title, *pairs, line.count_verdict])
        return cells

    def accuracies(self) -> list[list[str]]:
        """Headings, then one line each: top-1 as reported and as measured by each protocol."""
        cells = [["Row", "Top-1 reported", "best on test", "selected", "last", "Budget", "Seeds", "Verdict"]]
        for line in self.lines:
            accuracy = line.accuracy
            measured = [_mean_sd(accuracy, protocol) for protocol in ("test_best", "selected", "last")]
            seeds = ", ".join(map(str, accuracy.seeds)) or "–"
            printed = line.row.reported.get("top1", "–")
            budget = accuracy.budget or "–"
            if accuracy.budget and (used := line.row.recipes[accuracy.budget].data) != line.row.recipes["paper"].data:
                budget = f"{budget} ({used})"  # other data than the paper's: not to be compared with its figure
            cells.append([line.row.title, printed, *measured, budget, seeds, accuracy.verdict])
        return cells

    @property
    def parts(self) -> list[tuple[list[list[str]], str]]:
        """The two halves of the table with their captions."""
        rules = ", ".join(dict.fromkeys(line.row.rule for line in self.lines))
        return [
            (self.counts(), f"FLOPs under the rule {rules}; in brackets the cut against the full network."),
            (
                self.accuracies(),
                "Test top-1 in percent at the epoch best on test (the papers' protocol), at the epoch selected on "
                "held-out training images, and at the last. Only paper records are judged.",
            ),
        ]

    def __str__(self) -> str:
        return "\n\n".join(f"{_text(cells)}\n\n{caption}" for cells, caption in self.parts)

    def _repr_html_(self) -> str:
        """For notebooks; every text is escaped, and a wide table scrolls within its own box."""
        return "".join(_html(cells, caption) for cells, caption in self.parts)

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


def _text(cells: list[list[str]]) -> str:
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _html(cells: list[list[str]], caption: str) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in cells[0])
    body = "".join(
        "<tr>" + "".join(f"<td{_tone(cell)}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells[1:]
    )
    return (
        f'<div class="prune-table" style="overflow-x:auto"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


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
