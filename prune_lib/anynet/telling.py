"""What is being done, said while it is done: pruning a large network takes a while."""

import sys
import time

from tqdm import tqdm

QUIET = 20.0  # seconds without a word


class Telling:
    """Says what is being done: where that is wanted, as a bar on a terminal and as lines elsewhere; else if it is long.

    Args:
        wanted: say it from the start, and not only after ``QUIET`` seconds.
        stages: how many things are going to be done, as far as is known.
    """

    def __init__(self, wanted: bool, stages: int = 0):
        live = wanted and sys.stderr.isatty()
        self.bar = tqdm(total=stages, unit="stage", disable=not live, bar_format="{desc} |{bar}| {n}/{total} {elapsed}")
        self.lines, self.start = wanted and not live, time.monotonic()

    def __enter__(self) -> "Telling":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def __call__(self, what: str, again: bool = False) -> None:
        """``what`` begins; ``again``: it is more of the stage before."""
        self.bar.set_description_str(what)
        self.bar.update(0 if again else 1)
        if self.lines or (self.bar.disable and time.monotonic() - self.start > QUIET):
            print(f"prune: {what} …", file=sys.stderr, flush=True)
