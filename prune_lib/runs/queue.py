"""Run what has no record yet, best first, several at a time on each device.

Each run is a process of its own, ``prune run``, and ends with the queue, however the queue ends. Nothing is lost:
started again, the queue skips what is finished or running elsewhere, and every other run resumes from its last state.
"""

import fnmatch
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from ..papers.rows import BUDGETS, Row, all_rows
from ..system import lock
from ..system.ending import WITH_PARENT
from ..system.errors import InputError
from ..system.paths import cores, home, make_folder
from ..system.words import Given
from .records import Run, find, unfinished
from .settings import changed

FIRST = (  # tables in the order in which a card is best spent; then all others on CIFAR-10
    "dcff/cifar10", "cdp/cifar10-dense", "cfdp/cifar10-dense", "dcff/cifar10-dense", "cfdp/cifar10", "cdp/cifar10",
    "filterexpo/cifar10", "filterexpo/resnet20-study",
)  # fmt: skip


GRACE = 30.0  # seconds in which a run that is told to stop may come to its end


@dataclass(eq=False)
class Job:
    row: Row
    budget: str
    seed: int
    status: str = "waiting"  # waiting, running, finished, failed or elsewhere
    process: subprocess.Popen | None = field(default=None, repr=False)
    log: Path = Path()
    device: str = ""  # that it runs or ran on, where the queue was given several

    @property
    def name(self) -> str:
        return f"{self.row.called} {self.budget} seed {self.seed}"

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


def jobs(
    patterns: Sequence[str], budget: str, seeds: Iterable[int], weights: str | Path | None = None, given: Given = None
) -> list[Job]:
    """What has no finished record, best first: seed by seed, the tables in the order of ``FIRST``.

    Args:
        patterns: names of rows, with ``*`` for any; empty: every row of CIFAR-10 that can be trained.
        weights: the trained network that these prune; without it, also the dense rows whose networks they prune.
        given: settings of the rows that are named, as for ``settings.changed``; not of dense rows that these prune.

    Raises:
        InputError: an unknown budget, a setting that a row does not have, a pattern that no row that can be trained
            has, or a row that is finished from other ``weights``.
    """
    rows = planned(patterns, budget, dense=not weights)
    if given:
        named = {row.id for row in planned(patterns, budget, dense=False)}
        starts = {row.start for row in rows if row.id in named and not weights}
        own = [changed(row, budget, given) for row in rows if row.id in named]
        rows = list({row.id: row for row in (*(row for row in rows if row.id in starts), *own)}.values())
    every = [Job(row, budget, seed) for seed in seeds for row in rows]
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
    devices: Sequence[str] = (),
    options: Sequence[str] = (),
    tell: Callable[[Sequence[Job]], None] = lambda jobs: None,
    every: float = 1.0,
) -> Sequence[Job]:
    """Run the jobs, ``at_once`` of them at a time on each device, until none is left; returns what became of each.

    A job whose row prunes the network of another row waits until that one has come to an end. Whatever ends this call
    early, ``KeyboardInterrupt`` above all, stops the runs too and waits until they have.

    Args:
        devices: their names, ``cuda:0``, ``cuda:1`` …; empty: the one that ``options`` name, or the runs' own choice.
        options: words for ``prune run``, the same for all.
        tell: called every ``every`` seconds, and after each change.

    Raises:
        InputError: no job at a time, or a device that is not here or is named twice.
    """
    if at_once < 1:
        raise InputError(f"{at_once} jobs at a time; expected at least 1")
    check_devices(devices)
    free = list(devices or [""]) * at_once
    threads = max(1, cores() // len(free))  # more threads than cores is far slower than fewer
    order = _in_order(waiting)
    order.prepare()
    ready: list[Job] = []
    running: dict[Future, str] = {}
    stop = _Stop()
    with ThreadPoolExecutor(len(free), "run") as pool:
        try:
            while order.is_active():
                ready += order.get_ready()
                ready.sort(key=waiting.index)  # best first, whenever it became ready
                while ready and free:
                    device = free.pop(0)
                    running[pool.submit(_run, ready.pop(0), device, threads, options, stop)] = device
                ended, _ = wait(running, timeout=every, return_when=FIRST_COMPLETED)
                for future in ended:
                    free.append(running.pop(future))
                    order.done(future.result())
                tell(waiting)
        except BaseException:
            stop.all()
            raise
    return waiting


def check_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not here, before each job fails on them.

    Raises:
        InputError: no such device, or one named twice.
    """
    if not names:
        return
    import torch

    for name in names:
        if names.count(name) > 1:
            raise InputError(f"device {name} is named twice; expected each once: --jobs says how many runs it takes")
        if name == "auto":
            continue
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise InputError(f"device {name!r} is not usable here: {str(error).splitlines()[0]}") from None
        cards = torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= cards:
            raise InputError(f"device {name!r} is not usable here: {cards} CUDA devices are there")


def _in_order(jobs: Sequence[Job]) -> TopologicalSorter:
    """Each job after that of the dense row whose network it prunes, if that is among them."""
    by_name = {(job.row.id, job.budget, job.seed): job for job in jobs}
    before = {job: by_name.get((job.row.start or "", job.budget, job.seed)) for job in jobs}
    return TopologicalSorter({job: [] if first is None else [first] for job, first in before.items()})


class _Stop:
    """Whether the queue is stopping, and the processes that then have to."""

    def __init__(self) -> None:
        self.lock, self.stopping = threading.Lock(), False
        self.processes: list[subprocess.Popen] = []

    def start(self, job: Job, words: list[str], environment: dict) -> subprocess.Popen | None:
        """The job's process, unless the queue is stopping."""
        with self.lock:
            if self.stopping:
                return None
            with open(job.log, "ab") as log:
                # its stdin stays open as long as the queue lives: see ``system.ending``
                job.process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**environment, WITH_PARENT: "1"}
                )
            self.processes.append(job.process)
            job.status = "running"
            return job.process

    def all(self) -> None:
        """Stop every process and wait until it has ended: politely first; by force if it is slow, or if asked again."""
        self.stopping = True
        try:
            with self.lock:  # what was being started has started
                for process in self.processes:
                    process.terminate()
            for process in self.processes:
                process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in self.processes:
                process.kill()


def _run(job: Job, device: str, threads: int, options: Sequence[str], stop: _Stop) -> Job:
    """Run a job in a process of its own to its end."""
    folder = job.run.folder
    if lock.held(folder):
        job.status = "elsewhere"
        return job
    if find(job.run):
        job.status = "finished"
        return job
    job.log, job.device = folder / "log", device
    make_folder(folder)
    words = [sys.executable, "-m", "prune_lib", *job.run.words]
    words += [*(("--device", device) if device else ()), *options]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PRUNE_HOME": str(home())}
    process = stop.start(job, words, environment)
    if process is not None:
        job.status = "finished" if process.wait() == 0 else "failed"
        if process.stdin is not None:
            process.stdin.close()
    return job
