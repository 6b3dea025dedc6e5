"""Where the project is on disk: the folder of ``results/``, ``runs/`` and ``data/``; and how many processors it has."""

import os
import tempfile
from pathlib import Path

from .errors import InputError

FOLDERS = ("PRUNE_HOME", "PRUNE_DATA")  # of the environment


def home() -> Path:
    """``$PRUNE_HOME``, else the nearest folder upwards that holds ``results/`` and ``notebooks/``, else this one."""
    if os.environ.get("PRUNE_HOME"):
        return Path(os.environ["PRUNE_HOME"]).expanduser().resolve()
    return project() or Path.cwd()


def project(start: Path | None = None) -> Path | None:
    """The nearest folder upwards from ``start``, or from this one, that holds ``results/`` and ``notebooks/``."""
    here = start or Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "results").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return None


def absolute(path: str | Path) -> str:
    """The absolute path: a notebook's kernel, or a job, works in another folder than the process that started it."""
    try:
        return os.path.abspath(Path(path).expanduser())
    except RuntimeError:  # ~somebody whom this machine does not know
        return os.path.abspath(path)


def settle_environment() -> None:
    """Have ``$PRUNE_HOME`` and ``$PRUNE_DATA`` mean the same folders in every process that this one starts."""
    for name in FOLDERS:
        if os.environ.get(name):
            os.environ[name] = absolute(os.environ[name])


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InputError: something on the way is a file, or a link to what is not there.
        OSError: it may not be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        for path in (*reversed(folder.parents), folder):
            if path.is_symlink() and not path.exists():
                raise InputError(
                    f"{path} is a link to {path.readlink()}, which is not there; expected a folder"
                ) from None
            if path.exists() and not path.is_dir():
                raise InputError(f"{path} is a file; expected a folder") from None
        raise


def check_writable(folder: Path, what: str) -> None:
    """Refuse a folder in which no file can be made, or that cannot be made itself. Nothing is left there.

    Raises:
        InputError: it cannot be written; ``what`` says what for.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    try:
        make_folder(there)
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        raise InputError(
            f"{there} cannot be written ({error.strerror}); expected a place for {what}: another project folder is "
            f"named by $PRUNE_HOME"
        ) from None


def shelves() -> list[Path]:
    """Where records are: ``results/`` at home, then those that an installed package brought along (see setup.py)."""
    shipped = Path(__file__).resolve().parent.parent / "results"
    return [home() / "results", *([shipped] if shipped.is_dir() else [])]


def cores() -> int:
    """How many cores this process may use; processes that ``torchrun`` started here share them."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, own // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
