"""Zip archives from outside, looked at before anything is read out of them. Nothing here is ever unpacked to disk.

A torch file is a zip, and so is an ``.npz``. Their readers take members by name into memory, so what can be hostile is
what a member says of itself: its name, how often it is there, and how large it will become.
"""

import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

from .errors import InputError, short

GROWTH = 200  # how many times its own size an archive may unpack to; pixels and weights compress far less
SPARE = 2**20  # bytes that any archive may unpack to
MEMBERS = 100_000


def check_zip(path: str | Path) -> None:
    """Refuse a zip whose members are anything but files of an ordinary size; a file that is not a zip passes.

    Raises:
        InputError: a member with an absolute name, ``..``, a backslash or a control character in its name; the same
            name twice; a link; too many members, or such that they would become far larger than the file.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: damaged archive ({error})") from None
    if len(members) > MEMBERS:
        raise InputError(f"{path}: {len(members)} members; expected {MEMBERS} at most")
    seen: set[str] = set()
    for member in members:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not name.isprintable():
            raise InputError(f"{path}: a member is called {short(name)}; expected a name inside the archive")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{path}: {short(name)} is a link or a device; expected files")
        if name in seen:
            raise InputError(f"{path}: {short(name)} is in it twice; expected every name once")
        seen.add(name)
    total, size = sum(member.file_size for member in members), os.path.getsize(path)
    if total > GROWTH * size + SPARE:
        raise InputError(f"{path}: {size:,} bytes that would become {total:,}; expected {GROWTH} times as many at most")
