"""Files on disk: written whole, synced and renamed, or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from .paths import make_folder


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``, atomically."""
    replace(path, text.encode())


def write_bytes(path: Path, data: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Replace ``path`` by ``data``, atomically, once ``check`` has looked at the new file and raised nothing."""
    replace(path, data, check=check)


def replace(
    path: Path, data: bytes, keep_previous: bool = False, check: Callable[[Path], object] | None = None
) -> None:
    """Replace ``path`` by ``data``: at every moment it is whole, or not there. With ``keep_previous`` the file that was
    there becomes ``*.previous``; ``check`` sees the new one before it takes the name.

    Raises:
        OSError: a full or failing disk; what was there is as it was, and nothing is left beside it.
    """
    make_folder(path.parent)
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    old = new.with_suffix(".old")
    try:
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(new)
        if keep_previous and path.exists():
            os.link(path, old)
        os.replace(new, path)
        if old.exists():
            try:
                os.replace(old, previous(path))
            except OSError:
                os.replace(old, path)
                raise
    finally:
        for leftover in (new, old):
            leftover.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Have the names in a folder on disk, as ``fsync`` has the contents of a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what a process that died while it wrote has left in a folder that nobody else is writing to."""
    for leftover in (*folder.glob(".*.new"), *folder.glob(".*.old")):
        leftover.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove the state at ``path``, both generations."""
    for generation in (previous(path), path):
        generation.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the generation before ``path`` is."""
    return path.with_name(f"{path.name}.previous")
