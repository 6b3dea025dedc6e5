"""How a chapter opens: what its source claims, what was found here, and the verdicts, in ten lines at most.

Everything is computed from rows, claims and records when the page is made; trials count for nothing.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...papers.rows import BUDGETS, COUNTS, METRICS, TRIALS
from .claims import Claim, claims_of
from .contrasts import NOT_TESTED
from .errata import errata
from .table import METRIC_NAMES, Line, load_study, load_table, mean_sd
from .verdict import EXACT, NOT_PUBLIC

LINES = 10  # of all three parts together
ROWS = 3  # that a line names


@dataclass(frozen=True)
class Opening:
    """What was claimed, what was found, and the verdicts: each a few sentences, which may hold links as HTML."""

    claimed: Sequence[str]
    found: Sequence[str]
    verdict: Sequence[str]

    @property
    def parts(self) -> dict[str, Sequence[str]]:
        return {"Claimed": self.claimed, "Found": self.found, "Verdict": self.verdict}

    def __str__(self) -> str:
        return "\n".join(f"{name}: {' '.join(lines)}" for name, lines in self.parts.items())

    def _repr_html_(self) -> str:
        """Every text is escaped; the page it stands on is in the folder of the pages that it links to."""
        parts = ""
        for name, lines in self.parts.items():
            parts += f"<dt>{name}</dt><dd>{''.join(f'<p>{_linked(line)}</p>' for line in lines)}</dd>"
        return f'<div class="prune-opening"><dl>{parts}</dl></div>'


def opening(*tables: str, studies: Sequence[str] = (), claims: bool = False) -> Opening:
    """The opening of a chapter on these tables of one paper.

    Args:
        tables: ``paper/table``, whose rows the source reports.
        studies: tables of our own that this chapter trains.
        claims: whether the paper's claims by comparison belong to this chapter.

    Raises:
        InputError: there is no such table, or a record is damaged.
    """
    lines = [line for name in tables for line in load_table(name).lines]
    paper = tables[0].partition("/")[0]
    told = [claim for claim in claims_of(paper) if claim.verdict != NOT_TESTED] if claims else []
    claimed = [_claimed(lines), *(claim.text for claim in told[:1])]
    found = [_recounted(lines), *_contradictions(tables), *_measured(lines)]
    found += [said for study in studies if (said := _studied(study))]
    return Opening(claimed, found[: LINES - len(claimed) - 1 - bool(told)], _judged(lines, told))


def _linked(line: str) -> str:
    """A line as HTML, with links to the pages that it speaks of."""
    text = html.escape(line)
    for words, page in (("contradictions", "errata"), ("claims by comparison", "claims")):
        text = text.replace(words, f'<a href="{page}.html">{words}</a>', 1)
    return text


def _some(items: Sequence[str], of: str = "rows") -> str:
    left = len(items) - ROWS
    more = f"; and {left} more {of.removesuffix('s') if left == 1 else of}" if left > 0 else ""
    return "; ".join(items[:ROWS]) + more


def _claimed(lines: Sequence[Line]) -> str:
    """What rows report: ``VGG-16 93.47% top-1 at 72.77M FLOPs (76.8% fewer)``."""
    said = []
    for line in lines:
        row, printed = line.row, line.row.reported
        metric = next((name for name in METRICS if name in printed), "")
        name = METRIC_NAMES.get(metric, metric).replace("Top", "top")
        words = f"{row.title}:" + (f" {printed[metric]} {name}" if metric else "")
        if flops := printed.get("flops"):
            cut = f" ({printed['flops_cut']} fewer)" if "flops_cut" in printed else ""
            words += f"{' with' if metric else ''} {flops} FLOPs{cut}"
        said.append(words)
    return f"{_some(said)}."


def _recounted(lines: Sequence[Line]) -> str:
    counted = [line for line in lines if {*COUNTS} & {*line.row.reported}]
    verdicts = [line.count_verdict for line in counted]
    exact, hidden = verdicts.count(EXACT), verdicts.count(NOT_PUBLIC)
    rows = "row comes" if len(counted) == 1 else "rows come"
    said = f"Counted again, {exact} of {len(counted)} {rows} out to every printed digit"
    if hidden:
        said += f"; {hidden} of the networks {'is' if hidden == 1 else 'are'} not public"
    return f"{said}."


def _contradictions(tables: Sequence[str]) -> list[str]:
    mine = [e for e in errata().entries if any(f"{table}/" in f"{e.where}/" for table in tables)]
    return [f"{len(mine)} contradictions in what is printed."] if len(mine) > 1 else []


def _measured(lines: Iterable[Line]) -> list[str]:
    """What was trained, a sentence for each budget, the highest first: a short training is no basis for a verdict."""
    of: dict[str, list[str]] = {}
    for line in lines:
        if line.accuracy.mean and line.accuracy.budget:
            told = f"{line.row.title} {mean_sd(line.accuracy, 'test_best')}" + f" ({line.epochs})" * bool(line.epochs)
            of.setdefault(line.accuracy.budget, []).append(told)
    said = []
    for budget in (name for name in reversed(BUDGETS) if name in of and name not in TRIALS):
        rows = of[budget]
        warned = "" if budget == "paper" else ", which is no basis for a verdict"
        said.append(f"Trained at {budget}{warned}, best on test in percent: {_some(rows)}.")
    return said


def _studied(table: str) -> str:
    """What a study of our own gave at the last epoch: of pairs ``30 %, l1`` how often the paper's own is ahead."""
    if not (told := load_study(table)):
        return ""
    budget, own = told[0].accuracy.budget, table.partition("/")[0]
    last = {tuple(line.row.title.split(", ")): line.accuracy.mean["last"] for line in told if line.accuracy.mean}
    seeds = sorted({len(line.accuracy.seeds) for line in told})
    said = f"In our {table.partition('/')[2]} at {budget} ({' or '.join(map(str, seeds))} seed{'s' * (seeds != [1])})"
    if any(len(name) == 1 for name in last):
        rows = "; ".join(f"{line.row.title} {mean_sd(line.accuracy, 'last')}" for line in told)
        return f"{said}, last epoch in percent: {rows}."
    shares = [share for share, kind in last if kind == own]
    kinds = [kind for kind in dict.fromkeys(kind for _, kind in last) if kind != own]
    ahead = []
    for kind in kinds:
        both = [share for share in shares if (share, kind) in last]
        if both:
            ahead.append(f"of {kind} at {sum(last[s, own] > last[s, kind] for s in both)} of {len(both)}")
    return f"{said}, {own} ends ahead {', '.join(ahead)} shares pruned."


def _judged(lines: Sequence[Line], told: Sequence[Claim]) -> list[str]:
    counts = [line.count_verdict for line in lines if {*COUNTS} & {*line.row.reported}]
    accuracies = [line.accuracy.verdict for line in lines if line.row.printed]
    said = f"Counts: {_tally(counts)}."
    if accuracies:
        said += f" Accuracies: {_tally(accuracies)}."
    if not told:
        return [said]
    return [said, f"Of its claims by comparison, at equal recipe: {_tally(claim.verdict for claim in told)}."]


def _tally(words: Iterable[str]) -> str:
    """``3 exact, 1 not public``, in the order of appearance."""
    listed = list(words)
    return ", ".join(f"{listed.count(word)} {word}" for word in dict.fromkeys(listed)) or "none"
