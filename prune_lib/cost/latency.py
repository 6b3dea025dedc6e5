"""How long the full and the compact network take, beside how many operations they have.

FLOPs are not time: memory, thin layers and fixed costs of a call are not among them. The two networks take turns, so
that other load on the machine hits both; medians are reported.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ..nets import arch_of, build, read_spec
from ..nets.spec import Widths
from ..system.device import pick_device
from ..system.errors import InputError
from ..system.provenance import provenance
from .counting import count

ROUNDS = 5  # at the least, however long they take


def latency(
    arch: str,
    rates: str | None = None,
    *,
    layout: str | None = None,
    widths: Widths | None = None,
    batches: Sequence[int] = (),
    threads: int = 1,
    device: str = "cpu",
    seconds: float = 10.0,
) -> dict:
    """Milliseconds a batch of ``arch``, full and with the widths of ``rates`` (or ``widths``), for each of ``batches``.

    On a CPU with one thread the processor time of this process is taken, so that a busy machine matters less; with
    more threads, or on another device, the time on the clock.

    Args:
        batches: images at once (default: 1 and 256; 1 and 16 for images above 64 pixels).
        seconds: how long to measure each batch size, with at least 5 rounds.

    Returns:
        ``arch``, ``rates``, ``clock``, ``threads``, ``flops_ratio`` and ``params_ratio`` (full / compact, rule
        ``macs``), ``results`` and ``provenance``. A result has ``batch``, ``rounds``, ``full_ms`` and ``compact_ms``
        (medians), ``full_spread`` and ``compact_spread`` (quartile range / median), ``ratio`` (full / compact).

    Raises:
        InputError: an unknown arch, device or spec, or numbers that are not from 1.
    """
    image = arch_of(arch).image
    widths = widths or read_spec(arch, rates, layout)[1]
    batches = list(batches) or [1, 256 if image[-1] <= 64 else 16]
    for name, values in (("batch", batches), ("threads", [threads])):
        if not all(type(value) is int and value >= 1 for value in values):
            raise InputError(f"{name} is {' '.join(map(str, values))}; expected whole numbers from 1")
    if not 0 < seconds <= 3600:
        raise InputError(f"seconds is {seconds}; expected 0 … 3600")
    where = pick_device(device)
    by_cpu = where.type == "cpu" and threads == 1
    torch.manual_seed(0)
    networks = [build(arch, chosen).eval().to(where) for chosen in (None, widths)]
    (full_params, full_macs), (params, macs) = (count(net, "macs", image) for net in networks)
    with _threads(threads):
        results = [_measure(networks, (batch, *image), by_cpu, seconds, where) for batch in batches]
        facts = provenance(where)
    return {
        "arch": arch,
        "rates": rates,
        "clock": "processor time of the process" if by_cpu else "time on the clock",
        "threads": threads,
        "flops_ratio": full_macs / macs,
        "params_ratio": full_params / params,
        "results": results,
        "provenance": facts,
    }


@torch.inference_mode()
def _measure(networks: Sequence[nn.Module], shape: tuple[int, ...], by_cpu: bool, seconds: float, device) -> dict:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    clock = time.process_time if by_cpu else time.perf_counter
    times: tuple[list[float], list[float]] = ([], [])
    for network in networks:
        network(images)
    end = time.perf_counter() + seconds
    while len(times[0]) < ROUNDS or time.perf_counter() < end:
        first = len(times[0]) % 2  # who starts takes turns, too
        for index in (first, 1 - first):
            _wait(device)
            start = clock()
            networks[index](images)
            _wait(device)
            times[index].append(clock() - start)
    medians = [1000 * statistics.median(each) for each in times]
    spreads = [1000 * (q[2] - q[0]) / m for q, m in zip(map(statistics.quantiles, times), medians, strict=True)]
    return {
        "batch": shape[0], "rounds": len(times[0]), "full_ms": medians[0], "compact_ms": medians[1],
        "full_spread": spreads[0], "compact_spread": spreads[1], "ratio": medians[0] / medians[1],
    }  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_text(found: dict) -> str:
    """The result of ``latency`` as a small table with the hardware and versions under it."""
    hardware, versions = found["provenance"]["hardware"], found["provenance"]["versions"]
    lines = [
        f"{found['arch']}, {'rates ' + found['rates'] if found['rates'] else 'full beside full'}: "
        f"{found['flops_ratio']:.2f} x fewer FLOPs (macs), {found['params_ratio']:.2f} x fewer params",
        f"{'batch':>6} {'full ms':>10} {'compact ms':>11} {'x faster':>9} {'rounds':>7} {'spread':>15}",
    ]
    for each in found["results"]:
        lines.append(
            f"{each['batch']:6} {each['full_ms']:10.2f} {each['compact_ms']:11.2f} {each['ratio']:9.2f} "
            f"{each['rounds']:7} {each['full_spread']:7.1%} {each['compact_spread']:7.1%}"
        )
    lines.append(
        f"medians of {found['clock']}, {found['threads']} thread{'s' if found['threads'] > 1 else ''}, float32"
    )
    lines.append(f"{hardware['name']}; {', '.join(f'{name} {number}' for name, number in versions.items())}")
    return "\n".join(lines)
