"""A paper's table, reported | recounted | measured | verdict side by side, as text, HTML or JSON."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from ...cost.printed import Printed, prints_like
from ...papers.rows import BUDGETS, COUNTS, METRICS, TRIALS, Row, all_commands, table_rows
from ...runs.records import own_records, records, superseded_lines, unfinished
from ...system.errors import short
from ...system.words import to_words
from .links import links
from .verdict import EXACT, INCONSISTENT, NOT_PUBLIC, TONES, Accuracy, judge

LABEL = 80  # letters of a caption that name a table to a screen reader
SHOWN = 5  # runs with a user's own settings that a caption names
QUOTES = "\"'"
METRIC_NAMES = {"top1": "Top-1", "top5": "Top-5", "base_top1": "Full network's top-1"}


@dataclass(frozen=True)
class Line:
    """One row of the table: what was reported, what it recounts to, what was measured."""

    row: Row
    counted: dict  # exact counts under the row's rule, where known: params, flops, cuts, the full network's
    accuracy: Accuracy
    unfinished: Sequence[str] = ()  # runs that were started and did not finish, in words
    superseded: Sequence[str] = ()  # records that no longer count, in words
    own: Sequence[str] = ()  # finished runs with settings or widths of the user's own, in words
    elsewhere: Sequence[str] = ()  # files of trained weights that no row here made, and that its measured runs pruned

    def recounted(self, figure: str) -> str:
        """A recounted figure with as many digits as the paper prints, or two decimals if it prints none."""
        if figure not in self.counted:
            return "–"
        default = "1.00%" if figure.endswith("_cut") else "1.00M"
        return prints_like(self.counted[figure], self.row.reported.get(figure, default))

    def agrees(self, figure: str) -> bool | None:
        """Whether the recount prints as reported; ``None`` where nothing was reported or can be recounted.

        If the network is not public, a cut is compared with the reported figure over the recounted full network's: it
        agrees if some values that print like these two give it.
        """
        printed = self.row.reported.get(figure)
        if printed is None:
            return None
        if figure in self.counted:
            return self.recounted(figure) == printed
        if (implied := self.implied(figure)) is None:
            return None
        low, high = Printed.read(printed).range
        return low <= implied[1] and implied[0] <= high

    def implied(self, figure: str) -> tuple[float, float] | None:
        """The range of a cut, in percent, implied by the reported figure and the recounted full network."""
        part = figure.removesuffix("_cut")
        if part == figure or part not in self.row.reported or f"base_{part}" not in self.counted:
            return None
        low, high = Printed.read(self.row.reported[part]).range
        base = self.counted[f"base_{part}"]
        return 100 * (1 - high / base), 100 * (1 - low / base)

    @property
    def disagreements(self) -> list[str]:
        return [figure for figure in COUNTS if self.agrees(figure) is False]

    @property
    def epochs(self) -> str:
        """How far the budget ``fast`` went, ``24 of 300 epochs``, or nothing where another is shown."""
        budget, recipes = self.accuracy.budget, self.row.recipes
        if budget != "fast" or "paper" not in recipes:
            return ""
        return f"{recipes[budget].epochs} of {recipes['paper'].epochs} epochs"

    @property
    def reached(self) -> float | None:
        """Points by which ``fast``, best on test as in the papers, ends above the reported figure; else ``None``."""
        if not (self.epochs and self.row.printed and "test_best" in (self.accuracy.mean or {})):
            return None
        assert self.accuracy.mean is not None
        return self.accuracy.mean["test_best"] - Printed.read(self.row.printed).number

    @property
    def count_verdict(self) -> str:
        judged = [agrees for figure in COUNTS if (agrees := self.agrees(figure)) is not None]
        if not all(judged):
            return INCONSISTENT
        if self.row.unknown:
            return NOT_PUBLIC
        return EXACT if judged else "nothing reported"

    def to_json(self) -> dict:
        measured = self.accuracy
        return {
            "row": self.row.id,
            "title": self.row.title,
            "dataset": self.row.dataset,
            "source": self.row.source,
            "reported": dict(self.row.reported),
            "rule": self.row.rule,
            "recounted": self.counted,
            "count_verdict": self.count_verdict,
            "count_differs": self.disagreements,
            "budget": measured.budget,
            "epochs": self.epochs,
            "above_reported": self.reached,
            "seeds": list(measured.seeds),
            self.row.metric: measured.mean,
            f"{self.row.metric}_sd": measured.sd,
            "tolerance": self.row.tolerance,
            "verdict": measured.verdict,
            "unfinished": list(self.unfinished),
            "superseded": list(self.superseded),
            "own": list(self.own),
            "weights_from_elsewhere": list(self.elsewhere),
            "unknown": self.row.unknown,
            "note": self.row.note,
        }


@dataclass(frozen=True)
class Grid:
    """Cells, the first line of them headings, with a caption; shown as text, or as HTML in a notebook."""

    cells: Sequence[Sequence[str]]
    caption: str = ""
    prose: bool = False  # cells hold sentences, which wrap
    records: Sequence[Mapping] = ()  # what its figures come from, linked where the book serves them
    table: str = ""  # ``paper/table`` whose rows it shows, linked on the results page
    ids: Sequence[str] = ()  # what each line is called in an address, behind '#'; given, a reader can sort the lines
    filters: Sequence[str] = ()  # headings by whose cells a reader can choose lines
    download: str = ""  # the name of its files among ``downloads``

    def __str__(self) -> str:
        return f"{_text(self.cells)}\n\n{self.caption}".rstrip()

    def _repr_html_(self) -> str:
        """Every text is escaped, and a wide table scrolls within its own box."""
        style = (" prune-prose" if self.prose else "") + (" prune-sort" if self.ids else "")
        behind = links(self.records, self.table, self.download)
        return _html(self.cells, self.caption, style, behind, self.ids, self.filters)


@dataclass(frozen=True)
class Table:
    name: str
    lines: Sequence[Line]

    def counts(self) -> list[list[str]]:
        """Headings, then a line for each row: params and FLOPs as reported and as recounted."""
        shown = {"flops": "FLOPs", "params": "Params"}
        if any("base_flops" in line.row.reported for line in self.lines):
            shown["base_flops"] = "Full network's FLOPs"
        cells = [["Row", *(head for text in shown.values() for head in (f"{text} reported", "recounted")), "Verdict"]]
        for line in self.lines:
            printed, pairs = line.row.reported, []
            for part in shown:
                pairs += [_pair(printed.get(part), printed.get(f"{part}_cut")), _recount(line, part)]
            cells.append([line.row.title, *pairs, line.count_verdict])
        return cells

    def accuracies(self) -> list[list[str]]:
        """Headings, then a line for each row: accuracy as reported, and as measured by each protocol."""
        own = self.lines[0].row.metric
        metrics = [metric for metric in METRICS if any(metric in line.row.reported for line in self.lines)] or [own]
        heads = [f"{METRIC_NAMES.get(metric, metric)} reported" for metric in metrics]
        if not any(line.row.method for line in self.lines):  # these rows are not trained here
            return [["Row", *heads]] + [
                [line.row.title, *(line.row.reported.get(metric, "–") for metric in metrics)] for line in self.lines
            ]
        reached = ["Above reported"] if any(line.reached is not None for line in self.lines) else []
        cells = [["Row", *heads, "Best on test", *reached, "Selected", "Last", "Budget", "Seeds", "Verdict"]]
        for line in self.lines:
            accuracy = line.accuracy
            measured = [mean_sd(accuracy, protocol) for protocol in ("test_best", "selected", "last")]
            if reached:
                measured.insert(1, "–" if line.reached is None else f"{line.reached:+.2f}")
            seeds = ", ".join(map(str, accuracy.seeds)) or "–"
            printed = [line.row.reported.get(metric, "–") for metric in metrics]
            budget = f"{accuracy.budget or '–'}{f': {line.epochs}' if line.epochs else ''}"
            if accuracy.budget and (used := line.row.recipes[accuracy.budget].data) != line.row.data:
                budget = f"{budget} ({used})"  # not the paper's data, so not to be compared with its figure
            cells.append([line.row.title, *printed, *measured, budget, seeds, accuracy.verdict])
        return cells

    @property
    def parts(self) -> tuple[Grid, Grid]:
        """The two halves of the table: counts, and accuracies."""
        name = METRIC_NAMES.get(self.lines[0].row.metric, self.lines[0].row.metric).replace("Top", "top")
        rules = ", ".join(dict.fromkeys(line.row.rule for line in self.lines))
        first = (
            f"In percent. Measured: test {name} at the epoch best on test (the papers' protocol), at the epoch "
            "selected on held-out training images, and at the last. Only paper records are judged."
        )
        if not any(line.row.method for line in self.lines):
            first = "As reported; these rows are not trained here."
        return (
            Grid(
                self.counts(),
                f"FLOPs under the rule {rules}; in brackets the cut against the full network.",
                table=self.name,
            ),
            Grid(
                self.accuracies(),
                " ".join([first, *self._notes()]),
                table=self.name,
            ),
        )

    def _notes(self) -> list[str]:
        """What is to be known of the measured figures, and of runs that are in none of them."""

        def of(field: str) -> str:
            return "; ".join(f"{line.row.title}, {words}" for line in self.lines for words in getattr(line, field))

        notes = []
        if any(line.reached is not None for line in self.lines):
            notes.append(
                "Above reported: what so few epochs of the budget fast reached, best on test, less the reported "
                "figure; if more epochs do no harm, the whole recipe ends no further below it than that."
            )
        if given := of("elsewhere"):
            notes.append(
                f"Pruned from trained weights that no row here made: {given}. Whoever trained these may have seen the "
                "images that are held out here, and then the selected epoch is no better a choice than the last."
            )
        if begun := of("unfinished"):
            notes.append(f"Not finished, and in no figure: {begun}.")
        if old := of("superseded"):
            notes.append(f"In no figure either: {old}.")
        if own := [words for line in self.lines for words in line.own]:
            more = f" and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
            notes.append(f"Changed by the user, in no figure and not judged: {'; '.join(own[:SHOWN])}{more}.")
        return notes

    def __str__(self) -> str:
        return "\n\n".join(str(part) for part in self.parts)

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.parts)

    def to_json(self) -> dict:
        return {"table": self.name, "rows": [line.to_json() for line in self.lines]}


def load_table(name: str, among: Mapping[str, Row] | None = None) -> Table:
    """The table ``paper/table``, its rows recounted, with all of their records under ``results/``.

    Raises:
        InputError: there is no such table, or a record is damaged.
    """
    return Table(name, [load_line(row) for row in table_rows(name, among)])


def load_study(name: str) -> list[Line]:
    """Rows that are read against each other, and so all at one budget: that of the most rows, of several the highest.

    Rows without a finished run at it are left out; where no row was trained at more than a trial, all are.
    """
    lines = load_table(name).lines
    found = [
        [replace(line, accuracy=at) for line in lines if (at := _accuracy(line.row, records(line.row, budget))).mean]
        for budget in reversed(BUDGETS)
        if budget not in TRIALS
    ]
    return max(found, key=len)


def load_line(row: Row) -> Line:
    """One row, recounted, with all of its records under ``results/``.

    Raises:
        InputError: a record is damaged.
    """
    known = list(records(row) if row.method else ())
    begun = unfinished(row, known) if row.method else ()
    own = [own_words(row, record) for record in own_records(row)] if row.method else ()
    accuracy = _accuracy(row, known)
    return Line(row, recount(row), accuracy, begun, superseded_lines(row), own, _elsewhere(known, accuracy.budget))


def _elsewhere(runs: Iterable[dict], budget: str | None) -> list[str]:
    """Names of the files of weights, given by ``--weights``, that the finished runs of a budget pruned."""
    measured = [run for run in runs if run["status"] == "finished" and run["budget"] == budget]
    starts = [run.get("found", {}).get("start", {}) for run in measured]
    return sorted({str(start["weights"]) for start in starts if "weights" in start})


def _accuracy(row: Row, runs: Iterable[dict]) -> Accuracy:
    return judge(row.printed, row.tolerance, list(runs), row.metric)


def own_words(row: Row, record: dict) -> str:
    """A run that a user changed: ``VGG-16, lr=0.05 (short, seed 0): 93.20 at the last epoch``."""
    settings, figure = record.get("set") or {}, record["metrics"].get(f"{row.metric}_last")
    said = " ".join(to_words(settings)) if isinstance(settings, dict) and settings else "own widths"
    measured = f"{figure:.2f}" if isinstance(figure, int | float) else "–"
    return (
        f"{row.title}, {short(said).strip(QUOTES)} ({record['budget']}, seed {record['seed']}): {measured} at the last"
    )


def side_by_side(records: Mapping[str, dict], metric: str) -> Grid:
    """Records of several networks of one task: data, size, and ``metric`` by each protocol, a line for each name."""
    ways = {"test_best": "best on test", "selected": "selected", "last": "last"}
    heads = (f"{metric}, {way}" for way in ways.values())
    lines = [["Network", "Row", "Data", "Training", "Test", "Params", "FLOPs", *heads]]
    for name, record in records.items():
        data, metrics = record["provenance"]["data"], record["metrics"]
        figures = [metrics[f"{metric}_{protocol}"] for protocol in ways]
        lines.append([
            name, record["row"], data["name"], f"{data['train']:,}", f"{data['test']:,}",
            f"{metrics['params']:,}", f"{metrics['flops']:,}",
            *("–" if figure is None else f"{figure:.2f}" for figure in figures),
        ])  # fmt: skip
    budgets = sorted({f"{record['budget']} budget, seed {record['seed']}" for record in records.values()})
    return Grid(lines, f"In percent; {', '.join(budgets)}.", records=list(records.values()))


def commands(paper: str) -> Grid:
    """The commands that a paper's README publishes, beside ours, and in what they differ."""
    lines = [[command["published"], command["ours"], command["differs"]] for command in all_commands()[paper]]
    return Grid([["Published", "Here", "What differs"], *lines], "Commands of the README.", prose=True)


def export_grid(networks: Mapping[str, tuple], caption: str = "") -> Grid:
    """Write each network in every format of ``nets.export`` and read it back: MiB, and how far outputs differ.

    Args:
        networks: name -> the arguments of ``exports``: model, example inputs and, for one of this library's, about.
    """
    from ...nets.export import FORMATS, exports

    cells = [["Network", "Params", *(head for to in FORMATS for head in (f".{to}, MiB", "differs by")), "Batch"]]
    by: dict[str, str] = {}
    for name, given in networks.items():
        found = exports(*given)
        by |= {to: facts["checked_with"] for to, facts in found.items() if facts}
        pairs = [
            text
            for facts in found.values()
            for text in ((f"{facts['bytes'] / 2**20:.2f}", f"{facts['difference']:.1e}") if facts else ("–", "–"))
        ]
        batches = {str(facts["batch"]) for facts in found.values() if facts}
        cells.append([name, f"{sum(p.numel() for p in given[0].parameters()):,}", *pairs, ", ".join(sorted(batches))])
    readers = "; ".join(f"{to} by {reader}" for to, reader in by.items())
    return Grid(cells, f"{caption} Read back: {readers}.".strip())


@cache
def _cost(arch: str, widths: tuple[tuple[str, int], ...] | None, rule: str, layout: str) -> dict:
    from ...cost.counting import cost

    return cost(arch, None if widths is None else dict(widths), rule, layout).to_json()


def recount(row: Row, rule: str | None = None) -> dict:
    """All exact counts of a row, under its own rule or another, by their names in ``COUNTS``.

    If the widths are not public, only those of the full network; if this library does not have the network, none.
    """
    if not row.arch:
        return {}
    widths = tuple(row.widths.items()) if row.pruned and not row.unknown else None
    counted = _cost(row.arch, widths, rule or row.rule, row.layout)
    return {figure: counted[figure] for figure in COUNTS if not row.unknown or figure.startswith("base_")}


def mean_sd(accuracy: Accuracy, protocol: str) -> str:
    """Mean and deviation over the seeds, ``61.86 ± 0.48``, or ``61.52`` for a single one, by this protocol."""
    if protocol not in (accuracy.mean or {}):
        return "–"
    assert accuracy.mean is not None
    return f"{accuracy.mean[protocol]:.2f}" + (f" ± {accuracy.sd[protocol]:.2f}" if accuracy.sd else "")


def _text(cells: Sequence[Sequence[str]]) -> str:
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _html(
    cells: Sequence[Sequence[str]], caption: str, style: str = "", behind: str = "", ids: Sequence[str] = (),
    filters: Sequence[str] = (),
) -> str:  # fmt: skip
    """The table as HTML, in a box that scrolls, also by keyboard; ``behind`` is HTML after its caption."""
    chosen = {name: f' data-filter="{html.escape(name)}"' for name in filters}
    head = "".join(f'<th scope="col"{chosen.get(text, "")}>{html.escape(text)}</th>' for text in cells[0])
    names = [f' id="{html.escape(name)}"' for name in ids] or [""] * len(cells)
    body = "".join(
        f"<tr{name}>" + "".join(f"<td{tone(cell)}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for name, row in zip(names, cells[1:], strict=False)
    )
    label = html.escape(caption[:LABEL] or "Table")
    return (
        f'<div class="prune-table{style}" style="overflow-x:auto" tabindex="0" role="region" aria-label="{label}">'
        f"<table><caption>{html.escape(caption)}{behind}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _recount(line: Line, part: str) -> str:
    """``72.77M (76.83%)``; if the network is not public, the cut that the reported figure implies."""
    cut = f"{part}_cut"
    if part in line.counted:
        return _pair(line.recounted(part), line.recounted(cut) if cut in line.counted and line.row.pruned else None)
    if cut not in line.row.reported or (implied := line.implied(cut)) is None:
        return "–"
    low, high = (f"{value:.1f}" for value in implied)
    return f"– (implies {low}%)" if low == high else f"– (implies {low} to {high}%)"


def _pair(figure: str | None, cut: str | None) -> str:
    if figure is None:
        return f"– ({cut})" if cut else "–"
    return f"{figure} ({cut})" if cut else figure


def tone(cell: str) -> str:
    """The class attribute for the ``<td>`` of a verdict; empty for any other text."""
    return f' class="prune-{TONES[cell]}"' if cell in TONES else ""
