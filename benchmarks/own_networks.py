"""What works on networks that are not this project's own: every model and criterion, pruned to half of its MACs.

    python benchmarks/own_networks.py [--models NAME …] [--criteria NAME …] [--side 64] [--flops 0.5] [--json]

Random weights, with BatchNorm's statistics and affine parameters shaken, so that a forgotten one would show; images of
noise. What is compared are the outputs of the masked and of the smaller network, relative to the largest output, on
these weights and on others drawn anew: above 1e-5 a network is refused. A refusal says why.
"""

import argparse
import json
import time

import torch
from torch import nn

import prune_lib
from prune_lib.anynet.groups import shaken
from prune_lib.system import InputError

IGNORED = {  # refused as they are; with these layers whole, the rest can be pruned
    "timm convnext_atto": ["stem.0", *(f"stages.{stage}.downsample.1" for stage in (1, 2, 3))],
    "prune_lib resnet20": ["conv1"],
}


class UNet(nn.Module):
    """A small U-Net: three levels of two convs, joined by concatenation, up by transposed convs."""

    def __init__(self, widths=(16, 32, 64), classes=4):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(self.level(c, w) for c, w in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(c, w, 2, 2) for c, w in pairs)
        self.join = nn.ModuleList(self.level(2 * w, w) for _, w in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    @staticmethod
    def level(inputs, outputs):
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x):
        maps = []
        for level in self.down:
            x = level(self.pool(x) if maps else x)
            maps.append(x)
        for up, join, skip in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.head(x)


def models() -> dict:
    """Name -> a function that builds it with random weights."""
    import timm
    import torchvision

    names = (
        "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "densenet121",
        "resnext50_32x4d", "shufflenet_v2_x0_5",
    )  # fmt: skip
    found = {f"torchvision {name}": lambda name=name: getattr(torchvision.models, name)() for name in names}
    found["a small U-Net"] = UNet
    for name in ("resnet18d", "regnetx_002", "mobilenetv3_small_050", "tf_efficientnetv2_b0", "convnext_atto"):
        found[f"timm {name}"] = lambda name=name: timm.create_model(name)
    return found | {"prune_lib resnet20": lambda: prune_lib.build("resnet20")}


def attempt(name: str, build, criterion: str, side: int, flops: float, ignore: list[str]) -> dict:
    """One row of the table: what was left of the model, or why it was refused."""
    torch.manual_seed(0)
    model, images = shaken(build()), torch.randn(8, 3, side, side)
    start = time.process_time()
    row: dict = {"model": f"{name}, ignoring {' '.join(ignore)}" if ignore else name, "criterion": criterion}
    try:
        pruned = prune_lib.prune(model, images[:2], criterion, data=[images], flops=flops, ignore=ignore)
        figures = {key: getattr(pruned, key) for key in ("full_macs", "macs", "full_params", "params", "difference")}
        row |= {"works": True, **figures}
    except InputError as error:
        row |= {"works": False, "reason": str(error)}
    return row | {"seconds": round(time.process_time() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = models()
    parser.add_argument("--models", nargs="+", default=list(known), metavar="NAME", help=", ".join(known))
    parser.add_argument("--criteria", nargs="+", default=["cdp", "cfdp", "l1", "random"])
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels (default: %(default)s)")
    parser.add_argument("--flops", type=float, default=0.5, help="share of the MACs to keep (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.json:
        print("| model | criterion | MACs | left | params | left | masked and smaller differ | s |")
        print("|---|---|---|---|---|---|---|---|")
    for name in args.models:
        for ignore in ([], IGNORED[name]) if name in IGNORED else ([],):
            for criterion in args.criteria:
                row = attempt(name, known[name], criterion, args.side, args.flops, ignore)
                print(json.dumps(row) if args.json else line(row), flush=True)
                if not row["works"]:
                    break  # whatever the criterion


def line(row: dict) -> str:
    """A row as a line of a Markdown table."""
    if not row["works"]:
        return f"| {row['model']} | {row['criterion']} | refused: {row['reason']} | | | | | {row['seconds']} |"
    return (
        f"| {row['model']} | {row['criterion']} | {row['full_macs'] / 1e6:.1f}M | "
        f"{row['macs'] / row['full_macs']:.1%} | {row['full_params'] / 1e6:.2f}M | "
        f"{row['params'] / row['full_params']:.1%} | {row['difference']:.1e} | {row['seconds']} |"
    )


if __name__ == "__main__":
    main()
