"""Who is running what: one process holds a run's folder, and a run that stopped without a word stays visible as such.

The locks are the kernel's, so a process that dies, however hard, leaves none behind. What a lock file says in words is
for those who look: it is written when a run begins and taken out when it ends, so that words under no lock are those of
a run that was interrupted.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .provenance import now

PATIENCE = 0.5  # seconds; who only looks whether a folder is held holds it for a moment


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold a run's folder; a process that holds it already is waited for, and gives whether there was one.

    Bad input found inside leaves no folder that was not there before.
    """
    from . import distributed as ranks

    if ranks.rank() > 0:  # the first process holds the folder for all
        yield False
        return
    lock, waited = _take(folder, time.monotonic() + PATIENCE), False
    if lock is None:
        print(f"{folder.parent.name}/{folder.name} is being run by another process; waiting for it", flush=True)
        lock, waited = _take(folder, None), True
    assert lock is not None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "began": now()}).encode(), 0)
        try:
            yield waited
        except InputError:
            os.ftruncate(lock, 0)
            _remove(folder)
            raise
        except OSError:  # a disk on which nothing can be said
            raise
        except Exception:  # its record says so
            os.ftruncate(lock, 0)
            raise
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait for the folder, then hold it: for what takes a moment."""
    lock = _take(folder, None, ".turn")
    assert lock is not None
    try:
        yield
    finally:
        os.close(lock)


def _take(folder: Path, until: float | None, name: str = "lock") -> int | None:
    """The descriptor of the folder's locked lock file, or ``None`` if it is not to be had ``until`` then.

    With ``until`` ``None`` it takes however long it takes.
    """
    path = folder / name
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # who held it has just removed the folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if until is None else fcntl.LOCK_NB))
            if _is(lock, path):
                return lock
        except BlockingIOError:
            if until is not None and time.monotonic() > until:
                os.close(lock)
                return None
            time.sleep(0.02)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is(lock: int, path: Path) -> bool:
    """Whether the file that is locked is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """Remove the lock, which is held, and the folders that are then empty."""
    if {entry.name for entry in folder.iterdir()} - {"lock"}:
        return
    (folder / "lock").unlink()
    for empty in (folder, *folder.parents):
        try:
            empty.rmdir()
        except OSError:
            return
        if empty.name == "runs":
            return


def held(folder: Path) -> bool:
    """Whether a process is running what this folder is of."""
    return _look(folder)[0]


def status(folder: Path) -> str:
    """``running``, ``interrupted`` (its process is gone and did not say how it ended), or nothing."""
    running, words = _look(folder)
    return "running" if running else "interrupted" if words else ""


def _look(folder: Path) -> tuple[bool, bytes]:
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False, b""
    try:
        words = os.pread(lock, 1000, 0)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, words
    finally:
        os.close(lock)
    return False, words
