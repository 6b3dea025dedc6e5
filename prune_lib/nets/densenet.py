"""DenseNet for 32x32 images (Huang et al. 2017, arXiv 1608.06993), without bottlenecks or compression."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .init import he_fan_in


class Layer(nn.Module):
    """BN-ReLU-conv; returns its input and its output, concatenated."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(self.relu(self.bn(x)))], 1)


class Transition(nn.Sequential):
    """BN-ReLU-1x1 conv, then half the resolution."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, filters, 1, bias=False)
        self.pool = nn.AvgPool2d(2)


class DenseNet(nn.Sequential):
    """A stem and three dense blocks with two transitions: ``(N, 3, 32, 32) -> (N, num_classes)``."""

    init_filters = staticmethod(he_fan_in)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 10):
        super().__init__()
        channels = widths["conv1"]
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for block in (1, 2, 3):
            layers = nn.Sequential()
            for conv, filters in widths.items():
                if conv.startswith(f"dense{block}."):
                    layers.append(Layer(channels, filters))
                    channels += filters
            self.add_module(f"dense{block}", layers)
            if block < 3:
                filters = widths[f"trans{block}.conv"]
                self.add_module(f"trans{block}", Transition(channels, filters))
                channels = filters
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(8)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_fan_in(module.weight)
