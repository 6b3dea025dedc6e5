"""Records on disk: append-only JSON under ``results/``, one file for a run, and what is said of runs that left none."""

import json
import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..papers.rows import BUDGETS, SCORES, Row
from ..system import lock
from ..system.errors import InputError, short
from ..system.paths import home
from ..system.reading import from_json, read_text

STATUSES = ("finished", "diverged", "failed")
BROWSER = "browser"  # the folder of what a browser saw of the book, which is no run: ``prune_lib.book.site.checks``


def records(row: Row | None = None, budget: str | None = None) -> Iterator[dict]:
    """The records under ``results/``, in the order of their names: of ``row`` or of all, at ``budget`` or at any.

    Records of a row that has since changed what it trains are left out: they belong to another key.
    """
    folder = home() / "results" / (row.runs if row else "")
    for path in sorted(folder.rglob("*.json")):
        if path.parent == home() / "results" / BROWSER:
            continue
        record = from_json(read_text(path), f"{path}: not a record")
        if wrong := wrong_with(record):
            raise InputError(f"{path}: not a record ({wrong})")
        assert isinstance(record, dict)
        if budget in (None, record["budget"]) and (row is None or record["key"] == row.key(record["budget"])):
            yield record


def find(row: Row, budget: str, seed: int) -> dict | None:
    """The finished record of this run, if there is one."""
    return next((r for r in records(row, budget) if r["seed"] == seed and r["status"] == "finished"), None)


def best_record(row: Row) -> dict | None:
    """The finished record of the highest budget there is, of its lowest seed."""
    finished = [r for r in records(row) if r["status"] == "finished"]
    return min(finished, key=lambda r: (-BUDGETS.index(r["budget"]), r["seed"]), default=None)


def run_folder(row: Row, budget: str, seed: int) -> Path:
    """Where a run keeps its state while it runs, and its compact networks afterwards."""
    return home() / "runs" / row.runs / f"{budget}-seed{seed}-{row.key(budget)}"


def append(row: Row, budget: str, seed: int, record: dict) -> dict:
    """Write a record under a name of its own and return what was written. It is there whole, or it is not there.

    An existing file is never touched: linking to its name fails. Processes take turns in a row's folder, and remove
    what one that died there left.

    Raises:
        OSError: a full or failing disk; nothing was written.
    """
    from ..system.checkpoint import sweep, sync, write_text

    folder = home() / "results" / row.runs
    stem = f"{budget}-seed{seed}-{row.key(budget)}"
    record = rounded(record)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    with lock.in_turn(home() / "runs" / row.runs):
        sweep(folder)
        new = folder / f".{stem}.{uuid.uuid4().hex}.new"
        try:
            write_text(new, text)
            for attempt in range(1, 1000):
                path = folder / (f"{stem}.json" if attempt == 1 else f"{stem}-{attempt}.json")
                try:
                    os.link(new, path)
                    break
                except FileExistsError:
                    continue
            else:
                raise InputError(f"{folder}: a thousand records of {stem}; expected one")
        finally:
            new.unlink(missing_ok=True)
        sync(folder)
    return record


def tidy(row: Row) -> None:
    """Remove what a process that died while it wrote a record of ``row`` has left beside it."""
    folder = home() / "results" / row.runs
    if any(folder.glob(".*.new")):
        from ..system.checkpoint import sweep

        with lock.in_turn(home() / "runs" / row.runs):
            sweep(folder)


def rounded(value):
    """Seven significant digits are all that float32 gives; NaN and infinities become null, which JSON has."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def wrong_with(record: object) -> str:
    """What is wrong with what a file of results holds, or nothing."""
    if not isinstance(record, dict):
        return f"found {type(record).__name__}; expected a mapping"
    kinds: dict = {"status": str, "budget": str, "key": str, "seed": int}
    if record.get("status") == "finished":
        kinds |= {"metrics": dict, "curves": dict, "networks": dict, "provenance": dict}
    found = record.get("found", {})
    if not isinstance(found, dict) or not isinstance(found.get("start", {}), dict):
        return f"found is {short(found)}; expected a mapping"
    for name, kind in kinds.items():
        if type(record.get(name)) is not kind:
            return f"{name} is {short(record[name])}; expected {kind.__name__}" if name in record else f"no {name}"
    for name, known in (("budget", BUDGETS), ("status", STATUSES)):
        if record[name] not in known:
            return f"its {name} is {short(record[name])}; expected one of: {' '.join(known)}"
    for name, value in record["metrics"].items() if record["status"] == "finished" else ():
        if name.rsplit("_", 1)[0].removeprefix("segm_") in SCORES and not 0 <= _number(value) <= 100:
            return f"{short(name)} is {short(value)}; expected percent"
    if record["status"] == "finished" and not all(isinstance(curve, list) for curve in record["curves"].values()):
        return "a curve is no list"
    return ""


def _number(value) -> float:
    return 0.0 if value is None else value if type(value) in (int, float) else math.nan


def unfinished(row: Row, found: list[dict] | None = None) -> list[str]:
    """Runs of ``row`` that were begun and have no finished record, in words: ``paper, seed 1: interrupted``.

    They ``diverged`` or ``failed``, as their records say, or are ``running``, or were ``interrupted``: their process is
    gone and left no word. None of them counts for anything.

    Args:
        found: the row's records, where they have been read already.
    """
    runs = list(records(row)) if found is None else found
    said = {
        (run["budget"], run["seed"]): run["status"] for run in sorted(runs, key=lambda r: r["status"] == "finished")
    }
    for folder in sorted((home() / "runs" / row.runs).glob("*-seed*-*")):
        budget, _, rest = folder.name.partition("-seed")
        seed, _, key = rest.partition("-")
        if budget not in row.recipes or key != row.key(budget) or not seed.isdecimal():
            continue
        if said.get((budget, int(seed))) != "finished" and (word := lock.status(folder)):
            said[budget, int(seed)] = word
    order = sorted(said.items(), key=lambda item: (BUDGETS.index(item[0][0]), item[0][1]))
    return [f"{budget}, seed {seed}: {word}" for (budget, seed), word in order if word != "finished"]
