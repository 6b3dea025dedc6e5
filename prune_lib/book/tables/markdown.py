"""Tables that stand in the text of README and book, made from rows and records; what trials train is in none.

    python -m prune_lib.book.tables.markdown README.md book/index.md book/measured.md

writes each anew, between ``<!-- table: NAME -->`` and ``<!-- end -->``. NAME is one of ``TABLES``: a new kind of result
is a function that returns cells, and one line there.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ...cost.counters import POSTS
from ...cost.counting import rule_called
from ...papers.rows import COUNTS, TRIALS, papers
from ...runs.records import records
from ...system.errors import InputError
from ...system.paths import home
from ...system.reading import read_text
from .claims import verdicts
from .errata import errata
from .faults import faults
from .results import load_results
from .table import Line, load_study, load_table, mean_sd
from .verdict import EXACT, NOT_ATTEMPTED

Cells = Sequence[Sequence[str]]
MARKED = re.compile(r"<!-- table: (?P<name>\S+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)


def findings() -> Cells:
    """Paper by paper: rows that it reports, that can be rebuilt, that recount, that were trained, that were judged."""
    of: dict[str, list[Line]] = {}
    for result in load_results().results:
        if set(COUNTS) & set(result.line.row.reported):
            of.setdefault(result.line.row.id.partition("/")[0], []).append(result.line)
    names = {paper: papers()[paper]["paper"]["short"] for paper in of}
    whole = [line for lines in of.values() for line in lines]
    return [
        ["Paper", "Rows reported", "Can be rebuilt", "Recount to every digit", "Trained here", "Accuracy judged"]
    ] + [
        [
            name,
            str(len(lines)),
            str(sum(not line.row.unknown for line in lines)),
            str(sum(line.count_verdict == EXACT for line in lines)),
            str(sum(_told(line) for line in lines)),
            str(sum(line.accuracy.verdict != NOT_ATTEMPTED for line in lines)),
        ]
        for name, lines in [*((names[paper], lines) for paper, lines in of.items()), ("all", whole)]
    ]


def contradictions() -> Cells:
    """How many entries of each kind the errata have."""
    kinds = Counter(entry.kind for entry in errata().entries)
    return [["Contradiction in what is printed", "Times"]] + [[kind, str(n)] for kind, n in kinds.most_common()]


def counts(table: str) -> Cells:
    """FLOPs and parameters of a table's rows, as reported and as recounted; bold where the two differ."""
    lines = load_table(table).lines
    rule = lines[0].row.rule
    return [["Network", "FLOPs reported", f"recounted (`{rule}`)", "Params reported", "recounted"]] + [
        [line.row.title, *(cell for part in ("flops", "params") for cell in _both(line, part))] for line in lines
    ]


def _both(line: Line, part: str) -> tuple[str, str]:
    exact = f"{line.counted[part]:,}"
    return line.row.reported[part], exact if line.agrees(part) else f"{exact} (**{line.recounted(part)}**)"


def _told(line: Line) -> bool:
    """Whether there is a figure at more than a trial, whose records any machine leaves that builds the book."""
    return bool(line.accuracy.mean) and line.accuracy.budget not in TRIALS


def accuracies(table: str, protocol: str) -> Cells:
    """Metric of a table's rows at the highest budget that was run, mean and standard deviation over the seeds."""
    how = protocol.replace("_", " ")
    cells = [["Network", "Reported, %", f"{how}, %", "FLOPs", "Budget", "Epochs x images", "Seeds"]]
    for line in load_table(table).lines:
        row, measured = line.row, line.accuracy
        if not _told(line):
            continue
        runs = [run for run in records(row, measured.budget) if run["status"] == "finished"]
        flops = sum(run["metrics"]["flops"] for run in runs) / len(runs)
        much = {f"{run['recipe']['epochs']} x {run['provenance']['data']['train']:,}": None for run in runs}
        cells.append([
            row.title, row.reported.get(row.metric, "–").removesuffix("%"), mean_sd(measured, protocol),
            f"{flops / 1e6:.2f}M", str(measured.budget), ", ".join(much), ", ".join(map(str, measured.seeds)),
        ])  # fmt: skip
    return cells


def study(table: str) -> Cells:
    """Metric after training on, in percent: a line for each criterion, a column for each share that was pruned."""
    lines = load_study(table)
    pairs = {tuple(line.row.title.split(", ")): mean_sd(line.accuracy, "last") for line in lines}
    shares, kinds = (list(dict.fromkeys(pair[place] for pair in pairs)) for place in (0, 1))
    return [["Pruned", *shares]] + [[kind, *(pairs.get((share, kind), "–") for share in shares)] for kind in kinds]


SHOWN = ("resnet56", "vgg16", "torchvision/mobilenet_v2", "torchvision/vit_b_16", "torchvision/swin_t")


def counters() -> Cells:
    """What the field's counters print of a few networks, by running them; each release of thop by itself."""
    cells = [["Counter", *(name.removeprefix("torchvision/") for name in SHOWN)]]
    for name, _, figures in _counters():
        shown = [figures.get(network) for network in SHOWN]
        cells.append([name, *(f"{n / 1e6:,.2f}M" if isinstance(n, int) else "–" for n in shown)])
    return cells


def counters_mean() -> Cells:
    """By which rule each of these counts, and what that is."""
    of: dict[str, list[str]] = {}
    for name, rule, _ in _counters():
        of.setdefault(rule, []).append(name)
    return [["Counter", "What it counts"]] + [[", ".join(names), rule_called(rule).text] for rule, names in of.items()]


def _counters() -> Iterator[tuple[str, str, dict[str, int | str]]]:
    """``(counter, its rule, {network: figure})`` of every package, and of thop of every release."""
    for counter, versions in _counted().items():
        for number, figures in versions.items():
            rules = [rule for post, rule in POSTS.items() if counter == "thop" and number.startswith(post)]
            yield (f"thop {number}", rules[0], figures) if rules else (counter, counter, figures)


def _counted() -> dict[str, dict[str, dict[str, int | str]]]:
    return json.loads(read_text(home() / "benchmarks" / "counters.json"))


def counters_tested() -> Cells:
    """How many figures of packages our rules were compared with."""
    kept = _counted()
    numbers = [n for versions in kept.values() for figures in versions.values() for n in figures.values()]
    networks = {name for versions in kept.values() for figures in versions.values() for name in figures}
    return [
        ["What our rules were compared with", "Number"],
        ["networks", str(len(networks))],
        ["packages and releases", str(sum(len(versions) for versions in kept.values()))],
        ["figures that these print", str(sum(isinstance(n, int) for n in numbers))],
        ["networks that a package could not count", str(sum(isinstance(n, str) for n in numbers))],
    ]


TABLES: dict[str, Callable[[], Cells]] = {
    "findings": findings,
    "contradictions": contradictions,
    "dcff-counts": partial(counts, "dcff/cifar10"),
    "dcff-measured": partial(accuracies, "dcff/cifar10", "test_best"),
    "cdp-study": partial(study, "cdp/resnet20-study"),
    "cfdp-study": partial(study, "cfdp/resnet20-study"),
    "cfdp-resnet56": partial(study, "cfdp/resnet56-study"),
    "claims": verdicts,
    "counters": counters,
    "counters-mean": counters_mean,
    "counters-compared": counters_tested,
    "faults": faults,
    "filterexpo-study": partial(accuracies, "filterexpo/resnet20-study", "last"),
}


def markdown(cells: Cells) -> str:
    """Cells, the first line of them headings, as a table of Markdown; a bar in a cell is escaped."""
    lines = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in cells]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("---" for _ in cells[0]), *lines[1:]]) + "\n"


def rewritten(text: str, where: str = "") -> str:
    """The text with each marked table made anew.

    Raises:
        InputError: a table that ``TABLES`` does not have, or a marker without its end.
    """
    if text.count("<!-- table: ") != len(MARKED.findall(text)):
        raise InputError(f"{where}: a marked table has no end; expected '<!-- end -->' on a line below it")

    def made(match: re.Match) -> str:
        if match["name"] not in TABLES:
            raise InputError(f"{where}: unknown table {match['name']}; expected one of: {' '.join(TABLES)}")
        return f"<!-- table: {match['name']} -->\n{markdown(TABLES[match['name']]())}<!-- end -->"

    return MARKED.sub(made, text)


def main(files: Sequence[str]) -> int:
    """Write the marked tables of these files anew."""
    from ...system.files import write_text

    for name in files:
        path = Path(name)
        write_text(path, rewritten(read_text(path), name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
