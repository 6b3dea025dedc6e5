"""The tables that the book opens with, as files: ``downloads/results.csv``, ``claims.json`` and so on."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import stdev

from ...papers.rows import METRICS
from ...runs.records import rounded
from ...system.files import write_text
from .claims import load_claims
from .leagues import LEAGUES, league
from .results import load_results

Lines = Sequence[Mapping[str, object]]


def results() -> tuple[Lines, object]:
    """Every row: as flat lines, and as ``Results.to_json``."""
    lines = []
    for result in load_results().results:
        line, row, accuracy = result.line, result.line.row, result.line.accuracy
        metric = next((name for name in METRICS if name in row.reported), row.metric)
        mean, sd = accuracy.mean or {}, accuracy.sd or {}
        lines.append({
            "row": row.id, "title": row.title, "network": row.arch, "dataset": row.dataset, "rule": row.rule,
            "flops_reported": row.reported.get("flops"), "flops_recounted": line.counted.get("flops"),
            "params_reported": row.reported.get("params"), "params_recounted": line.counted.get("params"),
            "counts": line.count_verdict if row.reported else None,
            "metric": metric, "reported": row.reported.get(metric), "budget": accuracy.budget,
            "seeds": " ".join(map(str, accuracy.seeds)),
            **{f"{when}{of}": figures.get(when) for when in ("test_best", "selected", "last")
               for of, figures in (("", mean), ("_sd", sd))},
            "verdict": accuracy.verdict, "records": " ".join(result.files),
        })  # fmt: skip
    return lines, load_results().to_json()


def claims() -> tuple[Lines, object]:
    """Every contrast of every claim: as flat lines, and as ``Claims.to_json``."""
    known = load_claims()
    lines = [
        {
            "claim": claim.id, "text": claim.text, "source": claim.source, "of": c.of, "than": c.than,
            "budget": c.budget, "seeds": " ".join(map(str, c.seeds)), "difference": c.mean, "half_interval": c.half,
            "p_holm": c.holm, "verdict": c.verdict, "claim_verdict": claim.verdict,
        }
        for claim in known.claims for c in claim.contrasts
    ]  # fmt: skip
    return lines, known.to_json()


def leagues() -> tuple[Lines, object]:
    """Every place of every league, best first; a place is flat, so both are the same."""
    lines = []
    for table in LEAGUES:
        for number, place in enumerate(league(table), 1):
            values = list(place.figures.values())
            lines.append({
                "league": table, "place": number, "row": place.row.id, "top1": place.mean,
                "sd": stdev(values) if len(values) > 1 else None, "seeds": " ".join(map(str, place.figures)),
                "against": place.against.than, "difference": place.against.mean, "half_interval": place.against.half,
                "verdict": place.against.verdict, "top1_before": place.before, "top1_recalibrated": place.recalibrated,
                "criterion_seconds": place.seconds,
            })  # fmt: skip
    return lines, lines


DOWNLOADS: dict[str, Callable[[], tuple[Lines, object]]] = {"results": results, "claims": claims, "league": leagues}


def write_downloads(folder: Path) -> list[Path]:
    """Write every table as CSV and as JSON into ``folder``, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in DOWNLOADS.items():
        lines, whole = map(rounded, make())
        for kind, text in (("csv", as_csv(lines)), ("json", json.dumps(whole, indent=1) + "\n")):
            written.append(folder / f"{name}.{kind}")
            write_text(written[-1], text)
    return written


def as_csv(lines: Lines) -> str:
    """Lines with the same fields as CSV with a heading; what is missing is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
