"""SSD (Liu et al. 2016, arXiv 1512.02325) over a ResNet's first three stages, the third without its stride.

SSD300's layers and boxes are those of NVIDIA's DeepLearningExamples, which CHEX trains: maps of 38, 19, 10, 5, 3 and 1
cells a side. Boxes, their coding, losses and suppression are torchvision's; NVIDIA cuts the centres of boxes to the
image too, which moves 114 of the 8,732 by 4 pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .dense import backbone
from .imagenet import SSD300
from .init import he_fan_out

SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)  # 21, 45, 99 … 315 of 300 pixels


class SSD(nn.Module):
    """Called with images and targets it gives its losses, with images alone class scores; ``detect`` gives boxes.

    Args:
        extras: of each map behind the backbone's the filters of its 1x1 and 3x3 conv, and the stride of that; the 3x3
            conv pads only where it strides.
        scales: side of the smaller square box of each map, as a share of the image's, and one more.
        cells: pixels of a cell's side in each map; none: the image divided evenly.
    """

    init_filters = staticmethod(he_fan_out)
    least_images = 2  # of a batch in training: the last map is one cell, and BatchNorm needs two

    def __init__(
        self, widths: Mapping[str, int], num_classes: int = 80, extras: Sequence[tuple[int, int, int]] = SSD300,
        scales: Sequence[float] = SCALES, cells: Sequence[int] = (8, 16, 32, 64, 100, 300),
    ):  # fmt: skip
        super().__init__()
        self.num_classes, self.scales, self.cells = num_classes, list(scales), list(cells) or None
        self.backbone, (*_, channels) = backbone(widths)
        for conv in self.backbone.layer3[0].modules():  # type: ignore[index, union-attr]
            if isinstance(conv, nn.Conv2d):
                conv.stride = (1, 1)
        self.extras, maps = nn.ModuleList(), [channels]
        for inner, outer, stride in extras:
            layers = [nn.Conv2d(maps[-1], inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(inner, outer, 3, stride, padding=stride - 1, bias=False), nn.BatchNorm2d(outer)]
            self.extras.append(nn.Sequential(*layers, nn.ReLU(inplace=True)))
            maps.append(outer)
        last = len(maps) - 2  # the first map and the last two have boxes of 1:2, the others of 1:3 as well
        self.ratios = [[2, 3] if 0 < i < last else [2] for i in range(len(maps))]
        sides = [(n, 2 + 2 * len(ratios)) for n, ratios in zip(maps, self.ratios, strict=True)]
        self.classes = nn.ModuleList(nn.Conv2d(n, boxes * (num_classes + 1), 3, padding=1) for n, boxes in sides)
        self.boxes = nn.ModuleList(nn.Conv2d(n, boxes * 4, 3, padding=1) for n, boxes in sides)
        for part in (self.extras, self.classes, self.boxes):
            for conv in part.modules():
                if isinstance(conv, nn.Conv2d):
                    nn.init.xavier_uniform_(conv.weight)
                    if conv.bias is not None:
                        nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]] = (), targets: list[dict] | None = None):
        """Losses by name, given ``targets``, or else class scores ``(N, A, num_classes + 1)`` of all boxes.

        Args:
            x: images ``(N, 3, H, W)`` of one size, so that ``sizes`` says nothing more.
            targets: of each image ``boxes`` ``(M, 4)``, corners in pixels, and ``labels`` ``(M,)`` from 1; M > 0.
        """
        maps = self._maps(x)
        if targets is None:
            return self._answers(maps)["cls_logits"]
        from torchvision.ops import box_iou

        ssd, anchors = self._torchvision(x, maps)
        matches = [
            ssd.proposal_matcher(box_iou(target["boxes"], own)) for target, own in zip(targets, anchors, strict=True)
        ]
        return ssd.compute_loss(targets, self._answers(maps), anchors, matches)

    def detect(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Of each image ``boxes`` ``(M, 4)``, ``labels`` ``(M,)`` from 1 and ``scores`` ``(M,)``, best first."""
        maps = self._maps(x)
        ssd, anchors = self._torchvision(x, maps)
        return ssd.postprocess_detections(self._answers(maps), anchors, list(sizes))

    def _maps(self, x: Tensor) -> list[Tensor]:
        maps = [self.backbone.stages(x)[-1]]
        for layers in self.extras:
            maps.append(layers(maps[-1]))
        return maps

    def _answers(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Class scores and corrections of every box, as torchvision calls them: cell by cell, map by map."""
        named = {"cls_logits": (self.classes, self.num_classes + 1), "bbox_regression": (self.boxes, 4)}
        return {
            name: torch.cat(
                [conv(x).permute(0, 2, 3, 1).reshape(len(x), -1, n) for conv, x in zip(convs, maps, strict=True)], 1
            ).float()
            for name, (convs, n) in named.items()
        }

    def _torchvision(self, x: Tensor, maps: list[Tensor]):
        """Torchvision's SSD without layers, and the boxes ``(A, 4)`` of each image, corners in pixels."""
        from torchvision.models.detection import ssd
        from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
        from torchvision.models.detection.image_list import ImageList

        boxes = DefaultBoxGenerator(self.ratios, scales=self.scales, steps=self.cells)
        height, width = x.shape[2:]
        judge = ssd.SSD(
            nn.Identity(), boxes, (height, width), self.num_classes + 1, head=nn.Identity(), score_thresh=0.05,
            nms_thresh=0.5, detections_per_img=200, topk_candidates=200,
        )  # fmt: skip
        whole = [own.float() for own in maps]  # boxes have the precision of the maps
        return judge, boxes(ImageList(x, [(height, width)] * len(x)), whole)
