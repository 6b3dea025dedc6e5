"""How many faults the tests injected, kept as a record that the book shows: ``make faults``, longer ``make soak``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...system.errors import InputError
from ...system.files import write_text
from ...system.paths import home
from ...system.provenance import code_version, now
from ...system.reading import from_json, read_text

FAULTS = {  # kind of fault, as tests/faults count them -> what is done, and what must hold after it
    "kills": (
        "a run is killed at a moment drawn by chance, and started again",
        "the same weights and figures, bit for bit, as of a run that nothing happened to; nothing left over",
    ),
    "kills of one of two": ("one of two processes of a run is killed", "the other ends; then the same weights"),
    "ended queues": ("a queue is told to end", "its runs end with it and can be gone on with"),
    "resumes elsewhere": ("a run goes on with another device, precision or torch", "it ends, and its record says so"),
    "jumps of the clock": ("the time of day jumps back and ahead", "the same weights"),
    "damaged states": (
        "a state file is cut short, or bits of it turn",
        "it is seen, said, and the state before is used",
    ),
    "failing disks": ("the disk is full or fails at one request", "one line; what was there before is whole"),
    "processes at once": ("processes write one row's records at once", "every record is there, whole and once"),
    "malformed inputs": ("rates, tables, files or options that are wrong", "one line that says what would be right"),
    "generated inputs": ("the same, made by a generator", "read, or refused in one line"),
    "hostile files and names": ("files and names made to do harm", "one line; nothing runs, nothing is written"),
}


def faults_file() -> Path:
    return home() / "results" / "injected" / "checks.json"


def save_faults(injected: Mapping[str, int], broken: int, command: str) -> Path:
    """Replace the record of the faults that ``command`` injected.

    Args:
        injected: how many of each kind of ``FAULTS`` were injected by the tests that passed.
        broken: how many tests failed.
    """
    record = {"command": command, "date": now(), "code": code_version(home()), "broken": broken, "injected": injected}
    path = faults_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=1) + "\n")
    return path


def faults() -> Sequence[Sequence[str]]:
    """The faults that were injected last, a line for each kind; only headings if none were.

    Raises:
        InputError: the record is damaged.
    """
    cells = [["What is done", "Times", "What must hold, and held"]]
    path = faults_file()
    if not path.exists():
        return cells
    record = from_json(read_text(path), f"{path}: not a record of faults")
    held = record if isinstance(record, dict) else {}
    injected, broken = held.get("injected"), held.get("broken")
    if not isinstance(injected, dict) or not all(type(number) is int for number in (broken, *injected.values())):
        raise InputError(f"{path}: not a record of faults (injected, broken: expected whole numbers)")
    done = [[FAULTS[kind][0], f"{injected[kind]:,}", FAULTS[kind][1]] for kind in FAULTS if kind in injected]
    return [*cells, *done, ["all of them", f"{sum(injected.values()):,}", f"failed tests: {broken}"]]
