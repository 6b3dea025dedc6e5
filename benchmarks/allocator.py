"""A training step with the memory that is kept and with the C library's own ways.

    python benchmarks/allocator.py [--batch B …] [--nets …] [--rounds N]

``keep_freed_memory()`` tells glibc to keep what tensors free. What malloc was told holds for a whole process, so each
of the two has one; they take turns, step by step. Steps of the full networks in bf16 where the processor multiplies it.
"""

import argparse
import multiprocessing
import resource
import statistics

import torch
import torch.nn.functional as F
from timing import machine

from prune_lib.nets import build
from prune_lib.system import pick_precision
from prune_lib.system.device import keep_freed_memory


def work(pipe, name: str, batch: int, keep: bool) -> None:
    """Make a step for each message until an empty one; answer with the processor time of user and system."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cpu")
    if keep:
        keep_freed_memory()
    bf16 = pick_precision(device) == "bf16"
    model = build(name).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    while pipe.recv():
        before = resource.getrusage(resource.RUSAGE_SELF)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--nets", nargs="+", default=["vgg16", "resnet56", "resnet110", "googlenet"])
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    args = parser.parse_args()
    print(machine())
    context = multiprocessing.get_context("spawn")
    for name in args.nets:
        for batch in args.batch:
            ends = {}
            for keep in (False, True):
                ends[keep], far = context.Pipe()
                context.Process(target=work, args=(far, name, batch, keep), daemon=True).start()
            seconds = {False: [], True: []}
            for turn in range(args.rounds + 2):  # the first two are not counted
                for keep, end in ends.items():
                    end.send(True)
                    found = end.recv()
                    if turn > 1:
                        seconds[keep].append(found)
            for end in ends.values():
                end.send(False)
            own, kept = (statistics.median(map(sum, seconds[keep])) for keep in (False, True))
            system = statistics.median(each[1] for each in seconds[False])
            print(
                f"{name}, batches of {batch}: {own:.3f} s a step by the library's ways, {system:.3f} of it the "
                f"system's; {kept:.3f} s with memory kept: {own / kept:.2f} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main()
