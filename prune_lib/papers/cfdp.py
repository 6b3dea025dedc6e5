"""CFDP: Common Frequency Domain Pruning. Khaki, Luo: CVPR workshops 2023, pages 4714-4723.

A filter matters when its feature maps have strong low frequencies in many places. The published code cuts a map into
2x2 blocks, takes each block's cosine transform, blurs it, and looks at the matrix of the results.
"""

import math
from functools import cache

import torch
from torch import Tensor

from ..nets import Arch
from ..nets.hooks import maps_of, run, watching
from ..system.errors import InputError
from .baselines import Scores
from .criteria import Group, Seen
from .feature_maps import CHUNK, ByFeatureMaps, Places

SIGMA, TRUNCATE = 10.0, 4.0  # of the Gaussian; on a block of two pixels it is nearly a mean
ALPHA = 0.03


def importance(maps: Tensor, alpha: float = ALPHA) -> Tensor:
    """Mean over images of each filter's score, ``maps (N, C, H, W) -> (C,)``; maps are square.

    The score of a map x of H x H pixels, with M the blurred 2x2 cosine transforms of its blocks, each in its place:

        ||M||_F  x  (the share of all H x H entries of M above their mean)  +  alpha ||x||_F.

    An odd last row and column belong to no block and stay 0 in M; the M of a single pixel is that pixel.

    Both steps are linear on a block of four pixels. They are taken one after the other in float32, as the definition
    has them, since on small maps the share is decided by the last digits.

    Raises:
        InputError: maps that are not square, or none.
    """
    if maps.dim() != 4 or maps.shape[2] != maps.shape[3] or not maps.numel():
        raise InputError(f"maps are {tuple(maps.shape)}; expected (images, filters, side, side)")
    return score(maps.float(), alpha).mean(0)


def score(maps: Tensor, alpha: float = ALPHA) -> Tensor:
    """The score of each map, ``(N, C, H, H) -> (N, C)`` in float32; see ``importance``."""
    side = maps.shape[-1]
    result = alpha * maps.flatten(2).norm(dim=2)
    if side == 1:  # its M is itself, and no value is above its own mean
        return result
    blocks = transform(maps).flatten(2)
    # an odd side leaves 2 side - 1 zeros in M; mean and share include them
    mean = blocks.sum(2) / side**2
    above = (blocks > mean[..., None]).sum(2) + (side**2 - blocks.shape[2]) * (mean < 0)
    return result + blocks.norm(dim=2) * above / side**2


def transform(maps: Tensor) -> Tensor:
    """The blurred cosine transforms of all whole 2x2 blocks, ``(N, C, H, H) -> (N, C, 4, H//2, H//2)``."""
    half = 2 * (maps.shape[-1] // 2)
    a, b = maps[..., 0:half:2, 0:half:2], maps[..., 0:half:2, 1:half:2]
    c, d = maps[..., 1:half:2, 0:half:2], maps[..., 1:half:2, 1:half:2]
    top, bottom, left, right = a + b, c + d, a - b, c - d  # the orthonormal DCT-II of two values, along a row
    rows = ((top + bottom) / 2, (left + right) / 2, (top - bottom) / 2, (left - right) / 2)
    stay, move = _blur()
    upper = (stay * rows[0] + move * rows[2], stay * rows[1] + move * rows[3])  # the Gaussian, down the columns
    lower = (move * rows[0] + stay * rows[2], move * rows[1] + stay * rows[3])
    return torch.stack([
        stay * upper[0] + move * upper[1], move * upper[0] + stay * upper[1],
        stay * lower[0] + move * lower[1], move * lower[0] + stay * lower[1],
    ], dim=2)  # fmt: skip


@cache
def _blur() -> tuple[float, float]:
    """How much of a value a Gaussian with reflecting borders keeps in a row of two, and how much its neighbour gets."""
    radius = int(TRUNCATE * SIGMA + 0.5)
    weights = [math.exp(-0.5 * (i / SIGMA) ** 2) for i in range(-radius, radius + 1)]
    # the row … b b a a | a b | b a a b b … seen from the first of the two: which offsets fall on itself
    own = sum(w for i, w in zip(range(-radius, radius + 1), weights, strict=True) if i % 4 in (0, 3))
    return own / sum(weights), 1 - own / sum(weights)


def by_frequencies(group: Group, seen: Seen) -> Tensor:
    """CFDP as a criterion of ``CRITERIA``: by a conv's own maps, behind its BatchNorm, rectified."""
    means = seen.once(_mean_scores)
    return group.sum(lambda layer: means[layer.name])


def _mean_scores(seen: Seen) -> Scores:
    owners = {layer.maps or layer.name: layer.name for layer in seen.layers}
    sums: Scores = {}

    def look(place: str, maps: Tensor) -> None:
        parts = maps_of(seen.model.get_submodule(place), maps).relu().float().split(CHUNK)
        total = torch.stack([importance(part).double() * len(part) for part in parts]).sum(0)
        sums[owners[place]] = sums[owners[place]] + total if owners[place] in sums else total

    with watching(seen.model, owners, look):
        images = run(seen.model, seen.batches(), seen.precision)
    return {conv: total / images for conv, total in sums.items()}


class CFDP(ByFeatureMaps):
    """Choose the filters of given widths by their scores in a trained network, copy them, train on.

    Args:
        variant: ``authors``, what the published code does: every conv chooses for itself, so that channels which are
            added are not the same ones; ResNet-56 scores *every* conv by the stem's 16 maps; some layers start
            afresh (see ``feature_maps.copied``). ``corrected``: convs of one unit choose together, by the sum of their
            scores, each by its own maps, and everything is copied.
        criterion: ``cfdp``, or a baseline at the same widths: ``l1``, ``random``, or ``scratch``, which copies nothing.
        images: how many augmented training images are looked at; the published code takes 5 batches of 128.
        alpha: the weight of a map's own norm beside that of its frequencies.
    """

    def __init__(
        self, arch: Arch, variant: str = "authors", criterion: str = "cfdp", images: int = 640, alpha: float = ALPHA
    ):
        super().__init__("CFDP", arch, variant, criterion, images)
        if not 0 <= alpha < math.inf:
            raise InputError(f"CFDP: alpha is {alpha}; expected a number from 0")
        self.alpha = alpha

    def score_of(self, maps: Tensor) -> Tensor:
        return score(maps, self.alpha)

    def facts(self) -> dict:
        return {"alpha": self.alpha}

    def places(self) -> Places:
        found = super().places()
        if self.variant == "authors" and self.arch.name == "resnet56":
            return dict.fromkeys(found, ("relu", slice(None)))  # a misspelt variable leaves the stem's hook in place
        return found
