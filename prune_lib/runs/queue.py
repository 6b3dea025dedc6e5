"""Run what has no record yet, best first, several at a time on one device.

Each run is a process of its own, ``prune run``, so a queue that is killed loses nothing: started again it skips what is
finished and what is still being run, and every other run goes on from its last state.
"""

import fnmatch
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..papers.rows import BUDGETS, Row, all_rows
from ..system import lock
from ..system.errors import InputError
from ..system.paths import cores, home
from .records import Run, find, unfinished

FIRST = (  # tables in the order in which a card is best spent; then all others on CIFAR-10
    "dcff/cifar10", "cdp/cifar10-dense", "cfdp/cifar10-dense", "dcff/cifar10-dense", "cfdp/cifar10", "cdp/cifar10",
    "filterexpo/cifar10", "filterexpo/resnet20-study",
)  # fmt: skip


@dataclass
class Job:
    row: Row
    budget: str
    seed: int
    status: str = "waiting"  # waiting, running, finished, failed or elsewhere
    process: subprocess.Popen | None = field(default=None, repr=False)
    log: Path = Path()

    @property
    def name(self) -> str:
        return f"{self.row.id} {self.budget} seed {self.seed}"

    @property
    def run(self) -> Run:
        return Run(self.row, self.budget, self.seed)

    @property
    def so_far(self) -> str:
        """What became of it elsewhere or before: ``running``, ``interrupted``, ``diverged``, ``failed`` or nothing."""
        words = dict(text.split(": ", 1) for text in unfinished(self.row))
        return words.get(f"{self.budget}, seed {self.seed}", "")

    def last_words(self) -> str:
        """The end of what its process printed: its progress, or why it stopped."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def jobs(patterns: Sequence[str], budget: str, seeds: Iterable[int], weights: str | Path | None = None) -> list[Job]:
    """What has no finished record, best first: seed by seed, the tables in the order of ``FIRST``.

    Args:
        patterns: names of rows, with ``*`` for any; empty: every row of CIFAR-10 that can be trained.
        weights: the trained network that these prune; without it, also the dense rows whose networks they prune.

    Raises:
        InputError: an unknown budget, a pattern that no row that can be trained has, or a row that is finished from
            other ``weights``.
    """
    every = [Job(row, budget, seed) for seed in seeds for row in planned(patterns, budget, dense=not weights)]
    if weights:
        from .runner import from_others  # the weights are read and compared, by torch

        for job in every:
            if (record := find(job.run)) and (other := from_others(job.run, record, weights)):
                raise InputError(other)
    return [job for job in every if not find(job.run)]


def planned(patterns: Sequence[str], budget: str, dense: bool = True) -> list[Row]:
    """The rows that these ``patterns`` name, whether they have records or not, in the order of ``jobs``; see there."""
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    trained = [row for row in all_rows().values() if not row.why_not(budget, weights=not dense)]
    for pattern in patterns:
        if (row := all_rows().get(pattern)) and row not in trained:
            raise InputError(f"{row.id} {row.why_not(budget, weights=not dense)}")
        if not fnmatch.filter([row.id for row in trained], pattern):
            raise InputError(f"no row that can be trained is called {pattern!r}; 'prune rows' lists them")
    wanted = {
        row.id
        for row in trained
        if (any(fnmatch.fnmatchcase(row.id, p) for p in patterns) if patterns else row.dataset == "CIFAR-10")
    }
    if dense:
        wanted |= {row.start for row in trained if row.id in wanted and row.start}
    place = {table: i for i, table in enumerate(FIRST)}
    return sorted((row for row in trained if row.id in wanted), key=lambda row: place.get(row.table, len(place)))


def work(
    waiting: Sequence[Job],
    at_once: int = 1,
    *,
    options: Sequence[str] = (),
    tell: Callable[[Sequence[Job]], None] = lambda jobs: None,
    every: float = 1.0,
) -> Sequence[Job]:
    """Run the jobs, ``at_once`` of them at a time, until none is left; returns them with what became of each.

    A job whose row prunes the network of another row waits until that one has a record. Interrupted, it interrupts its
    runs and waits until they have stopped.

    Args:
        options: words for ``prune run``, the same for all.
        tell: called every ``every`` seconds, and after each change.
    """
    if at_once < 1:
        raise InputError(f"{at_once} jobs at a time; expected at least 1")
    try:
        while True:
            running = [job for job in waiting if job.status == "running"]
            for job in running:
                if job.process is not None and (code := job.process.poll()) is not None:
                    job.status = "finished" if code == 0 else "failed"
            free = at_once - sum(job.status == "running" for job in waiting)
            for job in [job for job in waiting if job.status == "waiting" and _ready(job, waiting)][: max(0, free)]:
                if lock.held(job.run.folder):
                    job.status = "elsewhere"
                elif find(job.run):
                    job.status = "finished"
                else:
                    _start(job, at_once, options)
            tell(waiting)
            if not any(job.status in ("waiting", "running") for job in waiting):
                return waiting
            time.sleep(every)
    except KeyboardInterrupt:
        for job in waiting:
            if job.process is not None and job.process.poll() is None:
                job.process.terminate()
                job.process.wait()
        raise


def _ready(job: Job, all_jobs: Sequence[Job]) -> bool:
    source = job.row.start
    before = [j for j in all_jobs if source and j.row.id == source and (j.budget, j.seed) == (job.budget, job.seed)]
    return all(j.status not in ("waiting", "running") for j in before)


def _start(job: Job, at_once: int, options: Sequence[str]) -> None:
    job.log = job.run.folder / "log"
    job.log.parent.mkdir(parents=True, exist_ok=True)
    words = ["run", job.row.id, "--budget", job.budget, "--seed", str(job.seed), *options]
    threads = str(max(1, cores() // at_once))  # more threads than cores is far slower than fewer
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "PRUNE_HOME": str(home())}
    with open(job.log, "ab") as log:
        job.process = subprocess.Popen(
            [sys.executable, "-m", "prune_lib", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    job.status = "running"
