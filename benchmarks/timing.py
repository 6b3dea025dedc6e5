"""What the benchmarks here have in common: contestants take turns, on one thread, and medians of processor time count.

Time on the clock says little on a machine that is shared; processor time of one thread says what the work costs.
"""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

CPU = torch.device("cpu")


def in_turn(
    contestants: Mapping[str, Callable[[], object]], rounds: int = 7, device: torch.device = CPU
) -> dict[str, float]:
    """``{name: median seconds}`` of processor time, on the clock for a card; each is called once before, uncounted."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    for work in contestants.values():
        work()
        wait()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            started = clock()
            work()
            wait()
            seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def extra_memory(work: Callable[[], object], first: Callable[[], object]) -> float:
    """MiB by which ``work`` raises the peak of a process that is forked for it and has done ``first``.

    ``first`` is the same on next to nothing: it brings in the pages of library code that the arithmetic runs on.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        first()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(writing, str((peak - before) / 1024).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return float(found)


def machine() -> str:
    """One line: processor, threads, versions."""
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, one thread, torch {torch.__version__}, Python {platform.python_version()}"
