"""The engines of ``prune run --engine`` beside each other: a step of DCFF's networks layer by layer, graphed, compiled.

    python benchmarks/engines.py [--device cpu] [--batch B] [--steps N] [--nets …] [--engines …]

The steps are those of ``runs.training``, on one batch of noise, of the fused networks of the published rates, in bf16
where the processor multiplies it. On a CPU there are no graphs: ``graph`` is left out, and ``compile`` is the fused
kernels alone. What an engine takes before its first steps are done is printed beside its rate, in seconds on the clock.
"""

import argparse
import time
from functools import partial

import torch
from timing import in_turn, machine
from training import noise

from prune_lib.nets import ARCHS, build
from prune_lib.papers import Recipe, get_row
from prune_lib.papers.dcff import DCFF
from prune_lib.runs.engines import ENGINES, WARM
from prune_lib.runs.execution import Execution
from prune_lib.runs.training import _Loop, _optimizer
from prune_lib.system import pick_device, pick_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="images in a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=7, help="of each contestant (default: %(default)s)")
    parser.add_argument("--nets", nargs="+", default=["vgg16", "resnet56", "resnet110", "googlenet"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="(default: all that the device has)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = pick_device(args.device)
    precision = pick_precision(device)
    engines = args.engines or [engine for engine in ENGINES if device.type == "cuda" or engine != "graph"]
    print(f"{machine()}, {device}, {precision}, batches of {args.batch}")
    data = noise(args.batch).to(device)
    images, labels = next(data.batches(args.batch, torch.Generator().manual_seed(0)))
    for net in args.nets:
        contestants, first = {}, {}
        for engine in engines:
            torch.manual_seed(0)
            method = DCFF.for_arch(ARCHS[net])
            model = method.prepare(build(net, get_row(f"dcff/cifar10/{net}").widths)).to(device)
            method.on_epoch(model, 1, 300)  # as in all epochs but the first
            model = model.train().to(memory_format=torch.channels_last)
            recipe = Recipe(batch_size=args.batch)
            optimizer = _optimizer(model, recipe, None if engine == "eager" else device)
            how = Execution(engine=engine)
            loop = _Loop(model, data, recipe, optimizer, None, 0, precision, how, None, None)  # type: ignore[arg-type]
            contestants[engine] = partial(loop.graph or loop._step, images, labels)
            started = time.perf_counter()
            for _ in range(WARM + 1):
                contestants[engine]()
            first[engine] = time.perf_counter() - started
        seconds = in_turn(contestants, args.steps, device)
        for engine in engines:
            print(
                f"{net}, {engine}: {args.batch / seconds[engine]:,.0f} img/s, "
                f"{seconds[engines[0]] / seconds[engine]:.2f} times {engines[0]}; {first[engine]:.0f} s before"
            )


if __name__ == "__main__":
    main()
