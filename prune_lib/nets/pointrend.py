"""Semantic FPN with PointRend (Kirillov et al. 2020, arXiv 1912.08193), as mmseg has its layers."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dense import FPN, backbone
from .init import he_fan_out


class PointRend(nn.Module):
    """``(N, 3, H, W)`` -> coarse class scores ``(N, num_classes, H/4, W/4)``; ``refine`` sharpens them by points.

    In training it gives the coarse scores, the points that it is least sure of, and those points' refined scores.
    In evaluation, called with images alone, it refines the first points, twice: no count depends on which.
    """

    init_filters = staticmethod(he_fan_out)
    POINTS, STEPS = 8196, 2  # that evaluation refines in each step, and steps, each of which doubles the resolution
    TRAINED = 2048  # points of each image in training: three quarters the least sure of three times as many

    def __init__(self, widths: Mapping[str, int], num_classes: int = 19, width: int = 256):
        super().__init__()
        self.backbone, channels = backbone(widths, deep_stem="backbone.stem.0" in widths)
        self.neck = FPN(channels, 4, width)
        self.scales = nn.ModuleList()
        for convs in (1, 1, 2, 3):
            half = width // 2
            self.scales.append(nn.Sequential(*(_conv_bn_relu(half if i else width, half) for i in range(convs))))
        self.coarse = nn.Conv2d(width // 2, num_classes, 1)
        self.point_layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width + num_classes, width, 1), nn.ReLU(inplace=True)) for _ in range(3)
        )
        self.point_class = nn.Conv1d(width + num_classes, num_classes, 1)

    def points(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Scores of points: their features ``(N, width, P)`` and coarse scores ``(N, K, P)`` -> ``(N, K, P)``."""
        x = torch.cat([fine, coarse], 1)
        for layer in self.point_layers:
            x = torch.cat([layer(x), coarse], 1)
        return self.point_class(x)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The finest map of the pyramid, ``(N, width, H/4, W/4)``, and the coarse class scores there."""
        levels = self.neck(self.backbone.stages(x))
        summed = None
        for level, scale in zip(levels, self.scales, strict=True):
            for layers in scale.children():
                level = layers(level)
                if level.shape[-1] < levels[0].shape[-1]:
                    level = F.interpolate(level, scale_factor=2, mode="bilinear", align_corners=False)
            summed = level if summed is None else summed + level
        return levels[0], self.coarse(summed)

    def forward(self, x: Tensor):
        fine, coarse = self.maps(x)
        if self.training:
            fine, coarse = fine.float(), coarse.float()
            where = least_sure(coarse.detach(), self.TRAINED)
            return coarse, where, self.points(sample(fine, where), sample(coarse, where)).float()
        for _ in range(self.STEPS):
            self.points(*(m.flatten(2)[:, :, : self.POINTS] for m in (fine, coarse)))
        return coarse

    def refine(self, x: Tensor, points: int = POINTS) -> Tensor:
        """Class scores ``(N, num_classes, H, W)`` by subdivision (section 3.1).

        Twice the scores are enlarged twofold, and those of the ``points`` that are least sure are taken anew from the
        finest map. A step but the last is left out where it would take all of them. With no points they are enlarged.
        """
        fine, coarse = (m.float() for m in self.maps(x))
        scores = coarse
        for step in range(1, self.STEPS + 1):
            scores = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
            n, classes, height, width = scores.shape
            if not points or (points >= height * width and step < self.STEPS):
                continue
            index = doubt(scores.flatten(2)).topk(min(points, height * width), dim=1).indices
            where = torch.stack([(index % width + 0.5) / width, (index // width + 0.5) / height], 2)
            refined = self.points(sample(fine, where), sample(coarse, where)).float()
            index = index[:, None].expand(-1, classes, -1)
            scores = scores.flatten(2).scatter(2, index, refined).view(n, classes, height, width)
        return scores


def doubt(scores: Tensor) -> Tensor:
    """How unsure a point is, ``(N, K, P) -> (N, P)``: the second best class score less the best, 0 at most."""
    best = scores.topk(2, dim=1).values
    return best[:, 1] - best[:, 0]


def sample(maps: Tensor, where: Tensor) -> Tensor:
    """Values of ``maps`` ``(N, C, h, w)`` at points ``(N, P, 2)``, x and y in [0, 1]: bilinear, ``(N, C, P)``."""
    return F.grid_sample(maps, 2 * where[:, :, None] - 1, align_corners=False)[..., 0]


def least_sure(coarse: Tensor, count: int) -> Tensor:
    """``count`` points of each image ``(N, count, 2)``: three quarters the least sure of 3 x count, the rest any."""
    many = torch.rand(len(coarse), 3 * count, 2, device=coarse.device)
    chosen = doubt(sample(coarse, many)).topk(3 * count // 4, dim=1).indices
    sure_of_least = many.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([sure_of_least, torch.rand(len(coarse), count - chosen.shape[1], 2, device=coarse.device)], 1)


def _conv_bn_relu(channels: int, filters: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU(inplace=True))
