"""The built book as an edition in a folder that any static host can serve: ``make publish``.

v1.3.0/         one edition: the book, its changelog, records, models and metadata; once released it never changes
latest/         a copy of the newest edition
index.html      leads to it
editions.html   all editions, and what changed from each to the next; the same as editions.json
sitemap.xml     where an address is known
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...papers.rows import all_rows
from ...system.errors import InputError
from ...system.paths import home
from ...system.reading import read_text
from ..machines.cards import model_folders
from ..machines.crate import DESCRIPTOR, edition_crate
from ..machines.croissant import croissant, records_csv, rows_csv
from ..machines.editions import FILE, Changes, committed, compare, listed, newest, read_edition, site_folder, snapshot
from ..machines.head import NEWER, NEWER_CODE, PICTURE, robots, sitemap, with_tags
from ..machines.pages import changelog_page, editions_page, front_page
from ..machines.project import Project, read_project
from ..machines.written import COMMITTED
from ..tables.results import load_results

LEFT_OUT = (  # what a builder needs, and no reader: caches, the inventory, the theme's templates and source maps
    ".buildinfo*", ".doctrees", "jupyter_execute", "objects.inv", "*webpack-macros.html", "*.map",
)  # fmt: skip
MANIFEST = "SHA256SUMS"
LIST = "editions.json"
ABOVE = (".nojekyll", "index.html", "editions.html", LIST, "robots.txt", "sitemap.xml", "latest")  # beside the editions
TEXT = {".html", ".js", ".css", ".json", ".txt", ".md", ".ipynb", ".svg", ".xml", ".csv", ".yaml", ".cff", ""}


def publish(
    built: Path | None = None, site: Path | None = None, *, address: str | None = None, replace: bool = False
) -> Path:
    """Add the built HTML to ``site`` as an edition, with all that machines read, check it, and return the folder.

    The folder appears whole or not at all. Earlier editions in it stay as they are, and so does what is not ours, such
    as ``.git`` or ``CNAME``; a draft is replaced. Each edition has a manifest for ``sha256sum -c SHA256SUMS``.

    Args:
        address: of ``site`` on the web, if not the one in ``pyproject.toml``; links say it only if it is known.
        replace: also an edition that was released; for one that nobody has seen.

    Raises:
        InputError: there is no built book, or an older one than the records; this version was published; ``site`` is
            something else; or a file names a path of this machine or asks another host for something.
    """
    built = home() / "book" / "_build" / "html" if built is None else built
    site = site_folder() if site is None else site
    if not (built / "index.html").is_file():
        raise InputError(f"no built book in {built}; run 'prune book' first")
    project = read_project(address=address)
    _settle(site)  # a process may have been ended between two renames
    before = _earlier(site, project, replace)
    new = site.with_name(f".{site.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        edition = new / project.edition
        shutil.copytree(built, edition, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _refuse(problems(edition))
        _tag(edition, project)
        _refuse(problems(new, among=_describe(edition, project)))
        sums = [f"{_sha256(path)}  {path.relative_to(edition).as_posix()}\n" for path in _files(edition)]
        (edition / MANIFEST).write_text("".join(sums), encoding="utf-8")
        for name in before:
            _same(site / name, new / name)
        _same(new / newest(listed(new)), new / "latest")
        _refuse(problems(new, among=_lead(new, project)))
        if site.exists():
            site.rename(_old(site))
        new.rename(site)
        _settle(site)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return site


def _earlier(site: Path, project: Project, replace: bool) -> list[str]:
    """The editions in ``site`` that stay; the draft of what is now released does not.

    Raises:
        InputError: this version is among them, or the folder is not one of ours.
    """
    there = listed(site)
    other = [name for name in ABOVE if not there and (site / name).exists()]
    if other or (site.exists() and not site.is_dir()):
        raise InputError(f"{site} is something else ({', '.join(other) or 'a file'}); expected a folder of editions")
    if project.edition in there and project.released and not replace:
        raise InputError(
            f"{project.edition} is published in {site} and stays as it is; raise the version in pyproject.toml and "
            f"CHANGELOG.md, or use --replace if nobody has seen it"
        )
    return [name for name in there if name not in (project.edition, f"{project.edition}-draft")]


def _old(site: Path) -> Path:
    """Where the folder of before is while the new one takes its place."""
    return site.with_name(f".{site.name}.old")


def _settle(site: Path) -> None:
    """Remove the folder of before, once what is not ours in it is in the new one; without a new one, it is back."""
    old = _old(site)
    if not old.is_dir():
        return
    if not site.exists():
        old.rename(site)
        return
    ours = {*ABOVE, *listed(old)}
    for path in list(old.iterdir()):
        if path.name not in ours:
            path.rename(site / path.name)
    shutil.rmtree(old)


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise InputError(f"not published: {'; '.join(wrong[:5])}" + (" …" if len(wrong) > 5 else ""))


def _tag(edition: Path, project: Project) -> None:
    """Write the tags of ``head`` into every page of the edition."""
    picture = (edition / PICTURE).is_file()
    for path in edition.rglob("*.html"):
        name = path.relative_to(edition).as_posix()
        path.write_text(with_tags(path.read_text(encoding="utf-8"), name, project, picture), encoding="utf-8")
    _put(edition / NEWER, NEWER_CODE)


def _describe(edition: Path, project: Project) -> list[Path]:
    """Write into an edition what machines read of it; returns the files.

    Raises:
        InputError: the records of the built book are not those under ``results/``.
    """
    records, rows, results = committed(), all_rows(), home() / "results"
    other = [name for name in records if not _are_one(results / name, edition / "results" / name)]
    if other:
        raise InputError(f"the built book is older than {len(other)} records ({other[0]} …); run 'prune book' again")
    tables = {
        "rows.csv": rows_csv(load_results().to_json(), rows), "records.csv": records_csv(records, results, rows),
    }  # fmt: skip
    texts: dict[str, str | Path] = {
        FILE: _json(snapshot(project)), **tables, "croissant.json": croissant(project, tables),
        "CHANGELOG.md": read_text(home() / "CHANGELOG.md"),
        "changelog.html": changelog_page(project, read_text(home() / "CHANGELOG.md")),
        **{name: made(project) for name, made in COMMITTED.items() if name in ("CITATION.cff", "codemeta.json")},
        **{f"models/{name}": what for name, what in model_folders(project, results).items()},
    }  # fmt: skip
    written = [_put(edition / name, what) for name, what in texts.items()]
    return [*written, _put(edition / DESCRIPTOR, edition_crate(project, edition, records, rows))]


def _lead(new: Path, project: Project) -> list[Path]:
    """Write what stands above the editions; returns the files."""
    names = listed(new)
    editions = [read_edition(new / name) for name in names]
    changes: dict[str, Changes] = {
        name: compare(older, newer) for name, older, newer in zip(names[1:], editions, editions[1:], strict=False)
    }
    last = newest(names)
    document = {
        "latest": last,
        "editions": [{**{name: edition.get(name) for name in ("edition", "version", "released", "code")},
                      "address": project.at(edition=edition["edition"]) or f"{edition['edition']}/",
                      "changes": changes[edition["edition"]].to_json() if edition["edition"] in changes else None}
                     for edition in editions],
    }  # fmt: skip
    texts = {
        ".nojekyll": "", "index.html": front_page(project, last), LIST: _json(document),
        "editions.html": editions_page(project, editions, changes, last), "robots.txt": robots(project),
    }  # fmt: skip
    if project.address:
        pages = [path.relative_to(new / last).as_posix() for path in _files(new / last) if path.suffix == ".html"]
        texts["sitemap.xml"] = sitemap(project, last, pages)
    return [_put(new / name, text) for name, text in texts.items()]


def _put(path: Path, what: str | Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, Path):
        shutil.copyfile(what, path)
    else:
        path.write_text(what, encoding="utf-8")
    return path


def _json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _are_one(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _same(source: Path, target: Path) -> None:
    """The same folder again, its files linked where the disk can, else copied."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=link)


def problems(site: Path, private: Iterable[str] = (), among: Iterable[Path] | None = None) -> list[str]:
    """What would not work on another host: paths of this machine, links that leave the site or lead nowhere.

    Args:
        private: further texts that must not occur in any file.
        among: the files to look at; default: all.
    """
    named = [str(place) for place in (home(), Path(sys.prefix), Path.home()) if len(place.parts) > 2]
    named += ["file:///", *private]
    found = []
    for path in _files(site) if among is None else among:
        if path.suffix.lower() not in TEXT:
            continue
        text, name = path.read_text(encoding="utf-8", errors="replace"), path.relative_to(site).as_posix()
        found += [f"{name} names {place}" for place in named if place in text]
        if path.suffix == ".html":
            found += [f"{name} {wrong}" for wrong in _links(path, text, site)]
    return found


def _links(page: Path, text: str, site: Path) -> Iterable[str]:
    """Check that a page loads nothing from another host, and that its links into the site lead to files."""
    reader = _Links()
    reader.feed(text)
    for asked, link in reader.found:
        kind = urlsplit(link)
        if kind.netloc:
            if asked:
                yield f"asks another host for {link}"
        elif link.startswith("/"):
            yield f"has the absolute link {link}"
        elif kind.path and not kind.scheme:
            target = (page.parent / unquote(kind.path)).resolve()
            if not target.exists() or not target.is_relative_to(site.resolve()):
                yield f"links to {link}, which is not in the book"


class _Links(HTMLParser):
    """Collects ``(loaded when the page opens, address)`` from every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[bool, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in ("href", "src") or (tag, name) == ("form", "action")):
                loaded = tag not in ("a", "form") and dict(attrs).get("rel") != "canonical"
                self.found.append((loaded, value))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(words: Sequence[str] | None = None) -> int:
    """``python -m prune_lib.book.site.publish``; exit code 2 where nothing is published."""
    parser = argparse.ArgumentParser(prog="publish", description="Add the built book to a folder of editions.")
    parser.add_argument("--site", type=Path, metavar="FOLDER", help="where editions are (default: site/)")
    parser.add_argument("--address", metavar="URL", help="of that folder on the web (default: as pyproject.toml says)")
    parser.add_argument("--replace", action="store_true", help="also an edition that was released")
    args = parser.parse_args(words)
    try:
        site = publish(site=args.site, address=args.address, replace=args.replace)
        project = read_project(address=args.address)
    except InputError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{project.edition} is in {site}/{project.edition}; copy {site} to any static host")
    if not project.address:
        print("its address is not known, so there is no sitemap.xml and links are relative: --address URL, or address "
              "in pyproject.toml")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
