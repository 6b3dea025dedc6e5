"""How long pruning to half of the MACs by L1 takes, beside Torch-Pruning's plain call: interleaved, one thread.

    python benchmarks/own_speed.py [--models resnet50 mobilenet_v2] [--rounds 5]

Processor seconds, medians: the whole call with its check; grouping, scoring and cutting alone; Torch-Pruning's call.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
import torch_pruning
import torchvision
from torch import nn

from prune_lib.anynet.pruning import prune
from prune_lib.anynet.scores import scores
from prune_lib.anynet.structure import OUTPUT, cut, find_structure


def alone(model: nn.Module, inputs: torch.Tensor) -> None:
    """Grouping, scoring and cutting, with about the channels left that half of the MACs takes."""
    structure = find_structure(model, inputs)
    found = scores(model, structure.groups, "l1", None, 1, 0)
    cut(model, structure, {root: each >= each.quantile(0.29) for root, each in found.items()})


def theirs(model: nn.Module, inputs: torch.Tensor, whole: list[nn.Module]) -> None:
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    torch_pruning.pruner.MagnitudePruner(
        model, inputs, importance=importance, pruning_ratio=0.29, ignored_layers=whole
    ).step()


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    inputs = torch.randn(1, 3, 224, 224)
    for name in args.models:
        rounds: list[tuple[float, float, float]] = []
        for _ in range(args.rounds):
            model = torchvision.models.get_model(name).eval()
            whole = find_structure(model, inputs).whole
            last = [model.get_submodule(layer) for layer, why in whole.items() if why == OUTPUT]
            rounds.append((
                seconds(lambda model=model: prune(model, inputs)),
                seconds(lambda model=model: alone(model, inputs)),
                seconds(lambda model=model, last=last: theirs(model, inputs, last)),
            ))  # fmt: skip
        whole_call, parts, other = (median(times) for times in zip(*rounds, strict=True))
        print(
            f"{name}: with the check {whole_call:.2f} s, without {parts:.2f} s, Torch-Pruning {other:.2f} s", flush=True
        )


if __name__ == "__main__":
    main()
