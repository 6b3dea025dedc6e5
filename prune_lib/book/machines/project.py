"""What the project says of itself, once: ``pyproject.toml``, the dates in ``CHANGELOG.md``, the papers' own YAML."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from ...papers.rows import papers
from ...system.errors import InputError, short
from ...system.paths import home
from ...system.reading import read_text

OWN = {"title": str, "abstract": str, "message": str, "begun": date, "address": str, "repository": str}
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\] - (?P<when>.+?)\s*$", re.MULTILINE)
FIELD = re.compile(r"^ *(?P<name>author|year) = \{(?P<text>.*)\},?$", re.MULTILINE)


@dataclass(frozen=True)
class Paper:
    """A paper whose rows the book has."""

    id: str
    title: str
    authors: Sequence[tuple[str, str]]  # (family name, given name) in order; a group has no given name
    link: str  # an address, also of an arXiv number
    year: int

    @property
    def doi(self) -> str:
        """Its DOI; empty: none is known."""
        arxiv = self.link.removeprefix("https://arxiv.org/abs/")
        return f"10.48550/arXiv.{arxiv}" if arxiv != self.link else self.link.partition("https://doi.org/")[2]


@dataclass(frozen=True)
class Project:
    """The project as ``pyproject.toml`` and ``CHANGELOG.md`` describe it."""

    name: str
    version: str
    description: str
    license: str  # SPDX
    authors: Sequence[str]
    keywords: Sequence[str]
    python: str  # versions that it runs on
    requires: Sequence[str]
    title: str
    abstract: str
    message: str
    begun: date
    released: date | None  # ``None``: this version is a draft
    address: str  # where editions are published, without a slash at the end; empty: nowhere
    repository: str
    papers: Sequence[Paper]

    @property
    def edition(self) -> str:
        """The name of its edition, and of the folder that this is published in: ``v1.3.0``, or ``v1.3.0-draft``."""
        return f"v{self.version}" + ("" if self.released else "-draft")

    @property
    def published(self) -> date:
        """When it was published: a draft when the first of it was, with the first commit."""
        return self.released or self.begun

    @property
    def license_address(self) -> str:
        return f"https://spdx.org/licenses/{self.license}"

    @property
    def binder(self) -> str:
        """Where Binder starts the explorer of this version; empty: the code is in no repository that it reads."""
        owner = self.repository.removeprefix("https://github.com/")
        if owner == self.repository or len(owner.split("/")) != 2:
            return ""
        version = f"v{self.version}" if self.released else "HEAD"
        return f"https://mybinder.org/v2/gh/{owner}/{version}?urlpath=lab%2Ftree%2Fnotebooks%2Fexplorer.py"

    def at(self, path: str = "", edition: str = "") -> str:
        """The permanent address of a file of an edition, this one or another; empty while there is none."""
        return f"{self.address}/{edition or self.edition}/{path}" if self.address else ""


def read_project(root: Path | None = None, address: str | None = None) -> Project:
    """The project in ``root``, by default the one at home.

    Args:
        address: where it is published, if not where ``pyproject.toml`` says.

    Raises:
        InputError: it is no checkout, or a field is missing or wrong.
    """
    root = root or home()
    where = root / "pyproject.toml"
    if not where.is_file():
        raise InputError(f"no pyproject.toml in {root}; expected a checkout of the project (run it there)")
    try:
        document = tomllib.loads(read_text(where))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not TOML ({error})") from None
    project, own = document.get("project", {}), dict(document.get("tool", {}).get("prune-book", {}))
    if address is not None:
        own["address"] = address
    for name, kind in OWN.items():
        if not isinstance(own.get(name), kind):
            raise InputError(f"{where}, tool.prune-book: {name} is {short(own.get(name))}; expected {kind.__name__}")
    for name in ("address", "repository"):
        own[name] = _address(own[name], f"{where}, tool.prune-book, {name}")
    return Project(
        project["name"], project["version"], project["description"], project["license"],
        tuple(author["name"] for author in project["authors"]), tuple(project["keywords"]), project["requires-python"],
        tuple(project["dependencies"]), **{name: own[name] for name in OWN if name not in ("address", "repository")},
        released=released(read_text(root / "CHANGELOG.md"), project["version"]), address=own["address"],
        repository=own["repository"], papers=cited(root),
    )  # fmt: skip


def _address(text: str, where: str) -> str:
    """An address without a slash at its end.

    Raises:
        InputError: it is not one of the web.
    """
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise InputError(f"{where}: {short(text)}; expected an address such as https://example.org/pruning, or nothing")
    return text.rstrip("/")


def released(changelog: str, version: str) -> date | None:
    """When a version was released, as its heading says; ``None``: it is said to be unreleased.

    Raises:
        InputError: no heading of this version, or one with neither a date nor ``unreleased``.
    """
    when = {match["version"]: match["when"] for match in HEADING.finditer(changelog)}.get(version)
    if when == "unreleased":
        return None
    try:
        return date.fromisoformat(when or "")
    except ValueError:
        raise InputError(
            f"CHANGELOG.md: version {version} is of {short(when)}; expected '## [{version}] - ' and a date as "
            f"2026-12-31, or 'unreleased'"
        ) from None


def cited(root: Path) -> tuple[Paper, ...]:
    """The papers whose rows the book has, in the order of their names; what is our own is none.

    Titles and links are in their YAML, names and years in ``book/references.bib``.

    Raises:
        InputError: the bibliography has no such entry, or one without authors or year.
    """
    text = read_text(root / "book" / "references.bib")
    entries = {entry.partition("{")[2].partition(",")[0]: entry for entry in f"\n{text}".split("\n@")[1:]}
    found = []
    for name, document in papers().items():
        about = document["paper"]
        if about.get("cite"):
            fields = {match["name"]: match["text"] for match in FIELD.finditer(entries.get(about["cite"], ""))}
            if set(fields) != {"author", "year"} or not fields["year"].isdigit():
                entry = f"{about['cite']} with author and year, each on one line"
                raise InputError(f"book/references.bib: no entry {entry}")
            link = re.sub(r"^arXiv ", "https://arxiv.org/abs/", about["link"])
            authors = tuple(map(_author, fields["author"].split(" and ")))
            found.append(Paper(name, about["title"], authors, link, int(fields["year"])))
    return tuple(found)


def _author(text: str) -> tuple[str, str]:
    """``Lin, Mingbao`` -> ``("Lin", "Mingbao")``; a name in braces is a group's."""
    family, _, given = text.strip("{} ").partition(", ")
    return family, given
