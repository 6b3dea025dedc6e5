"""ResNet-50 under three heads: detection, segmentation and pose, layer by layer as OpenMMLab's configs have them.

Only the backbone is pruned. What stands here is what those papers' figures count: every layer that an image passes.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .init import he_normal
from .resnet import ResNet


def _backbone(widths: Mapping[str, int], deep_stem: bool = False) -> tuple[ResNet, list[int]]:
    """The ResNet of the widths named ``backbone.…``, without a classifier, and the channels of its four stages."""
    own = {conv.removeprefix("backbone."): n for conv, n in widths.items()}
    channels = [own[f"layer{stage}.0.conv3"] for stage in (1, 2, 3, 4)]
    return ResNet(own, num_classes=0, deep_stem=deep_stem), channels


class FPN(nn.Module):
    """Feature pyramid (Lin et al. 2017, arXiv 1612.03144): maps at strides 4 to 32, all of 256 channels.

    With ``levels=5`` a fifth is the fourth at half its resolution.
    """

    def __init__(self, channels: list[int], levels: int, width: int = 256):
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


class FasterRCNN(nn.Module):
    """Faster R-CNN with FPN as its cost is counted: the RPN on five levels, the box head on 1,000 regions.

    ``(1, 3, H, W) -> (1000, num_classes + 1)`` class scores; regions are blank, since no count depends on them.
    """

    init_filters = staticmethod(he_normal)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 80):
        super().__init__()
        self.backbone, channels = _backbone(widths)
        self.neck = FPN(channels, levels=5)
        self.rpn_conv = nn.Conv2d(256, 256, 3, padding=1)
        self.rpn_class = nn.Conv2d(256, 3, 1)
        self.rpn_box = nn.Conv2d(256, 12, 1)
        self.fc1, self.fc2 = nn.Linear(256 * 7 * 7, 1024), nn.Linear(1024, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.box_class = nn.Linear(1024, num_classes + 1)
        self.box = nn.Linear(1024, 4 * num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for level in self.neck(self.backbone.stages(x)):
            shared = F.relu(self.rpn_conv(level))
            self.rpn_class(shared), self.rpn_box(shared)
        regions = self.relu(self.fc2(self.relu(self.fc1(x.new_zeros(1000, 256 * 7 * 7)))))
        self.box(regions)
        return self.box_class(regions)


class PointRend(nn.Module):
    """Semantic FPN with PointRend (Kirillov et al. 2020, arXiv 1912.08193).

    ``(N, 3, H, W)`` -> coarse class scores ``(N, num_classes, H/4, W/4)``. ``points`` refines those of single points;
    evaluation asks it twice, of 8,196 points each time.
    """

    init_filters = staticmethod(he_normal)
    POINTS, STEPS = 8196, 2

    def __init__(self, widths: Mapping[str, int], num_classes: int = 19):
        super().__init__()
        self.backbone, channels = _backbone(widths, deep_stem=True)
        self.neck = FPN(channels, levels=4)
        self.scales = nn.ModuleList()
        for convs in (1, 1, 2, 3):
            self.scales.append(nn.Sequential(*(_conv_bn_relu(128 if i else 256, 128) for i in range(convs))))
        self.coarse = nn.Conv2d(128, num_classes, 1)
        self.point_layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(256 + num_classes, 256, 1), nn.ReLU(inplace=True)) for _ in range(3)
        )
        self.point_class = nn.Conv1d(256 + num_classes, num_classes, 1)

    def points(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Scores of points: their features ``(N, 256, P)`` and coarse scores ``(N, K, P)`` -> ``(N, K, P)``."""
        x = torch.cat([fine, coarse], 1)
        for layer in self.point_layers:
            x = torch.cat([layer(x), coarse], 1)
        return self.point_class(x)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The finest map of the pyramid, ``(N, 256, H/4, W/4)``, and the coarse class scores there."""
        levels = self.neck(self.backbone.stages(x))
        summed = None
        for level, scale in zip(levels, self.scales, strict=True):
            for layers in scale.children():
                level = layers(level)
                if level.shape[-1] < levels[0].shape[-1]:
                    level = F.interpolate(level, scale_factor=2, mode="bilinear", align_corners=False)
            summed = level if summed is None else summed + level
        return levels[0], self.coarse(summed)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.maps(x)
        if not self.training:  # what refinement costs, on the first points: no count depends on which
            for _ in range(self.STEPS):
                self.points(*(m.flatten(2)[:, :, : self.POINTS] for m in (fine, coarse)))
        return coarse


def _conv_bn_relu(channels: int, filters: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU(inplace=True))


class PoseNet(nn.Module):
    """Simple baseline (Xiao et al. 2018, arXiv 1804.06208): ``(N, 3, H, W)`` -> heatmaps ``(N, K, H/4, W/4)``."""

    init_filters = staticmethod(he_normal)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 17):
        super().__init__()
        self.backbone, channels = _backbone(widths)
        layers: list[nn.Module] = []
        for source in (channels[-1], 256, 256):
            layers += [nn.ConvTranspose2d(source, 256, 4, 2, padding=1, bias=False), nn.BatchNorm2d(256)]
            layers += [nn.ReLU(inplace=True)]
        self.deconv = nn.Sequential(*layers)
        self.heatmap = nn.Conv2d(256, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.heatmap(self.deconv(self.backbone.stages(x)[-1]))
