"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid, as mmdet has its layers, and Mask R-CNN.

Anchors, sampling, box coding, losses and suppression are torchvision's, around our layers.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .dense import FPN, backbone
from .init import he_fan_out

LEVELS = ("0", "1", "2", "3", "4")


class FasterRCNN(nn.Module):
    """Called with images and targets it gives its losses; ``detect`` gives boxes.

    With images ``(1, 3, H, W)`` alone it does what its cost is counted by: the RPN on five levels, the box head on
    1,000 regions, ``-> (1000, num_classes + 1)`` class scores, the background's first. Each of those regions is the
    whole of the first image: no count depends on them, and the scores depend on every layer of the backbone.
    """

    init_filters = staticmethod(he_fan_out)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 80, width: int = 256, regions: int = 512):
        super().__init__()
        self.width, self.regions = width, regions  # regions: so many of each image the box head is trained on
        self.backbone, channels = backbone(widths)
        self.neck = FPN(channels, 5, width)
        self.rpn_conv = nn.Conv2d(width, width, 3, padding=1)
        self.rpn_class = nn.Conv2d(width, 3, 1)
        self.rpn_box = nn.Conv2d(width, 12, 1)
        self.fc1, self.fc2 = nn.Linear(width * 7 * 7, 4 * width), nn.Linear(4 * width, 4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.box_class = nn.Linear(4 * width, num_classes + 1)
        self.box = nn.Linear(4 * width, 4 * num_classes)
        for layer in (self.rpn_conv, self.rpn_class, self.rpn_box, self.box_class, self.box):
            nn.init.normal_(layer.weight, std=0.001 if layer is self.box else 0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]] = (), targets: list[dict] | None = None):
        """Losses by name, given ``targets``, or else the class scores of 1,000 regions.

        Args:
            x: images, smaller ones padded; ``sizes`` are height and width of each.
            targets: of each image ``boxes`` ``(M, 4)``, corners in pixels, ``labels`` ``(M,)`` from 1 and, where masks
                are learnt, ``masks`` ``(M, h, w)`` of 0 and 1.
        """
        levels = self.neck(self.backbone.stages(x))
        if targets is None:
            self._score_anchors(levels)
            return self._score_regions(levels)
        rpn, head, listed, features = self._torchvision(x, levels, sizes)
        regions, losses = rpn(listed, features, targets)
        return losses | head(features, regions, listed.image_sizes, targets)[1]

    def detect(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Of each image ``boxes`` ``(M, 4)``, ``labels`` ``(M,)`` from 1 and ``scores`` ``(M,)``, best first.

        Mask R-CNN's ``masks`` ``(M, 1, 28, 28)`` are probabilities within the boxes.
        """
        rpn, head, listed, features = self._torchvision(x, self.neck(self.backbone.stages(x)), sizes)
        return head(features, rpn(listed, features)[0], listed.image_sizes)[0]

    def _score_anchors(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        shared = [F.relu(self.rpn_conv(level)) for level in levels]
        return [self.rpn_class(x).float() for x in shared], [self.rpn_box(x).float() for x in shared]

    def _score_regions(self, levels: list[Tensor]) -> Tensor:
        return self._class_and_box(self._describe(_whole(levels, 1000, 7)))[0]

    def _describe(self, regions: Tensor) -> Tensor:
        return self.relu(self.fc2(self.relu(self.fc1(regions.flatten(1)))))

    def _class_and_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Torchvision refines a box for the background too; mmdet has none, so nothing stands there."""
        return self.box_class(x).float(), F.pad(self.box(x).float(), (4, 0))

    def _torchvision(self, x: Tensor, levels: list[Tensor], sizes: Sequence[tuple[int, int]]):
        """Torchvision's two stages around our layers, the images and their maps, as these take them."""
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.image_list import ImageList
        from torchvision.models.detection.roi_heads import RoIHeads
        from torchvision.models.detection.rpn import RegionProposalNetwork
        from torchvision.ops import MultiScaleRoIAlign

        anchors = AnchorGenerator(tuple((side,) for side in (32, 64, 128, 256, 512)), ((0.5, 1.0, 2.0),) * 5)
        kept = min(1000, 2 * self.regions)
        rpn = RegionProposalNetwork(
            anchors, self._score_anchors, fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256,
            positive_fraction=0.5, pre_nms_top_n={"training": 2 * kept, "testing": kept},
            post_nms_top_n={"training": kept, "testing": kept}, nms_thresh=0.7,
        )  # fmt: skip
        head = RoIHeads(
            MultiScaleRoIAlign(LEVELS[:4], 7, 2), self._describe, self._class_and_box, fg_iou_thresh=0.5,
            bg_iou_thresh=0.5, batch_size_per_image=self.regions, positive_fraction=0.25, bbox_reg_weights=None,
            score_thresh=0.05, nms_thresh=0.5, detections_per_img=min(100, self.regions), **self._mask_stage(),
        )  # fmt: skip
        for part in (rpn, head):
            part.train(self.training)
        features = dict(zip(LEVELS, (level.float() for level in levels), strict=True))
        return rpn, head, ImageList(x, list(sizes)), features

    def _mask_stage(self) -> dict:
        """What torchvision's second stage needs for masks: nothing here."""
        return {}


class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al. 2017, arXiv 1703.06870): a mask of 28 x 28 pixels for each class and region found.

    Counted with the mask head on 100 regions, as mmdet counts it, beside the 1,000 of the box head. Rules without
    transposed convs, ``chex`` among them, leave its deconv out.
    """

    def __init__(self, widths: Mapping[str, int], num_classes: int = 80, width: int = 256, regions: int = 512):
        super().__init__(widths, num_classes, width, regions)
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(4)]
        self.mask_convs = nn.Sequential(*(layer for conv in convs for layer in (conv, nn.ReLU(inplace=True))))
        self.mask_deconv = nn.ConvTranspose2d(width, width, 2, 2)
        self.mask = nn.Conv2d(width, num_classes + 1, 1)  # torchvision has one for the background too
        for layer in (*convs, self.mask_deconv, self.mask):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _score_regions(self, levels: list[Tensor]) -> Tensor:
        self._masks(self.mask_convs(_whole(levels, 100, 14)))
        return super()._score_regions(levels)

    def _masks(self, x: Tensor) -> Tensor:
        return self.mask(F.relu(self.mask_deconv(x))).float()

    def _mask_stage(self) -> dict:
        from torchvision.ops import MultiScaleRoIAlign

        pool = MultiScaleRoIAlign(LEVELS[:4], 14, 2)
        return {"mask_roi_pool": pool, "mask_head": self.mask_convs, "mask_predictor": self._masks}


def _whole(levels: list[Tensor], count: int, side: int) -> Tensor:
    """``count`` times the whole of the first image, from its finest map: ``(count, C, side, side)``."""
    return F.interpolate(levels[0][:1], size=(side, side)).expand(count, -1, -1, -1)
