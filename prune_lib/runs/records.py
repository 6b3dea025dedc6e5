"""Records on disk: append-only JSON under ``results/``, a file for each run; what is known of runs that left none."""

import json
import math
import os
import re
import shlex
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..papers.rows import BUDGETS, METRICS, OWN, Row
from ..system import lock
from ..system.errors import InputError, short
from ..system.files import sweep, sync, write_text
from ..system.paths import home, shelves
from ..system.reading import from_json, read_text
from ..system.words import to_words

STEM = re.compile(r"(?P<budget>[a-z]+)-seed(?P<seed>\d{1,10})-(?P<key>[0-9a-f]{10})(?=$|[-.])", re.ASCII)
STATUSES = ("finished", "diverged", "failed")
CHECKS = ("browser", "injected")  # folders of what checks of the whole found, which is no run: ``prune_lib.book``


@dataclass(frozen=True)
class Run:
    """A row, trained once at a budget from a seed: ``row``, ``budget`` and ``seed`` name one training.

    Its ``stem``, ``short-seed0-2f848c0ae7``, names its folder under ``runs/`` and its files under ``results/``.
    """

    row: Row = field(hash=False)  # its key stands for it
    budget: str
    seed: int
    key: str = ""  # what was trained: ``Row.key``, or an earlier one of a run that is superseded

    def __post_init__(self):
        if not self.key:
            object.__setattr__(self, "key", self.row.key(self.budget))

    @classmethod
    def named(cls, row: Row, name: str) -> "Run | None":
        """The run of ``row`` whose folder or file has this name, if it is any: one of this row's keys, old or new."""
        if not (parts := STEM.match(name)) or parts["budget"] not in row.recipes:
            return None
        found = cls(row, parts["budget"], int(parts["seed"]), parts["key"])
        return found if found.key == row.key(found.budget) or found.superseded else None

    @property
    def stem(self) -> str:
        return f"{self.budget}-seed{self.seed}-{self.key}"

    @property
    def folder(self) -> Path:
        """Where it keeps its state while it runs, and its compact networks afterwards."""
        return home() / "runs" / self.row.runs / self.stem

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    def network(self, protocol: str) -> Path:
        """Where it leaves the compact network of the epoch that ``protocol`` names."""
        return self.folder / f"{protocol}.safetensors"

    def kept(self, protocol: str, root: Path | None = None) -> Path:
        """Where that network is when it is committed: beside the record."""
        return (root or home()) / "results" / self.row.runs / f"{self.stem}.{protocol}.safetensors"

    def weights(self, protocol: str) -> Path | None:
        """Where that network is, as the run left it or as it is committed; ``None``: neither is on this machine."""
        return next((path for path in (self.network(protocol), self.kept(protocol)) if path.is_file()), None)

    @property
    def files(self) -> list[Path]:
        """Its records: one, and one more for each time that it was run again or came to no good end."""
        folder = home() / "results" / self.row.runs
        return sorted(folder.glob(f"{self.stem}*.json"), key=_turn)

    @property
    def superseded(self) -> str:
        """Why it counts no longer, in words; empty: it does."""
        return self.row.earlier_keys(self.budget).get(self.key, "")

    @property
    def words(self) -> list[str]:
        """What is written after ``prune`` to run it."""
        words = ["run", self.row.of or self.row.id, "--budget", self.budget, "--seed", str(self.seed)]
        return words + (["--set", *to_words(self.row.settings)] if self.row.settings else [])

    @property
    def command(self) -> str:
        return shlex.join(["prune", *self.words]) + (" --units FILE" if self.row.given is not None else "")

    def __str__(self) -> str:
        return f"{self.row.called}, {self.budget}, seed {self.seed}"


def records(row: Row | None = None, budget: str | None = None) -> Iterator[dict]:
    """The records under ``results/``, in the order of their names: of ``row`` or of all, at ``budget`` or at any.

    Those that came with an installed package are among them; of two of the same name home's counts. Records of a row
    that has since changed what it trains are left out: they belong to another key. Those of rows that a user has
    changed are of these rows alone, and never among all.
    """
    for _, record in _read(row.runs if row else ""):
        mine = row is None or (record["budget"] in row.recipes and record["key"] == row.key(record["budget"]))
        if budget in (None, record["budget"]) and mine:
            yield record


def own_records(row: Row) -> list[dict]:
    """Finished records of what users made from ``row``: other settings or widths. They count for nothing else."""
    of = [record for _, record in _read(f"{OWN}/{row.id.replace('/', '-')}") if record["status"] == "finished"]
    return [record for record in of if record.get("of") == row.id]


def _read(folder: str) -> Iterator[tuple[Path, dict]]:
    """Each file of records below ``folder``, or everywhere but in users' own rows, and what it holds."""
    found = {
        path.relative_to(shelf): path for shelf in reversed(shelves()) for path in (shelf / folder).rglob("*.json")
    }
    for name, path in sorted(found.items()):
        if name.parts[0] in CHECKS or (name.parts[0] == OWN and not folder):
            continue
        record = from_json(read_text(path), f"{path}: not a record")
        if wrong := wrong_with(record):
            raise InputError(f"{path}: not a record ({wrong})")
        assert isinstance(record, dict)
        yield path, record


def find(run: Run) -> dict | None:
    """The finished record of this run, if there is one: the first that ended."""
    return made[1] if (made := find_file(run)) else None


def find_file(run: Run) -> tuple[Path, dict] | None:
    """The same, and the file that it is in."""
    named = (run.budget, run.seed, run.key, "finished")
    of = [(path, r) for path, r in _read(run.row.runs) if (r["budget"], r["seed"], r["key"], r["status"]) == named]
    return min(of, key=lambda made: (str(made[1]["provenance"].get("ended", "")), _turn(made[0])), default=None)


def _turn(path: Path) -> tuple[int, str]:
    """In what order records of one name were written: ``x.json``, ``x-2.json``, …, ``x-10.json``."""
    return len(path.name), path.name


def superseded(row: Row) -> dict[str, list[dict]]:
    """Finished records of ``row`` that count no longer, by why: ``{why: records}``."""
    by_reason: dict[str, list[dict]] = {}
    for _, record in _read(row.runs):
        if record["budget"] in row.recipes and record["status"] == "finished":
            why = row.earlier_keys(record["budget"]).get(record["key"])
            by_reason.setdefault(why, []).append(record) if why else None
    return by_reason


def superseded_lines(row: Row) -> list[str]:
    """The same in words: ``superseded: 2 records from before 2026-11-27: the linear layer was …``."""
    return [f"superseded: {len(of)} record{'s' * (len(of) > 1)}, {why}" for why, of in superseded(row).items()]


def best_record(row: Row) -> dict | None:
    """The finished record of the highest budget there is, of its lowest seed."""
    finished = [r for r in records(row) if r["status"] == "finished"]
    return min(finished, key=lambda r: (-BUDGETS.index(r["budget"]), r["seed"]), default=None)


def append(run: Run, record: dict) -> dict:
    """Write a record under a name of its own and return what was written. It is there whole, or it is not there.

    An existing file is never touched: linking to its name fails. Processes take turns in a row's folder, and remove
    what one that died there left.

    Raises:
        OSError: a full or failing disk; nothing was written.
    """
    folder = home() / "results" / run.row.runs
    stem, record = run.stem, rounded(record)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    with lock.in_turn(home() / "runs" / run.row.runs):
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
    chosen = record.get("found", {})
    if not isinstance(chosen, dict) or not isinstance(chosen.get("start", {}), dict):
        return f"found is {short(chosen)}; expected a mapping"
    for name, kind in kinds.items():
        if type(record.get(name)) is not kind:
            return f"{name} is {short(record[name])}; expected {kind.__name__}" if name in record else f"no {name}"
    for name, known in (("budget", BUDGETS), ("status", STATUSES)):
        if record[name] not in known:
            return f"its {name} is {short(record[name])}; expected one of: {' '.join(known)}"
    for name, value in record["metrics"].items() if record["status"] == "finished" else ():
        if name.rsplit("_", 1)[0].removeprefix("segm_") in METRICS and not 0 <= _number(value) <= 100:
            return f"{short(name)} is {short(value)}; expected percent"
    if record["status"] == "finished" and not all(isinstance(curve, list) for curve in record["curves"].values()):
        return "a curve is no list"
    return ""


def _number(value) -> float:
    return 0.0 if value is None else value if type(value) in (int, float) else math.nan


def unfinished(row: Row, known: list[dict] | None = None) -> list[str]:
    """Runs of ``row`` that were begun and have no finished record, in words: ``paper, seed 1: interrupted``.

    They ``diverged`` or ``failed``, as their records say, or are ``running``, or were ``interrupted``: their process is
    gone and left no word. None of them counts for anything.

    Args:
        known: the row's records, where they have been read already.
    """
    ended = sorted(records(row) if known is None else known, key=lambda record: record["status"] == "finished")
    said = {(record["budget"], record["seed"]): record["status"] for record in ended}
    for folder in sorted((home() / "runs" / row.runs).glob("*-seed*-*")):
        run = Run.named(row, folder.name)
        if run is None or run.superseded or said.get((run.budget, run.seed)) == "finished":
            continue
        if word := lock.status(folder):
            said[run.budget, run.seed] = word
    order = sorted(said.items(), key=lambda item: (BUDGETS.index(item[0][0]), item[0][1]))
    return [f"{budget}, seed {seed}: {word}" for (budget, seed), word in order if word != "finished"]
