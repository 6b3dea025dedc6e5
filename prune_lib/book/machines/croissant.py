"""Rows and records as a data set: ``rows.csv``, ``records.csv``, and Croissant 1.1 that says what they hold.

Croissant (MLCommons) is JSON-LD that loaders of data sets read, and search engines.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...papers.rows import METRICS, Row, paper_name
from ...runs.records import rounded
from .citing import as_json, bibtex
from .project import Project

FORMAT = "http://mlcommons.org/croissant/1.1"
TEXT, WHOLE, NUMBER = "sc:Text", "sc:Integer", "sc:Float"  # a number that may be missing is a float


@dataclass(frozen=True)
class Column:
    name: str
    kind: str  # TEXT, WHOLE or NUMBER
    what: str


PRINTED = ("flops", "flops_cut", "params", "params_cut", "base_flops", "base_params", *METRICS)
PROTOCOLS = {"last": "the last epoch", "selected": "the epoch best on images held out from training",
             "test_best": "the epoch best on the test images, as the papers do"}  # fmt: skip
ROWS = [
    Column("row", TEXT, "Its name: paper/table/row."),
    Column("paper", TEXT, "The paper's short name."),
    Column("title", TEXT, "The network as the paper's table names it."),
    Column("dataset", TEXT, "What the reported metric is of."),
    Column("network", TEXT, "The network in this library; empty: it has none."),
    Column("rates", TEXT, "The pruning rates as published; empty: nothing is pruned, or they are not public."),
    Column("rule", TEXT, "The rule under which FLOPs are counted."),
    *(Column(f"reported_{name}", TEXT, f"{name} as printed.") for name in PRINTED),
    Column("recounted_flops", NUMBER, "FLOPs recounted under the rule."),
    Column("recounted_params", NUMBER, "Parameters recounted."),
    Column("count_verdict", TEXT, "What the recount says of the printed counts."),
    Column("budget", TEXT, "The highest budget that was run; empty: none was."),
    Column("seeds", WHOLE, "How many seeds were run at it."),
    *(Column(f"measured_{name}", NUMBER, f"Percent at {what}, mean over seeds.") for name, what in PROTOCOLS.items()),
    Column("tolerance", NUMBER, "Percentage points, fixed before anything was run."),
    Column("verdict", TEXT, "What the measured metric says of the reported one."),
    Column("source", TEXT, "Where the figures are printed."),
]
RECORDS = [
    Column("file", TEXT, "The record, below results/."),
    Column("sha256", TEXT, "Of that file."),
    Column("row", TEXT, "The row that was run."),
    Column("budget", TEXT, "How much training: short, fast or paper."),
    Column("seed", WHOLE, "The seed that everything random came from."),
    Column("key", TEXT, "A hash of what was trained."),
    Column("status", TEXT, "finished, diverged or failed."),
    Column("network", TEXT, "The network."),
    Column("method", TEXT, "The method's name."),
    Column("data", TEXT, "The image set."),
    Column("epochs", NUMBER, "Epochs of training."),
    Column("train_images", NUMBER, "Training images."),
    Column("rule", TEXT, "The rule under which FLOPs are counted."),
    Column("flops", NUMBER, "FLOPs of the network that was evaluated."),
    Column("params", NUMBER, "Parameters of it."),
    Column("metric", TEXT, "What it was judged by: top1, AP or mIoU."),
    *(Column(name, NUMBER, f"Percent of test images at {what}.") for name, what in PROTOCOLS.items()),
    Column("ended", TEXT, "When the run ended, ISO 8601."),
    Column("wall_seconds", NUMBER, "How long it took."),
    Column("hardware", TEXT, "The processor or card."),
    Column("precision", TEXT, "fp32, tf32, bf16 or fp16."),
    Column("code", TEXT, "The version of this library, with its commit."),
    Column("torch", TEXT, "The version of torch."),
]


def rows_csv(results: Iterable[Mapping], rows: Mapping[str, Row]) -> str:
    """One line for each row; ``results`` as ``prune results --json`` prints them."""
    lines = []
    for found in results:
        row = rows[found["row"]]
        measured = found.get(row.metric) or {}
        lines.append({
            "row": row.id, "paper": paper_name(row.id), "title": row.title, "dataset": row.dataset,
            "network": row.arch, "rates": row.rates, "rule": row.rule,
            **{f"reported_{name}": row.reported.get(name) for name in PRINTED},
            **{f"recounted_{name}": found["recounted"].get(name) for name in ("flops", "params")},
            "count_verdict": found["count_verdict"], "budget": found["budget"], "seeds": len(found["seeds"]),
            **{f"measured_{name}": measured.get(name) for name in PROTOCOLS},
            "tolerance": row.tolerance, "verdict": found["verdict"], "source": row.source,
        })  # fmt: skip
    return _csv(ROWS, lines)


def records_csv(records: Mapping[str, dict], folder: Path, rows: Mapping[str, Row]) -> str:
    """One line for each record; ``records`` is ``{path below folder: what it holds}``."""
    lines = []
    for path, record in records.items():
        origin, metrics, recipe = (record.get(name) or {} for name in ("provenance", "metrics", "recipe"))
        data, row = origin.get("data") or {}, rows.get(record.get("row", ""))
        metric = row.metric if row else ""
        lines.append({
            "file": path, "sha256": hashlib.sha256((folder / path).read_bytes()).hexdigest(),
            **{name: record.get(name) for name in ("row", "budget", "seed", "key", "status")},
            "network": record.get("arch"), "method": (record.get("method") or {}).get("name"),
            "data": data.get("name") or recipe.get("data"), "epochs": recipe.get("epochs"),
            "train_images": data.get("train"), **{name: metrics.get(name) for name in ("rule", "flops", "params")},
            "metric": metric, **{name: metrics.get(f"{metric}_{name}") for name in PROTOCOLS},
            "ended": origin.get("ended"), "wall_seconds": origin.get("wall_seconds"),
            "hardware": (origin.get("hardware") or {}).get("name"), "precision": origin.get("precision"),
            "code": origin.get("code"), "torch": (origin.get("versions") or {}).get("torch"),
        })  # fmt: skip
    return _csv(RECORDS, lines)


def _csv(columns: Sequence[Column], lines: Iterable[Mapping]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [column.name for column in columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(rounded, lines))
    return out.getvalue()


def croissant(project: Project, files: Mapping[str, str]) -> str:
    """``croissant.json``, which describes ``files``: ``{"rows.csv": its text, "records.csv": its text}``."""
    of_rows = "One line for each row of the papers' tables: reported, recounted, measured, judged."
    tables = {
        "rows": (ROWS, "row", of_rows),
        "records": (RECORDS, "file", "One line for each run that has a record."),
    }
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": FORMAT,
        "name": f"{project.name}-records",
        "description": f"{project.abstract} Rows and records of edition {project.edition}.",
        "license": project.license_address,
        "url": project.at() or "./",
        "version": project.version,
        "datePublished": project.published.isoformat(),
        "citeAs": bibtex(project),
        "creator": [{"@type": "sc:Organization", "name": name} for name in project.authors],
        "keywords": list(project.keywords),
        "distribution": [_file_object(name, files[f"{name}.csv"], about) for name, (_, _, about) in tables.items()],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": name, "name": name, "description": about,
                "key": {"@id": f"{name}/{key}"}, "field": [_field(name, column) for column in columns],
            }
            for name, (columns, key, about) in tables.items()
        ],
    }  # fmt: skip
    return as_json(document)


def _file_object(name: str, text: str, about: str) -> dict:
    data = text.encode()
    return {
        "@type": "cr:FileObject", "@id": f"{name}.csv", "name": f"{name}.csv", "description": about,
        "contentUrl": f"{name}.csv", "contentSize": f"{len(data)} B", "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def _field(table: str, column: Column) -> dict:
    field = {
        "@type": "cr:Field", "@id": f"{table}/{column.name}", "name": column.name, "description": column.what,
        "dataType": column.kind,
        "source": {"fileObject": {"@id": f"{table}.csv"}, "extract": {"column": column.name}},
    }  # fmt: skip
    if (table, column.name) == ("records", "row"):
        field["references"] = {"field": {"@id": "rows/row"}}
    return field


_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format "
    "includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}  # the terms of the specification, so that a reader needs no other file
