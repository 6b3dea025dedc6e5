"""VGG-16 for 32x32 images (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration D), in three papers' forms."""

from collections.abc import Mapping

from torch import nn

from .init import torch_default


class VGG(nn.Sequential):
    """conv-BN-ReLU thirteen times with five 2x2 pools: ``(N, 3, 32, 32) -> (N, num_classes)``.

    ``head``: ``single`` is one linear layer (DCFF); ``hidden`` has a layer of 512 before it (CDP), and ``norm`` a
    BatchNorm there too (CFDP, from HRank). The last two average in the fifth pool.
    """

    init_filters = staticmethod(torch_default)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 10, head: str = "single", bias: bool = True):
        super().__init__()
        channels = 3
        for i, (conv, filters) in enumerate(widths.items(), 1):
            self.add_module(conv, nn.Conv2d(channels, filters, 3, padding=1, bias=bias))
            self.add_module(f"bn{i}", nn.BatchNorm2d(filters))
            self.add_module(f"relu{i}", nn.ReLU(inplace=True))
            if i in (2, 4, 7, 10) or (i == 13 and head == "single"):
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
            channels = filters
        self.avgpool = nn.AvgPool2d(1 if head == "single" else 2)
        self.flatten = nn.Flatten()
        if head != "single":
            self.hidden = nn.Linear(channels, 512)
            if head == "norm":
                self.hidden_bn = nn.BatchNorm1d(512)
            self.hidden_relu = nn.ReLU(inplace=True)
            channels = 512
        self.linear = nn.Linear(channels, num_classes)
