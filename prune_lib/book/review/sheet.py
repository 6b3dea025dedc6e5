"""What stands on a paper's review sheet: claims, rows, recounts, errata, records, verdicts, and what was not tried.

Every figure comes from the paper's YAML, from recounting, or from records; what is trained as a trial, which any
machine leaves that builds the book, is in none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...papers.checklist import ITEMS
from ...papers.rows import COUNTS, TRIALS, Row, papers, table_title
from ...runs.records import Run, records
from ...system.errors import InputError, short
from ..tables.claims import claims_of
from ..tables.errata import Errata, Erratum, errata
from ..tables.results import load_results
from ..tables.table import Line, Table
from ..tables.verdict import NOT_ATTEMPTED

BORNE_OUT = "its own table bears it out"


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file of the book: a record, below ``results/``."""

    text: str
    to: str


Cell = str | Link


@dataclass(frozen=True)
class Part:
    """A table of a section, its first line headings, or a paragraph where it has no lines."""

    cells: Sequence[Sequence[Cell]] = ()
    text: str = ""  # under the table, or the paragraph itself


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Review:
    """A paper's review sheet, as data; ``page`` makes Markdown or HTML of it."""

    paper: str
    about: Mapping[str, str]  # title, short, authors, link
    sections: Sequence[Section]

    def to_json(self) -> dict:
        return asdict(self)


def review(paper: str) -> Review:
    """The review sheet of the paper called ``paper``, as ``dcff``.

    Raises:
        InputError: there is none, or a record is damaged.
    """
    if paper not in papers():
        raise InputError(f"unknown paper {short(paper)}; expected one of: {' '.join(papers())}")
    facts = _Facts(paper)
    sections = [
        Section("At a glance", _glance(facts)),
        Section("Claims", _claims(facts)),
        Section("Rows, recounted and judged", _rows(facts)),
        Section("Errata", _errata(facts)),
        Section("Records", _records(facts)),
        Section("Not tried", _not_tried(facts)),
        Section("Reproducibility checklist", _checklist(facts)),
    ]
    about = {name: str(facts.about[name]) for name in ("title", "short", "authors", "link")}
    return Review(paper, about, sections)


class _Facts:
    """What is known of one paper, read once."""

    def __init__(self, paper: str):
        document = papers()[paper]
        self.paper, self.about = paper, document["paper"]
        self.results = {result.line.row.id: result for result in load_results(paper).results}
        self.rows: list[Row] = [self.results[name].line.row for name in _in_order(paper, document)]
        self.reported = [row for row in self.rows if row.reported]
        self.records = {row.id: _finished(row) for row in self.rows}
        self.stated = document.get("claims") or []  # outside its tables
        self.errata = [entry for entry in errata().entries if self._is_mine(entry)]
        self.compared = claims_of(paper)

    def line(self, row: Row):
        return self.results[row.id].line

    def _is_mine(self, entry: Erratum) -> bool:
        """Whether an erratum is of a row of this paper, or of what it says outside its tables."""
        said = any(entry.where == claim["where"] and entry.printed.startswith(claim["text"]) for claim in self.stated)
        return said or any(name.startswith(f"{self.paper}/") for name in entry.where.split(" and "))

    @property
    def trained(self) -> list[Row]:
        """The reported rows that can be trained here."""
        return [row for row in self.reported if row.method]

    @property
    def all_records(self) -> list[dict]:
        return [record for of in self.records.values() for _, record in of]


def _in_order(paper: str, document: Mapping) -> Iterable[str]:
    return (f"{paper}/{table}/{row}" for table, of in document["tables"].items() for row in of["rows"])


def _finished(row: Row) -> list[tuple[str, dict]]:
    """``(path below results/, record)`` of a row's finished runs, those of smoke left out."""
    if not row.method:
        return []
    found: list[tuple[str, dict]] = []
    for record in records(row):
        if record["status"] == "finished" and record["budget"] not in TRIALS:
            files = Run(row, record["budget"], record["seed"]).files
            before = sum((r["budget"], r["seed"]) == (record["budget"], record["seed"]) for _, r in found)
            found.append((f"{row.runs}/{files[min(before, len(files) - 1)].name}" if files else "", record))
    return found


def _agreeing(lines: Sequence[Line], figures: Sequence[str]) -> str:
    """Of how many lines that print any of ``figures`` all that are printed come out."""
    judged = [[agrees for f in figures if (agrees := line.agrees(f)) is not None] for line in lines]
    return f"{sum(all(of) for of in judged if of)} of {sum(bool(of) for of in judged)}"


def _tally(words: Iterable[str]) -> str:
    """``3 exact, 1 not public``, in the order of appearance."""
    listed = list(words)
    return ", ".join(f"{listed.count(word)} {word}" for word in dict.fromkeys(listed)) or "none"


def _glance(facts: _Facts) -> list[Part]:
    counted = [facts.line(row) for row in facts.reported if {*COUNTS} & {*row.reported}]
    rebuilt = [line for line in counted if not line.row.unknown]
    computed = sum(entry.kind != "Read, not computed" for entry in facts.errata)
    cells: list[list[Cell]] = [
        ["What was looked at", "Found"],
        ["rows that it reports", str(len(facts.reported))],
        ["networks that can be rebuilt from what is published", f"{len(rebuilt)} of {len(counted)}"],
        ["of these, FLOPs that come out to every printed digit", _agreeing(rebuilt, ("flops",))],
        ["of these, all counts and cuts that are printed", _agreeing(rebuilt, COUNTS)],
        ["contradictions", f"{len(facts.errata)}, {computed} of them found by computing"],
        ["claims by comparison", _tally(claim.verdict for claim in facts.compared)],
        ["reported rows that can be trained here", f"{len(facts.trained)} of {len(facts.reported)}"],
        ["records of finished runs", _tally(record["budget"] for record in facts.all_records)],
        ["accuracies", _tally(facts.line(row).accuracy.verdict for row in facts.trained)],
    ]
    return [Part(cells)]


def _claims(facts: _Facts) -> list[Part]:
    parts = []
    if facts.compared:
        cells: list[list[Cell]] = [["Claim", "Where", "Contrast", "Difference", "Seeds", "Verdict"]]
        for claim in facts.compared:
            for number, contrast in enumerate(claim.contrasts):
                said = ("", "") if number else (claim.text, claim.source)
                seeds = str(len(contrast.seeds) or "–")
                cells.append([*said, contrast.title, contrast.shown, seeds, contrast.words()])
        parts.append(Part(cells, "By comparison, in our words. Differences of test accuracy at the last epoch, in "
                                 "percentage points, with 95 % intervals over paired seeds."))  # fmt: skip
    if facts.stated:
        wrong = {entry.printed: entry for entry in facts.errata}
        cells = [["Claim", "Where", "Verdict"]]
        for claim in facts.stated:
            found = next((entry for text, entry in wrong.items() if text.startswith(claim["text"])), None)
            cells.append([claim["text"], claim["where"], BORNE_OUT if found is None else found.found])
        parts.append(Part(cells, "Outside its tables, as it says it."))
    return parts or [Part(text="No claim of it is tested here.")]


def _rows(facts: _Facts) -> list[Part]:
    parts = []
    for name in dict.fromkeys(row.table for row in facts.reported):
        rows = [row for row in facts.reported if row.table == name]
        table = Table(name, [facts.line(row) for row in rows])
        sources = "; ".join(dict.fromkeys(row.source for row in rows))
        if any({*COUNTS} & {*row.reported} for row in rows):
            parts.append(Part(table.counts(), f"{table_title(name)}, from {sources}. {table.parts[0].caption}"))
        parts.append(Part(table.accuracies(), f"{table_title(name)}. {table.parts[1].caption}"))
    return parts or [Part(text="It reports no figures.")]


def _errata(facts: _Facts) -> list[Part]:
    if not facts.errata:
        return [Part(text="No contradiction was found.")]
    grids = Errata(facts.errata).grids
    return [Part(grid.cells, f"{grid.caption}.") for grid in grids]


def _records(facts: _Facts) -> list[Part]:
    cells: list[list[Cell]] = [
        ["Row", "Budget", "Seed", "Metric at the last epoch", "Minutes", "Ended", "Code", "Record"]
    ]
    for row in facts.rows:
        for file, record in facts.records[row.id]:
            origin, value = record["provenance"], record["metrics"].get(f"{row.metric}_last")
            cells.append([
                row.id.partition("/")[2], record["budget"], str(record["seed"]),
                "–" if value is None else f"{row.metric} {value:.2f}", f"{origin['wall_seconds'] / 60:.1f}",
                str(origin.get("ended", ""))[:10], str(origin["code"]), Link(Path(file).name, f"results/{file}"),
            ])  # fmt: skip
    if len(cells) == 1:
        return [Part(text="No run of its rows has left a record here, beyond trials on digits.")]
    return [Part(cells, "Finished runs, in percent; short and fast are no basis for a verdict on a reported figure.")]


def _not_tried(facts: _Facts) -> list[Part]:
    parts = []
    cells: list[list[Cell]] = [["Row", "Highest budget that was run", "The whole recipe"]]
    for row in facts.reported:
        accuracy = facts.line(row).accuracy
        if accuracy.verdict != NOT_ATTEMPTED:
            continue
        recipe = row.recipes.get("paper")
        whole = f"{recipe.epochs:,} epochs of {recipe.data}: not run" if recipe else row.why_not("paper")
        if recipe and (why := row.why_not("paper")):
            whole = f"{whole}; {why}"
        cells.append([f"{row.title} ({row.table.partition('/')[2]})", accuracy.budget or "–", whole])
    if len(cells) > 1:
        parts.append(Part(cells, "Reported rows whose accuracy nobody here has tried to reproduce in full."))
    untested = [
        [claim.text, contrast.title]
        for claim in facts.compared
        for contrast in claim.contrasts
        if contrast.mean is None
    ]
    if untested:
        parts.append(Part([["Claim", "Contrast"], *untested], "Contrasts without a pair of records."))
    return parts or [Part(text="Nothing is left.")]


def _checklist(facts: _Facts) -> list[Part]:
    from .answers import answers

    found = answers(facts)
    cells: list[list[Cell]] = [["", "Item", "In the source", "Here"]]
    group = ""
    for name, (of, question) in ITEMS.items():
        cells.append([of if of != group else "", question, *found[name]])
        group = of
    caption = (
        "The items of the Machine Learning Reproducibility Checklist, v2.0 (Pineau 2020), in our words. Of the source: "
        "what was found in its tables, its text and its code; not said is meant of the sources named with its rows."
    )
    return [Part(cells, caption)]
