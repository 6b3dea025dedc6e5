"""What a browser saw of the built book, kept as a record that the book shows: ``make test-browser``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...runs.records import rounded
from ...system.errors import InputError
from ...system.files import write_text
from ...system.paths import home
from ...system.provenance import code_version, now
from ...system.reading import from_json, read_text
from ..tables.table import Grid

PAGE = {  # what is noted about a page -> its heading; zero is best for all but the first two
    "pictures": "Pictures", "formulas": "Formulas", "undrawn": "undrawn, or no words", "unset": "not set",
    "outside": "Requests outside", "errors": "Errors in the console", "overflow": "Scrolls sideways by, px",
    "faint": "Texts too faint", "faults": "Faults by axe-core",
}  # fmt: skip
LATER = ("faults",)  # what records of earlier checks do not have
TOTALS = ("pictures", "formulas")


def checks_file() -> Path:
    return home() / "results" / "browser" / "checks.json"


def save_checks(pages: Sequence[Mapping], explorer: Mapping[str, float], browser: str) -> Path:
    """Replace the record of what a browser saw.

    Args:
        pages: for each page its name as ``page``, and the figures named in ``PAGE``.
        explorer: the control that was moved -> seconds until everything had followed.
        browser: its name and version.
    """
    record = {
        "command": "make test-browser", "browser": browser, "date": now(), "code": code_version(home()),
        "pages": list(pages), "explorer": dict(explorer),
    }  # fmt: skip
    path = checks_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(rounded(record), indent=1, allow_nan=False) + "\n")
    return path


def load_checks(part: str = "") -> tuple[Grid, Grid]:
    """The last walk through the book, page by page, and how fast the explorer followed; headings only if there is none.

    Args:
        part: only pages with this text in their name.

    Raises:
        InputError: the record is damaged.
    """
    path = checks_file()
    heads, moves = ["Page", "All well", *PAGE.values()], ["Moved", "Seconds"]
    if not path.exists():
        return Grid([heads], "No browser has looked at it yet: make test-browser."), Grid([moves])
    record = from_json(read_text(path), f"{path}: not a record of browser checks")
    if wrong := _wrong_with(record):
        raise InputError(f"{path}: not a record of browser checks ({wrong})")
    assert isinstance(record, dict)
    cells = [heads]
    for page in (page for page in record["pages"] if part in page["page"]):
        well = not any(page.get(name) for name in PAGE if name not in TOTALS)
        figures = [f"{page[name]:,}" if name in page else "–" for name in PAGE]
        cells.append([page["page"].split("/")[-1], "yes" if well else "no", *figures])
    by = f"{record['command']}, {record['browser']}, {record['date']}, code {record['code']}"
    moved = [moves, *([name, f"{seconds:.2f}"] for name, seconds in record["explorer"].items())]
    return Grid(cells, f"{by}; the record is results/browser/{path.name}."), Grid(
        moved, f"{by}. As the explorer itself says below each picture."
    )


def _wrong_with(record: object) -> str:
    """What is wrong with the contents of the file; empty if nothing is."""
    if not isinstance(record, dict):
        return "expected a mapping"
    kinds = {"command": str, "browser": str, "date": str, "code": str, "pages": list, "explorer": dict}
    for name, kind in kinds.items():
        if type(record.get(name)) is not kind:
            return f"{name}: expected {kind.__name__}"
    for page in record["pages"]:
        if not isinstance(page, dict) or type(page.get("page")) is not str:
            return "a page without a name"
        known = {name: page.get(name, 0) if name in LATER else page.get(name) for name in PAGE}
        if not all(type(number) is int and number >= 0 for number in known.values()):
            return f"{page['page']}: expected whole numbers from 0 for {' '.join(PAGE)}"
    if not all(type(seconds) in (int, float) for seconds in record["explorer"].values()):
        return "explorer: expected seconds"
    return ""
