"""The built book as a folder that any static host can serve: ``make publish``."""

import hashlib
import shutil
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...system.errors import InputError
from ...system.paths import home

LEFT_OUT = (  # what a builder needs, and no reader: caches, the inventory, the theme's templates and source maps
    ".buildinfo*", ".doctrees", "jupyter_execute", "objects.inv", "*webpack-macros.html", "*.map",
)  # fmt: skip
MANIFEST = "SHA256SUMS"
TEXT = {".html", ".js", ".css", ".json", ".txt", ".md", ".ipynb", ".svg", ".xml", ""}


def publish(built: Path | None = None, site: Path | None = None) -> Path:
    """Copy the built HTML to ``site`` without the builder's own files, check it, and return the folder.

    The folder appears whole or not at all. It holds ``.nojekyll``, so that no host drops names that begin with an
    underscore, and a manifest to check with ``sha256sum -c SHA256SUMS``.

    Raises:
        InputError: there is no built book, or a file names a path of this machine or asks another host for something.
    """
    built = home() / "book" / "_build" / "html" if built is None else built
    site = built.with_name("site") if site is None else site
    if not (built / "index.html").is_file():
        raise InputError(f"no built book in {built}; run 'prune book' first")
    new = site.with_name(f".{site.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(built, new, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (new / ".nojekyll").touch()
    try:
        if wrong := problems(new):
            raise InputError(f"not published: {'; '.join(wrong[:5])}" + (" …" if len(wrong) > 5 else ""))
        sums = [f"{_sha256(path)}  {path.relative_to(new).as_posix()}\n" for path in _files(new)]
        (new / MANIFEST).write_text("".join(sums), encoding="utf-8")
        shutil.rmtree(site, ignore_errors=True)
        new.rename(site)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return site


def problems(site: Path, private: Iterable[str] = ()) -> list[str]:
    """What would not work on another host: paths of this machine, links that leave the site or lead nowhere.

    Args:
        private: further texts that must not occur in any file.
    """
    named = [str(place) for place in (home(), Path(sys.prefix), Path.home()) if len(place.parts) > 2]
    named += ["file:///", *private]
    found = []
    for path in _files(site):
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
                self.found.append((tag not in ("a", "form"), value))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    try:
        print(f"To publish, copy this folder to any static host: {publish()}")
    except InputError as error:
        sys.exit(f"publish: {error}")
