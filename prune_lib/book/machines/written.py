"""The files that stand in the repository's root, each where a tool looks for it: ``prune metadata`` writes them."""

from collections.abc import Callable
from pathlib import Path

from ...system.files import write_text
from ...system.paths import home
from ...system.reading import read_text
from .citing import citation, codemeta, zenodo
from .crate import DESCRIPTOR, repository_crate
from .project import Project, read_project

COMMITTED: dict[str, Callable[[Project], str]] = {
    "CITATION.cff": citation,
    "codemeta.json": codemeta,
    ".zenodo.json": zenodo,
    DESCRIPTOR: repository_crate,
}


def stale(root: Path | None = None) -> list[str]:
    """The names of those that are not there, or not what they would be if written now.

    Raises:
        InputError: ``root`` (by default home) is no checkout of the project.
    """
    root = root or home()
    project = read_project(root)
    return [name for name, made in COMMITTED.items() if not _is(root / name, made(project))]


def write(root: Path | None = None) -> list[str]:
    """Write anew those that are stale; returns their names.

    Raises:
        InputError: ``root`` (by default home) is no checkout of the project.
    """
    root = root or home()
    project, names = read_project(root), stale(root)
    for name in names:
        write_text(root / name, COMMITTED[name](project))
    return names


def _is(path: Path, text: str) -> bool:
    return path.is_file() and read_text(path) == text
