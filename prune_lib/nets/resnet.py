"""ImageNet ResNets (He et al. 2016, arXiv 1512.03385), v1.5: the stride of a bottleneck is on its 3x3 conv.

With ``early_stride`` it is on the first 1x1 conv, as the first authors have it (v1).

Module names are torchvision's, so that published weights load as they are; those of the deep stem are OpenMMLab's.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from .init import he_fan_out


class Block(nn.Module):
    """Two 3x3 convs, or 1x1, 3x3 and 1x1, beside a shortcut, which has a conv where the shape changes."""

    def __init__(self, channels: int, widths: list[int], stride: int, shortcut: int | None, early_stride: bool = False):
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        strided = 0 if early_stride else kernels.index(3)
        for i, (filters, kernel) in enumerate(zip(widths, kernels, strict=True)):
            step = stride if i == strided else 1
            self.add_module(
                f"conv{i + 1}",
                nn.Conv2d(widths[i - 1] if i else channels, filters, kernel, step, padding=kernel // 2, bias=False),
            )
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(filters))
            self.add_module(f"relu{i + 1}", nn.ReLU(inplace=True))
        self.depth = len(widths)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, shortcut, 1, stride, bias=False), nn.BatchNorm2d(shortcut))
            if shortcut
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.depth):
            x = getattr(self, f"relu{i}")(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        last = self.depth
        x = getattr(self, f"bn{last}")(getattr(self, f"conv{last}")(x))
        return getattr(self, f"relu{last}")(x + shortcut)


class ResNet(nn.Module):
    """Stem, four stages, one linear layer: ``(N, 3, H, W) -> (N, num_classes)``. The depth follows from the widths.

    With ``num_classes=0`` it is a backbone, of which only ``stages`` is used: the maps at strides 4, 8, 16 and 32.
    """

    init_filters = staticmethod(he_fan_out)

    def __init__(
        self, widths: Mapping[str, int], num_classes: int = 1000, deep_stem: bool = False, early_stride: bool = False
    ):
        super().__init__()
        self.deep_stem = deep_stem
        if deep_stem:
            self.stem = nn.Sequential()
            channels = 3
            for i, stride in ((0, 2), (3, 1), (6, 1)):
                self.stem.append(nn.Conv2d(channels, channels := widths[f"stem.{i}"], 3, stride, padding=1, bias=False))
                self.stem.append(nn.BatchNorm2d(channels)).append(nn.ReLU(inplace=True))
        else:
            channels = widths["conv1"]
            self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage in (1, 2, 3, 4):
            blocks = nn.Sequential()
            while f"layer{stage}.{len(blocks)}.conv1" in widths:
                prefix = f"layer{stage}.{len(blocks)}."
                own = [n for conv, n in widths.items() if conv.startswith(f"{prefix}conv")]
                stride = 2 if stage > 1 and len(blocks) == 0 else 1
                blocks.append(Block(channels, own, stride, widths.get(f"{prefix}downsample.0"), early_stride))
                channels = own[-1]
            self.add_module(f"layer{stage}", blocks)
        if num_classes:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                he_fan_out(module.weight)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages for images ``(N, 3, H, W)``."""
        x = self.maxpool(self.stem(x) if self.deep_stem else self.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.stages(x)[-1]).flatten(1))
