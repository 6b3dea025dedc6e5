"""A ResNet under heads for other tasks, layer by layer as OpenMMLab's configs have them: its pyramid, and pose.

Only the backbone is pruned. The same class is counted and trained: called with images alone in evaluation it passes
every layer whose cost those papers' figures hold, and nothing whose cost depends on what is in the image.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from .init import he_fan_out
from .resnet import ResNet


def backbone(widths: Mapping[str, int], deep_stem: bool = False) -> tuple[ResNet, list[int]]:
    """The ResNet of the widths named ``backbone.…``, without a classifier, and the channels of its stages."""
    own = {conv.removeprefix("backbone."): n for conv, n in widths.items()}
    last = "conv3" if "layer1.0.conv3" in own else "conv2"
    channels = [own[out] for stage in (1, 2, 3, 4) if (out := f"layer{stage}.0.{last}") in own]
    return ResNet(own, num_classes=0, deep_stem=deep_stem), channels


class FPN(nn.Module):
    """Feature pyramid (Lin et al. 2017, arXiv 1612.03144): maps at strides 4 to 32, all of ``width`` channels.

    With ``levels=5`` a fifth is the fourth at half its resolution.
    """

    def __init__(self, channels: list[int], levels: int, width: int):
        super().__init__()
        self.levels = levels
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], size=maps[i - 1].shape[-2:])
        maps = [conv(x) for conv, x in zip(self.smooth, maps, strict=True)]
        return [*maps, F.max_pool2d(maps[-1], 1, 2)] if self.levels > len(maps) else maps


class PoseNet(nn.Module):
    """Simple baseline (Xiao et al. 2018, arXiv 1804.06208): ``(N, 3, H, W)`` -> heatmaps ``(N, K, H/4, W/4)``."""

    init_filters = staticmethod(he_fan_out)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 17, width: int = 256):
        super().__init__()
        self.backbone, channels = backbone(widths)
        layers: list[nn.Module] = []
        for source in (channels[-1], width, width):
            layers += [nn.ConvTranspose2d(source, width, 4, 2, padding=1, bias=False), nn.BatchNorm2d(width)]
            nn.init.normal_(layers[-2].weight, std=0.001)  # type: ignore[arg-type]
            layers += [nn.ReLU(inplace=True)]
        self.deconv = nn.Sequential(*layers)
        self.heatmap = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.heatmap.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.heatmap(self.deconv(self.backbone.stages(x)[-1]))
