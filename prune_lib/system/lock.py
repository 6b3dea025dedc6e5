"""Who is running what: one process holds a run's folder, and a run that stopped without a word can be told.

``filelock`` takes the lock. Where the file system has ``flock`` it is the kernel's, so that a process that dies,
however hard, leaves none behind; elsewhere (Lustre mounted without it, some network folders) a file beside it stands
for the lock. The text in ``lock`` is for people: it is written when a run begins and removed when it ends, so text that
nobody holds a lock on belongs to a run that was interrupted.
"""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from .errors import InputError
from .paths import make_folder
from .provenance import now

PATIENCE = 0.5  # seconds; who only looks whether a folder is held holds it for a moment
EVERY = 0.02  # seconds between two tries
NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
SOFT = ".soft"  # ending of the file that stands for a lock where there is no flock


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold a run's folder, after waiting for a process that holds it already; gives whether there was one.

    Bad input found inside leaves no folder that was not there before.

    Raises:
        InputError: no folder can be made there.
    """
    from . import distributed

    if distributed.rank() > 0:  # the first process holds the folder for all
        yield False
        return
    lock, waited = _take(folder / "lock", PATIENCE), False
    if lock is None:
        print(f"{folder.parent.name}/{folder.name} is being run by another process; waiting for it", flush=True)
        lock, waited = _take(folder / "lock", None), True
    assert lock is not None
    words = folder / "lock"
    try:
        words.write_text(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "began": now()}), "utf-8")
        try:
            yield waited
        except InputError:
            words.write_bytes(b"")
            _remove(folder)
            raise
        except OSError:  # a disk on which nothing can be said
            raise
        except Exception:  # its record says so
            words.write_bytes(b"")
            raise
        words.write_bytes(b"")
    finally:
        lock.release()


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait for the folder, then hold it: for what takes a moment."""
    lock = _take(folder / ".turn", None)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _take(path: Path, patience: float | None) -> BaseFileLock | None:
    """The lock of a file, held, or ``None`` after so many seconds of ``patience`` (``None``: however long it takes)."""
    until = None if patience is None else time.monotonic() + patience
    while True:
        with suppress(FileNotFoundError):  # who held it has just removed the folder
            make_folder(path.parent)
            lock = _lock_of(path)
            try:
                lock.acquire(-1 if until is None else max(0.0, until - time.monotonic()), poll_interval=EVERY)
                return lock
            except Timeout:
                return None


def _lock_of(path: Path) -> BaseFileLock:
    """The kernel's lock of a file, which is created; without ``flock``, a lock that is a file beside it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        _say_soft(path.parent, error.strerror)
        return SoftFileLock(_soft(path))
    finally:
        os.close(descriptor)
    return FileLock(path)


def _soft(path: Path) -> Path:
    return path.with_name(f"{path.name}{SOFT}")


@cache
def _say_soft(folder: Path, reason: str) -> None:
    print(
        f"{folder}: its file system cannot lock ({reason}); files called *{SOFT} stand for locks there. Of a machine "
        f"that broke down they stay behind: remove them by hand, or keep the project elsewhere, named by $PRUNE_HOME",
        file=sys.stderr,
        flush=True,
    )


def _remove(folder: Path) -> None:
    """Remove the lock, which is held, and the folders that are then empty."""
    if {entry.name for entry in folder.iterdir()} - {"lock", f"lock{SOFT}"}:
        return
    for name in ("lock", f"lock{SOFT}"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder, *folder.parents):
        try:
            empty.rmdir()
        except OSError:
            return
        if empty.name == "runs":
            return


def held(folder: Path) -> bool:
    """Whether a process is running what this folder is of."""
    return _look(folder / "lock")[0]


def status(folder: Path) -> str:
    """``running``, ``interrupted`` (its process is gone and did not say how it ended), or nothing."""
    running, words = _look(folder / "lock")
    return "running" if running else "interrupted" if words else ""


def _look(path: Path) -> tuple[bool, bytes]:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False, b""
    try:
        words = os.pread(lock, 1000, 0)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, words
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return _soft(path).exists() and _may_live(words), words
    finally:
        os.close(lock)
    return False, words


def _may_live(words: bytes) -> bool:
    """Whether the process of these words runs on this machine, or on another one, of which nobody here can tell."""
    try:
        said = json.loads(words)
        if said["host"] != os.uname().nodename:
            return True
        os.kill(said["pid"], 0)
    except (ValueError, TypeError, KeyError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
