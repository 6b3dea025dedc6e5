"""Contradictions within the papers' own figures, computed from the rows; only those marked *read* were typed in."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from ...cost.printed import Printed, prints_like
from ...papers.rows import COUNTS, Row, all_claims, all_rows
from ...system.errors import InputError
from .table import Grid, Line, load_table, recount

NAMES = {
    "flops": "FLOPs", "flops_cut": "FLOPs cut", "params": "params", "params_cut": "params cut", "top1": "top-1",
    "top5": "top-5", "base_flops": "full network's FLOPs", "base_params": "full network's params",
}  # fmt: skip


@dataclass(frozen=True)
class Erratum:
    kind: str
    where: str  # a row, or a place outside the tables
    printed: str
    found: str
    why: str = ""


@dataclass(frozen=True)
class Errata:
    entries: Sequence[Erratum]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def grids(self) -> list[Grid]:
        """One table for each kind, in the order of discovery."""
        return [
            Grid(
                [["Where", "Printed", "Found", "Why"]]
                + [[e.where, e.printed, e.found, e.why] for e in self.entries if e.kind == kind],
                kind,
                prose=True,
            )
            for kind in dict.fromkeys(entry.kind for entry in self.entries)
        ]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.grids))

    def _repr_html_(self) -> str:
        return "".join(grid._repr_html_() for grid in self.grids)

    def to_json(self) -> list[dict]:
        return [asdict(entry) for entry in self.entries]


def errata(rows: dict[str, Row] | None = None, claims: Sequence[dict] | None = None) -> Errata:
    """All contradictions in ``rows`` (default: those of all papers), and in ``claims`` made outside the tables."""
    rows = all_rows() if rows is None else rows
    tables = [load_table(name, rows) for name in dict.fromkeys(row.table for row in rows.values())]
    lines = {line.row.id: line for table in tables for line in table.lines}
    found = [entry for table in tables for line in table.lines for entry in _counts(line, table.lines)]
    found += [entry for table in tables for entry in _mixed_rules([line.row for line in table.lines])]
    found += _same_network(list(rows.values()))
    for claim in all_claims() if claims is None else claims:
        found += _claim(claim, lines)
    return Errata(found)


def _counts(line: Line, table: Sequence[Line]) -> Iterator[Erratum]:
    """Printed counts that do not follow from the row's own spec; ``table`` may have a row of the full network."""
    told = set()
    for figure in line.disagreements:
        printed = line.row.reported[figure]
        if figure in line.counted:
            exact, why = line.counted[figure], _why(line, figure, table)
            text = f"{exact:.2f}%" if figure.endswith("_cut") else f"{exact:,}"
            why = "see above" if why and why in told and why == line.row.note else why
            told.add(why)
            yield Erratum(
                "A count that its spec does not give", line.row.id, f"{NAMES[figure]} {printed}",
                f"{line.recounted(figure)} ({text})" if line.recounted(figure) != text else text, why,
            )  # fmt: skip
        elif implied := line.implied(figure):
            yield Erratum(
                "A cut that its own figures do not give", line.row.id, f"{NAMES[figure]} {printed}",
                f"{implied[0]:.1f} to {implied[1]:.1f}%",
                f"{line.row.reported[figure.removesuffix('_cut')]} of a full network of "
                f"{line.counted['base_' + figure.removesuffix('_cut')]:,}",
            )  # fmt: skip


def _why(line: Line, figure: str, table: Sequence[Line]) -> str:
    """What would explain the printed figure: truncation, another rule, a cut of rounded figures. A guess, no proof."""
    printed, exact = line.row.reported[figure], line.counted[figure]
    read = Printed.read(printed)
    if not figure.endswith("_cut"):
        if read.like(exact - 0.5 * (read.range[1] - read.range[0])) == printed:
            return "truncated where it should be rounded"
        if figure.endswith("flops"):
            others = [rule for rule in _rules() if prints_like(recount(line.row, rule)[figure], printed) == printed]
            if others:
                return f"prints so under {', '.join(others)}"
        return line.row.note
    part = figure.removesuffix("_cut")
    if part in line.row.reported:
        mine = Printed.read(line.row.reported[part])
        for base, how in _bases(line, part, mine, table):
            whole = base.value / mine.unit_value
            cut, share = 100 * (1 - mine.number / whole), f"1 - {mine.number:g} / {whole:g}{how}"
            if read.like(cut) == printed:
                return f"it is {share}, of figures that were rounded before"
            if read.like(cut - 0.5 * 10.0**-read.decimals) == printed:
                return f"it is {share}, truncated"
    if read.like(exact - 0.5 * 10.0**-read.decimals) == printed:
        return "truncated where it should be rounded"
    return line.row.note


def _bases(line: Line, part: str, mine: Printed, table: Sequence[Line]) -> Iterator[tuple[Printed, str]]:
    """What a cut may be of: the full network as its own row of the table prints it, and as it is counted."""
    for other in table:
        if other.row.arch == line.row.arch and not other.row.pruned and part in other.row.reported:
            yield Printed.read(other.row.reported[part]), " as printed"
    for rule in dict.fromkeys([line.row.rule, "macs"]):
        base = Printed.read(mine.like(recount(line.row, rule)[f"base_{part}"]))
        yield base, "" if rule == line.row.rule else f" (under {rule})"


def _rules() -> list[str]:
    from ...cost.counting import RULES

    return list(RULES)


def _mixed_rules(rows: list[Row]) -> Iterator[Erratum]:
    """Rows counted by another rule than most rows of their table."""
    rules = [row.rule for row in rows]
    usual = max(dict.fromkeys(rules), key=rules.count)
    for row in rows:
        if row.rule == usual or "flops" not in row.reported:
            continue
        figure = "base_flops" if row.unknown else "flops"
        mine, theirs = (recount(row, rule).get(figure) for rule in (row.rule, usual))
        if mine is None or theirs is None:
            continue
        told = "the full network has" if row.unknown else "the row has"
        yield Erratum(
            "Two counting rules in one table", row.id, f"FLOPs {row.reported['flops']} ({row.rule})",
            f"{told} {theirs:,} under {usual}", f"and {mine:,} under {row.rule}",
        )  # fmt: skip


def _same_network(rows: list[Row]) -> Iterator[Erratum]:
    """Networks that are printed with different figures in two places."""
    known = [row for row in rows if not row.unknown and row.reported]
    seen: set[str] = set()
    for first, second in combinations(known, 2):
        if first.table == second.table or first.arch != second.arch or first.widths != second.widths:
            continue
        differ = [
            f for f in first.reported if f in second.reported and not _agree(first.reported[f], second.reported[f])
        ]
        counts = any(figure in COUNTS for figure in differ)  # two papers may well train one network differently
        one_paper = first.id.split("/")[0] == second.id.split("/")[0]
        if not differ or second.id in seen or not (counts or one_paper):
            continue
        seen.add(second.id)
        printed, other = (", ".join(f"{NAMES.get(f, f)} {row.reported[f]}" for f in differ) for row in (first, second))
        rules = "" if first.rule == second.rule else f"FLOPs are counted by {first.rule} and {second.rule}"
        recipes = "top-1 from different trainings" if "top1" in differ else ""
        yield Erratum(
            "One network, two sets of figures", f"{first.id} and {second.id}", printed, other,
            "; ".join(part for part in (rules, recipes) if part),
        )  # fmt: skip


def _agree(first: str, second: str) -> bool:
    """Whether some value could be printed as both."""
    (a, b), (c, d) = Printed.read(first).range, Printed.read(second).range
    return a < d and c < b


def _claim(claim: dict, lines: dict[str, Line]) -> Iterator[Erratum]:
    """A claim outside the tables: no row has all of its figures, or reading showed it to be wrong."""
    if "finding" in claim:
        yield Erratum("Read, not computed", claim["where"], claim["text"], "does not hold", claim["finding"])
        return
    named = claim.get("row") or claim.get("table")
    rows = [line for name, line in lines.items() if name == named or name.rpartition("/")[0] == named]
    if not rows:
        raise InputError(f"claim {claim['text']!r}: no row or table {named!r}")
    holds = {figure: [line for line in rows if _has(line, figure, text)] for figure, text in claim["figures"].items()}
    if any(all(line in found for found in holds.values()) for line in rows):
        return
    parts = []
    for figure, found in holds.items():
        if found:
            where = ", ".join(line.row.title for line in found)
        elif len(rows) == 1:
            where = f"not {claim['figures'][figure]} but {_exactly(rows[0], figure)}"
        else:
            where = "in no row"
        parts.append(f"{NAMES[figure]}: {where}")
    figures = ", ".join(f"{NAMES[figure]} {text}" for figure, text in claim["figures"].items())
    why = "no row has all of them" if len(rows) > 1 else ""
    yield Erratum("A claim that its table does not bear out", claim["where"], f"{claim['text']} ({figures})",
                  "; ".join(parts), why)  # fmt: skip


def _has(line: Line, figure: str, text: str) -> bool:
    """Whether a row has this figure: its recount prints like it, or the row's own printed figure does."""
    if figure in line.counted and prints_like(line.counted[figure], text) == text:
        return True
    return figure in line.row.reported and prints_like(Printed.read(line.row.reported[figure]).value, text) == text


def _exactly(line: Line, figure: str) -> str:
    if figure in line.counted:
        value = line.counted[figure]
        return f"{value:.2f}%" if figure.endswith("_cut") else f"{value:,}"
    return line.row.reported.get(figure, "not printed")
