"""MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen 2018, arXiv 1801.04381), width multiplier 1."""

from collections.abc import Mapping

from torch import Tensor, nn

from .imagenet import MOBILE_STRIDES
from .init import he_fan_out


class Block(nn.Module):
    """1x1 expansion (none in the first block), 3x3 depthwise, linear 1x1 projection; added to its input if it can be.

    The published network adds where neither stride nor the number of *full* channels changes, so whether a block adds
    is given, not found from widths that may agree by chance.
    """

    def __init__(self, channels: int, expand: int | None, depthwise: int, project: int, stride: int, adds: bool):
        super().__init__()
        self.adds, self.expands = adds, expand is not None
        if expand is not None:
            self.expand = nn.Conv2d(channels, expand, 1, bias=False)
            self.expand_bn = nn.BatchNorm2d(expand)
            self.expand_relu = nn.ReLU6(inplace=True)
        self.depthwise = nn.Conv2d(depthwise, depthwise, 3, stride, padding=1, groups=depthwise, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(depthwise)
        self.depthwise_relu = nn.ReLU6(inplace=True)
        self.project = nn.Conv2d(depthwise, project, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(project)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand_relu(self.expand_bn(self.expand(x))) if self.expands else x
        y = self.depthwise_relu(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """A stem, 17 inverted residual blocks, a last 1x1 conv: ``(N, 3, H, W) -> (N, num_classes)``."""

    init_filters = staticmethod(he_fan_out)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 1000):
        super().__init__()
        channels = widths["features.0.0"]
        self.features = nn.Sequential(_conv_bn_relu(3, channels, 3, 2))
        for index, stride in enumerate(MOBILE_STRIDES, 1):
            block = f"features.{index}"
            expand, depthwise, project = (
                widths.get(f"{block}.expand"),
                widths[f"{block}.depthwise"],
                widths[f"{block}.project"],
            )
            adds = index in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
            self.features.append(Block(channels, expand, depthwise, project, stride, adds))
            channels = project
        last = widths["features.18.0"]
        self.features.append(_conv_bn_relu(channels, last, 1, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_fan_out(module.weight)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _conv_bn_relu(channels: int, filters: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU6(inplace=True))
