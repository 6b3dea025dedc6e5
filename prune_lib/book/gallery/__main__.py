"""``python -m prune_lib.book.gallery``: make the book's figures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...system.errors import InputError
from ...system.files import write_bytes
from ..figures import committed
from ..figures.committed import Picture
from .made import FIGURES, PRIVATE, make
from .sources import PUBLISHED, Sources


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prune_lib.book.gallery", description="Make the book's figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' '.join(FIGURES)}; none: all that can be")
    parser.add_argument("--data-dir", default="", help="where the data is (default: $PRUNE_DATA, else ./data)")
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=FILE", help=f"of: {' '.join(PUBLISHED)}")
    parser.add_argument("--out", default="", help="write the PNGs there instead, and no records")
    given = parser.parse_args(words)
    try:
        files = dict(_named(word) for word in given.weights)
        sources = Sources(given.data_dir, tuple(sorted(files.items())))
        for name in given.names or FIGURES:
            if name in PRIVATE and not given.out:
                raise InputError(f"{name} shows photographs and is not committed; expected --out FOLDER")
            try:
                picture = make(name, sources)
            except InputError as error:
                if given.names:
                    raise
                print(f"{name}: left as it is ({error})")
                continue
            path = _written(picture, given.out)
            print(f"{path}: {len(picture.png):,} bytes, {picture.record['seconds']} s", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _written(picture: Picture, out: str) -> Path:
    if not out:
        return committed.save(picture)
    path = Path(out) / f"{picture.record['figure']}.png"
    write_bytes(path, picture.png)
    return path


def _named(word: str) -> tuple[str, str]:
    name, _, file = word.partition("=")
    if name not in PUBLISHED or not file:
        raise InputError(f"--weights {word}; expected NAME=FILE, NAME one of: {' '.join(PUBLISHED)}")
    return name, file


if __name__ == "__main__":
    sys.exit(main())
