"""VGG-16 for 32x32 images (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration D, one linear layer)."""

from collections.abc import Mapping

from torch import nn

from .init import torch_default


class VGG(nn.Sequential):
    """conv(bias)-BN-ReLU thirteen times with five 2x2 max-pools: ``(N, 3, 32, 32) -> (N, num_classes)``."""

    init_filters = staticmethod(torch_default)

    def __init__(self, widths: Mapping[str, int], num_classes: int = 10):
        super().__init__()
        channels = 3
        for i, (conv, filters) in enumerate(widths.items(), 1):
            self.add_module(conv, nn.Conv2d(channels, filters, 3, padding=1))
            self.add_module(f"bn{i}", nn.BatchNorm2d(filters))
            self.add_module(f"relu{i}", nn.ReLU(inplace=True))
            if i in (2, 4, 7, 10, 13):
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
            channels = filters
        self.avgpool = nn.AvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, num_classes)
