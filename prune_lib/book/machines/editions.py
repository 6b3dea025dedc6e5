"""Editions: what one of them holds, in a file, and what changed in verdicts, records and rows between two."""

import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...papers.rows import all_rows
from ...runs.records import CHECKS, rounded, wrong_with
from ...system.errors import InputError, short
from ...system.paths import home
from ...system.provenance import code_version
from ...system.reading import from_json, read_text
from ..tables.claims import load_claims
from ..tables.errata import errata
from ..tables.results import load_results, record_files
from .project import Project, read_project

FILE = "edition.json"
SCHEMA = 1
NOW = "now"  # the working tree as it is
NAME = re.compile(r"v(?P<numbers>\d+(\.\d+)*)(?P<rest>.*)")
PARTS = ("rows", "claims", "errata", "records")
VERDICTS = {"rows": ("count_verdict", "verdict"), "claims": ("verdict",)}
WORDS = {"count_verdict": "counts", "verdict": "accuracy"}
SECTIONS = ("verdicts", "rows", "measured", "claims", "errata", "records")
MEASURED = ("budget", "seeds", "mean", "sd")


def committed() -> dict[str, dict]:
    """``{path below results/: record}`` of what an edition publishes: no trials, nothing of a user's own.

    Raises:
        InputError: a damaged record.
    """
    base, found = home() / "results", {}
    for path in record_files():
        name = path.relative_to(base)
        if name.parts[0] in CHECKS:
            continue
        record = from_json(read_text(path), f"{path}: not a record")
        if wrong := wrong_with(record):
            raise InputError(f"{path}: not a record ({wrong})")
        assert isinstance(record, dict)
        found[name.as_posix()] = record
    return found


def snapshot(project: Project | None = None) -> dict:
    """What an edition is compared by: rows, claims, errata and records as they are now, as plain data."""
    project = project or read_project()
    rows = all_rows()
    claims = {
        claim["id"]: {
            "text": claim["text"], "verdict": claim["verdict"],
            "contrasts": {f"{c['of']} - {c['than']}": {"mean": c["mean"], "half_width": c["half_width"],
                                                      "seeds": list(c["seeds"]), "verdict": c["verdict"]}
                          for c in claim["contrasts"]},
        }
        for claim in load_claims().to_json()
    }  # fmt: skip
    found = {
        "schema": SCHEMA, "edition": project.edition, "version": project.version,
        "released": project.released.isoformat() if project.released else None, "code": code_version(home()),
        "rows": {line["row"]: _row(line, rows[line["row"]].metric) for line in load_results().to_json()},
        "claims": claims,
        "errata": {f"{e['where']}: {e['printed']} ({e['kind']})": {"found": e["found"]} for e in errata().to_json()},
        "records": {name: _record(name, record) for name, record in committed().items()},
    }  # fmt: skip
    return rounded(json.loads(json.dumps(found)))


def _row(line: Mapping, metric: str) -> dict:
    same = ("title", "reported", "rule", "recounted", "count_verdict", "tolerance", "budget", "seeds", "verdict")
    return {name: line[name] for name in same} | {"mean": line[metric], "sd": line[f"{metric}_sd"]}


def _record(name: str, record: Mapping) -> dict:
    sha = hashlib.sha256((home() / "results" / name).read_bytes()).hexdigest()
    return {"sha256": sha, **{field: record.get(field) for field in ("row", "budget", "seed", "status")}}


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    section: str  # one of SECTIONS
    name: str  # of a row, a claim, an erratum or a record
    what: str  # added, removed, or which of its fields changed
    before: object = None
    after: object = None

    def __str__(self) -> str:
        if self.what in ("added", "removed"):
            return f"{self.what}: {self.name}" + (f", {_said(self.after)}" if self.after is not None else "")
        return f"{self.name}, {self.what}: {_said(self.before)} -> {_said(self.after)}"


@dataclass(frozen=True)
class Changes:
    before: str
    after: str
    changes: Sequence[Change]

    def of(self, section: str) -> list[Change]:
        return [change for change in self.changes if change.section == section]

    @property
    def summary(self) -> str:
        """``2 verdicts, 12 records``, or that nothing changed."""
        counts = {section: len(self.of(section)) for section in SECTIONS}
        said = [f"{n} in {section}" for section, n in counts.items() if n]
        return f"{self.before} to {self.after}: " + (", ".join(said) or "nothing changed")

    def __str__(self) -> str:
        lines = [self.summary]
        for section in SECTIONS:
            if changes := self.of(section):
                lines += ["", section, *(f"  {change}" for change in changes)]
        return "\n".join(lines)

    def to_json(self) -> dict:
        return {"before": self.before, "after": self.after, "changes": [asdict(change) for change in self.changes]}

    def to_html(self) -> str:
        """A section with a table for each kind of change."""
        parts = [f"<p>{html.escape(self.summary)}.</p>"]
        for section in SECTIONS:
            if changes := self.of(section):
                label = html.escape(f"{section}, {self.before} to {self.after}")
                head = "".join(f'<th scope="col">{text}</th>' for text in ("Of", "What", "Before", "After"))
                body = "".join(
                    f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(change))}</tr>"
                    for change in changes
                )
                parts.append(
                    f'<h3>{section.capitalize()}</h3><div class="table prose" tabindex="0" role="region" '
                    f'aria-label="{label}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
                )
        return "".join(parts)


def _cells(change: Change) -> tuple[str, ...]:
    before, after = ("" if value is None else _said(value) for value in (change.before, change.after))
    return change.name, change.what, before, after


def _said(value: object) -> str:
    """A value in words: figures with two decimals, mappings without braces."""
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return "none" if value is None else str(value)


def compare(before: Mapping, after: Mapping) -> Changes:
    """What is not the same in two editions, each as ``snapshot`` makes it."""
    kinds: dict[str, Callable[[str, Mapping, Mapping], list[Change]]] = {
        "rows": _row_changes, "claims": _claim_changes, "errata": _field_changes("errata"),
        "records": _field_changes("records"),
    }  # fmt: skip
    changes: list[Change] = []
    for part, changed in kinds.items():
        old, new = before[part], after[part]
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in new:
                changes.append(Change(part, name, "removed"))
            elif name not in old:
                changes.append(Change(part, name, "added", None, _added(part, new[name])))
            elif old[name] != new[name]:
                changes += changed(name, old[name], new[name])
    order = {section: place for place, section in enumerate(SECTIONS)}
    return Changes(before["edition"], after["edition"], sorted(changes, key=lambda change: order[change.section]))


def _added(part: str, entry: Mapping) -> object:
    return {"rows": entry.get("count_verdict"), "records": entry.get("status")}.get(part, entry.get("verdict"))


def _row_changes(name: str, old: Mapping, new: Mapping) -> list[Change]:
    found = []
    for field in [*old, *(field for field in new if field not in old)]:
        if old.get(field) != new.get(field):
            section = "verdicts" if field in VERDICTS["rows"] else "measured" if field in MEASURED else "rows"
            found.append(Change(section, name, WORDS.get(field, field), old.get(field), new.get(field)))
    return found


def _claim_changes(name: str, old: Mapping, new: Mapping) -> list[Change]:
    found = []
    if old["verdict"] != new["verdict"]:
        found.append(Change("verdicts", f"claim {name}", "verdict", old["verdict"], new["verdict"]))
    if old["text"] != new["text"]:
        found.append(Change("claims", name, "text", old["text"], new["text"]))
    both = [*old["contrasts"], *(contrast for contrast in new["contrasts"] if contrast not in old["contrasts"])]
    for contrast in both:
        sides = [side["contrasts"].get(contrast) for side in (old, new)]
        if sides[0] != sides[1]:
            found.append(Change("claims", name, contrast, *(side and _contrast(side) for side in sides)))
    return found


def _contrast(side: Mapping) -> str:
    mean, half = side["mean"], side["half_width"]
    if mean is None:
        return "no runs"
    return f"{mean:+.2f}" + (f" ± {half:.2f}" if half is not None else "") + f" ({len(side['seeds'])} seeds)"


def _field_changes(section: str) -> Callable[[str, Mapping, Mapping], list[Change]]:
    def changed(name: str, old: Mapping, new: Mapping) -> list[Change]:
        fields = [*old, *(field for field in new if field not in old)]
        return [
            Change(section, name, field, old.get(field), new.get(field))
            for field in fields
            if old.get(field) != new.get(field)
        ]

    return changed


def read_edition(path: Path) -> dict:
    """An edition's file.

    Raises:
        InputError: it is not there, or is none.
    """
    path = path / FILE if path.is_dir() else path
    found = from_json(read_text(path), f"{path}: not an edition")
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or not isinstance(found.get("edition"), str):
        raise InputError(f"{path}: not an edition; expected JSON with schema {SCHEMA}, as 'make publish' writes it")
    for part in PARTS:
        entries = found.get(part)
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise InputError(f"{path}: not an edition ({part} is {short(entries)}; expected a mapping of mappings)")
    for name, claim in found["claims"].items():
        if not isinstance(claim.get("contrasts"), dict) or not {"text", "verdict"} <= set(claim):
            raise InputError(f"{path}: not an edition (claim {short(name)}; expected text, verdict and contrasts)")
        for contrast in claim["contrasts"].values():
            numbers = [contrast.get(field) for field in ("mean", "half_width")] if isinstance(contrast, dict) else [""]
            if not all(number is None or type(number) in (int, float) for number in numbers) or not isinstance(
                contrast.get("seeds"), list
            ):
                raise InputError(f"{path}: not an edition (a contrast of {short(name)} without figures and seeds)")
    return found


def site_folder() -> Path:
    """Where ``make publish`` puts editions, if it is told nothing else; ``make clean`` leaves it."""
    return home() / "site"


def listed(site: Path) -> list[str]:
    """The editions in a published folder, oldest first: by their numbers, a draft before what it becomes."""
    found = [path.name for path in site.glob("v*") if NAME.fullmatch(path.name) and (path / FILE).is_file()]
    return sorted(found, key=_turn)


def _turn(name: str) -> tuple:
    match = NAME.fullmatch(name)
    assert match is not None
    return tuple(map(int, match["numbers"].split("."))), not match["rest"], match["rest"]


def newest(editions: Sequence[str]) -> str:
    """The one that ``latest`` is: the newest that is no draft, or if all are drafts the newest of these."""
    return next((name for name in reversed(editions) if not name.endswith("-draft")), editions[-1])


def find_edition(name: str, site: Path | None = None) -> dict:
    """An edition by its name in a published folder, by a folder or file of it, or the working tree as ``now``.

    Raises:
        InputError: there is none; the message names those there are.
    """
    if name == NOW:
        return snapshot() | {"edition": NOW}
    site = site or site_folder()
    there = listed(site)
    if name == "latest" and there:
        return read_edition(site / newest(there))
    for called in (name, f"v{name}"):
        if called in there:
            return read_edition(site / called)
    if Path(name).exists():
        return read_edition(Path(name))
    known = " ".join([*there, *(["latest"] if there else []), NOW])
    raise InputError(f"no edition {short(name)} in {site}; expected one of: {known}, or a folder or file of one")
