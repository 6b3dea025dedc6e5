"""GoogLeNet for 32x32 images (Szegedy et al. 2015, arXiv 1409.4842), the CIFAR variant that the pruning papers use:
one 3x3 stem conv, BatchNorm everywhere, and two 3x3 convs where the original has one 5x5."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .init import torch_default


class ConvNorm(nn.Sequential):
    """conv(bias)-BN-ReLU at stride 1; the size stays the same."""

    def __init__(self, channels: int, filters: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1-3x3; 1x1-3x3-3x3; pool-1x1. Their outputs are concatenated."""

    def __init__(self, channels: int, width: Mapping[str, int]):
        super().__init__()
        self.b1 = ConvNorm(channels, width["b1"], 1)
        self.b2_reduce = ConvNorm(channels, width["b2_reduce"], 1)
        self.b2 = ConvNorm(width["b2_reduce"], width["b2"], 3)
        self.b3_reduce = ConvNorm(channels, width["b3_reduce"], 1)
        self.b3_a = ConvNorm(width["b3_reduce"], width["b3_a"], 3)
        self.b3_b = ConvNorm(width["b3_a"], width["b3_b"], 3)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.b4 = ConvNorm(channels, width["b4"], 1)
        self.out_channels = width["b1"] + width["b2"] + width["b3_b"] + width["b4"]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self.b1(x),
                self.b2(self.b2_reduce(x)),
                self.b3_b(self.b3_a(self.b3_reduce(x))),
                self.b4(self.pool(x)),
            ],
            dim=1,
        )


class GoogLeNet(nn.Sequential):
    """A stem, nine inceptions and two max-pools: ``(N, 3, 32, 32) -> (N, num_classes)``."""

    init_filters = staticmethod(torch_default)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 10):
        super().__init__()
        channels = widths["stem.conv"]
        self.stem = ConvNorm(3, channels, 3)
        for name in dict.fromkeys(conv.split(".")[0] for conv in widths if conv != "stem.conv"):
            if name in ("a4", "a5"):
                self.add_module(f"pool_{name}", nn.MaxPool2d(3, stride=2, padding=1))
            branches = {conv.split(".")[1]: n for conv, n in widths.items() if conv.startswith(f"{name}.")}
            inception = Inception(channels, branches)
            self.add_module(name, inception)
            channels = inception.out_channels
        self.avgpool = nn.AvgPool2d(8)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, num_classes)
