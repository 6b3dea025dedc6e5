"""One exploration of FilterExpo on ResNet-50, as a share of a training epoch.

    python benchmarks/filterexpo_step.py [--repetitions R] [--images N]

Timed in turns, on one thread: an exploration (scores, regrowth and masks of all 36 layers, with the singular vectors of
each) and a training step of the same network at 224x224. Printed are medians of the processor time; the share is
of an epoch of ImageNet, computed from the time of a step.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from prune_lib.nets import ARCHS, build
from prune_lib.papers.filterexpo import FilterExpo

IMAGES = 1_281_167  # of an ImageNet epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--images", type=int, default=8, help="in a training step (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    method, model = FilterExpo(ARCHS["resnet50"], sparsity=0.5), build("resnet50")
    method.prepare(model)
    for norm in method.norms.values():  # scales as after some training: not all alike
        torch.nn.init.uniform_(model.get_submodule(norm).weight, 0.1, 1.0)
    method.after_step(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(args.images, 3, 224, 224), torch.randint(1000, (args.images,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        method.after_step(model)

    def explore() -> None:
        method.on_epoch(model, 2, 250)

    step()  # warm
    found: dict[str, list[float]] = {"an exploration": [], "a training step": []}
    for _ in range(args.repetitions):
        for name, work in zip(found, (explore, step), strict=True):
            started = time.process_time()
            work()
            found[name].append(time.process_time() - started)
    exploration, training = (statistics.median(seconds) for seconds in found.values())
    epoch = training * IMAGES / args.images
    print(f"ResNet-50, {len(method.filters)} layers, {method.total} channels; torch {torch.__version__}, one thread")
    print(f"an exploration takes {exploration:.2f} s, a training step of {args.images} images {training:.2f} s")
    print(f"an exploration is {100 * exploration / epoch:.4f} % of an epoch, {exploration / training:.2f} steps")


if __name__ == "__main__":
    main()
