"""What share of the device's measured peak training reaches: of its matrix products, and of its memory's bandwidth.

    python benchmarks/peak.py [--device cpu] [--batch B] [--steps N] [--nets …]

Peaks are measured here, in the same run: a large square matrix product in the precision that training uses, and the
copy of an array larger than any cache. A step has three times the multiply-accumulates of a forward pass, two
operations each; what it moves at the least is each conv's and norm's output, written once and read twice, forward and
backward. Both shares are of that arithmetic, not of counters.
"""

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from timing import in_turn, machine
from torch import nn

from prune_lib.cost import cost
from prune_lib.nets import build
from prune_lib.nets.hooks import watching
from prune_lib.system import pick_device, pick_precision


def moved(model: nn.Module, images: torch.Tensor) -> int:
    """Values that convs and norms write for a batch."""
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    sizes: list[int] = []
    with torch.no_grad(), watching(model, layers, lambda layer, output: sizes.append(output.numel())):
        model(images)
    return sum(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images in a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--nets", nargs="+", default=["vgg16", "resnet56"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = pick_device(args.device)
    precision = pick_precision(device)
    kind, size = (torch.bfloat16, 2) if precision == "bf16" else (torch.float32, 4)
    side, length = (2048, 2**25) if device.type == "cpu" else (8192, 2**29)
    print(f"{machine()}, {device}, {precision}, batches of {args.batch}")
    a, b, c = (torch.randn(side, side, device=device, dtype=kind) for _ in range(3))
    array, copied = (torch.ones(length, device=device, dtype=kind) for _ in range(2))  # no fresh pages are paid for
    for name in args.nets:
        model = build(name).to(device).to(memory_format=torch.channels_last).train()
        images = torch.randn(args.batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (args.batch,), device=device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(model=model, images=images, labels=labels, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        contestants = {"matrix": partial(torch.mm, a, b, out=c), "copy": partial(copied.copy_, array), "step": step}
        times = in_turn(contestants, args.steps, device)
        matrix, copy, seconds = 2 * side**3 / times["matrix"], 2 * size * length / times["copy"], times["step"]
        operations = 6 * cost(name, None, "macs").flops * args.batch / seconds
        values = 2 * 3 * size * moved(model, images) / seconds
        print(
            f"{name}: {args.batch / seconds:,.0f} img/s; {operations / 1e9:,.0f} of {matrix / 1e9:,.0f} GFLOP/s "
            f"({operations / matrix:.0%} of the matrix peak); at least {values / 1e9:,.1f} of {copy / 1e9:,.1f} GB/s "
            f"({values / copy:.0%} of the bandwidth)"
        )


if __name__ == "__main__":
    main()
