"""CIFAR ResNets with parameter-free shortcuts, option A (He et al. 2016, arXiv 1512.03385, section 4.2).

Module names are those of akamaster/pytorch_resnet_cifar10, so that its published weights load as they are.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .init import he_fan_in


class Block(nn.Module):
    """Two 3x3 convs beside a shortcut, which is zero-padded, or cropped, on both sides where channels differ."""

    source: Tensor | None

    def __init__(self, channels: int, inner: int, outer: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.relu2 = nn.ReLU(inplace=True)
        before = (outer - channels) // 2
        self.register_buffer("source", None)  # see take_channels
        self.stride, self.pad = stride, (before, outer - channels - before)  # a negative pad crops

    def take_channels(self, source: Tensor) -> None:
        """Let the shortcut's channel j be its input's ``source[j]``, or zeros for -1, as a pruned stream needs.

        The choice is saved with the weights, unless it is what padding or cropping would give.
        """
        usual = torch.arange(len(source)) - self.pad[0]
        usual[(usual < 0) | (usual >= self.conv1.in_channels)] = -1
        if not torch.equal(source.cpu(), usual):
            self.source = source.to(self.conv1.weight.device)

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.source is not None:
            return F.pad(x, (0, 0, 0, 0, 0, 1))[:, self.source]  # -1 is the plane of zeros behind the last
        return F.pad(x, (0, 0, 0, 0, *self.pad)) if any(self.pad) else x

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three stages of blocks: ``(N, 3, 32, 32) -> (N, num_classes)``. The depth follows from the widths."""

    init_filters = staticmethod(he_fan_in)
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module

    def __init__(self, widths: Mapping[str, int], num_classes: int = 10):
        super().__init__()
        channels = widths["conv1"]
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        for stage in (1, 2, 3):
            blocks = []
            for block in range((len(widths) - 1) // 6):
                inner, outer = (widths[f"layer{stage}.{block}.conv{i}"] for i in (1, 2))
                blocks.append(Block(channels, inner, outer, stride=2 if stage > 1 and block == 0 else 1))
                channels = outer
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # the linear layer too, as the published code draws it
                he_fan_in(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.avgpool(x).flatten(1))
