"""How long pruning to half of the MACs by L1 takes, beside Torch-Pruning's plain call: interleaved, one thread.

    python benchmarks/own_speed.py [--models resnet50 mobilenet_v2] [--rounds 5]

Processor seconds, medians: the whole call with its check; grouping, scoring and cutting alone; Torch-Pruning's call.
Then the memory that each takes at its peak beyond the network's own, in a process of its own.
"""

import argparse
import copy
import multiprocessing
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
import torch_pruning
import torchvision
from torch import nn

from prune_lib.anynet.cutting import cut
from prune_lib.anynet.pruning import prune
from prune_lib.anynet.scores import scores
from prune_lib.anynet.structure import find_structure


def alone(model: nn.Module, inputs: torch.Tensor) -> None:
    """Grouping, scoring and cutting, with about the channels left that half of the MACs takes."""
    structure = find_structure(model, inputs)
    found = scores(model, structure.groups, "l1", None, 1, 0)
    cut(model, structure, {root: each >= each.quantile(0.29) for root, each in found.items()})


def theirs(model: nn.Module, inputs: torch.Tensor) -> None:
    """Torch-Pruning's plain call; it changes ``model``."""
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)]
    torch_pruning.pruner.MagnitudePruner(
        model, inputs, importance=importance, pruning_ratio=0.29, ignored_layers=last[-1:]
    ).step()


WAYS: dict[str, Callable[[nn.Module, torch.Tensor], object]] = {
    "with the check": prune,
    "without": alone,
    "Torch-Pruning": theirs,
}


def seconds(run: Callable[..., object], *given: object) -> float:
    start = time.process_time()
    run(*given)
    return time.process_time() - start


def mebibytes(run: Callable[..., object], *given: object) -> float:
    """How much the peak of the memory in use grows by ``run``, in a process of its own."""
    reading, writing = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(target=_grown, args=(writing, run, *given))
    child.start()
    child.join()
    return reading.recv() if reading.poll() else float("nan")


def _grown(writing: Connection, run: Callable[..., object], *given: object) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
    before = _peak()
    run(*given)
    writing.send((_peak() - before) / 1024)


def _peak() -> int:
    """The most memory that this process had in use, in KiB; of Linux."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    inputs = torch.randn(1, 3, 224, 224)
    for name in args.models:
        network = torchvision.models.get_model(name).eval()
        for unit, digits, measure, rounds in (("s", 2, seconds, args.rounds), ("MiB", 0, mebibytes, 1)):
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, run in WAYS.items():
                    found[way].append(measure(run, copy.deepcopy(network), inputs))
            print(f"{name}:", ", ".join(f"{way} {median(each):.{digits}f} {unit}" for way, each in found.items()))


if __name__ == "__main__":
    main()
