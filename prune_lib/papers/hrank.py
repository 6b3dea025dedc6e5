"""HRank: Filter Pruning using High-Rank Feature Map.

Lin, Ji, Wang, Zhang, Zhang, Tian, Shao: CVPR 2020 (arXiv 2002.10179). A filter matters when its rectified feature maps
have a high rank: a map of low rank holds little. The mean over a few batches of images is enough, the paper finds, for
it hardly depends on which ones.

There are two repositories. lmbxmu/HRank, which the paper's tables are of, masks filters, conv after conv, and trains
some epochs after each. lmbxmu/HRankPlus makes the network smaller at once and trains it once; that is what ``HRank``
does. Its code is read, and none of it is here.
"""

import torch
from torch import Tensor

from ..nets import Arch
from .feature_maps import ByFeatureMaps, Places


def ranks(maps: Tensor) -> Tensor:
    """The rank of each map, ``(N, C, H, W) -> (N, C)`` in float32 (section 3.2 of the paper).

    A singular value counts if it is above ``sigma_max x max(H, W) x eps`` of float32, as torch and NumPy have it.
    """
    return torch.linalg.matrix_rank(maps.float()).float()


def importance(maps: Tensor) -> Tensor:
    """The mean rank of each filter's maps over images, ``(N, C, H, W) -> (C,)``: what HRank keeps the largest of."""
    return ranks(maps).mean(0)


class HRank(ByFeatureMaps):
    """Choose the filters of given widths by the mean rank of their maps in a trained network, copy them, train on.

    Args:
        variant: ``authors``, what HRankPlus does: every conv chooses for itself, so that channels which are added are
            not the same ones; some layers start afresh (see ``feature_maps.copied``). ``corrected``: convs of one unit
            choose together, by the sum of their ranks, each by its own maps, and everything is copied.
        criterion: ``hrank``, or a baseline at the same widths: ``l1``, ``random``, or ``scratch``, which copies none.
        images: how many augmented training images are looked at; the published code takes 5 batches of 128.
    """

    def __init__(self, arch: Arch, variant: str = "authors", criterion: str = "hrank", images: int = 640):
        super().__init__("HRank", arch, variant, criterion, images)

    def score_of(self, maps: Tensor) -> Tensor:
        return ranks(maps)

    def facts(self) -> dict:
        return {"score": "rank"}

    def places(self) -> Places:
        """DenseNet's maps are seen where the *next* layer has rectified them: a conv's own are the last channels."""
        found = super().places()
        if not self.arch.cls.startswith("densenet:"):
            return found
        convs = list(self.arch.filters)
        for conv, after in zip(convs, [*convs[1:], ""], strict=True):
            relu = f"{after.removesuffix('conv')}relu" if after else "relu"
            found[conv] = (relu, slice(-self.arch.filters[conv], None))
        return found
