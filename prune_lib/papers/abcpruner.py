"""ABCPruner's honeys (Lin et al. 2020, arXiv 2001.08565): which of them have the totals that were printed.

A honey gives each bottleneck of ResNet-50 a width in tenths. The authors publish a network's totals, not its honey.
Since everything else stays full, a block's cost depends on its own width alone, so that the candidates can be listed.
Within a stage, blocks after the first cost the same, so that their order can never be told from totals.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from ..nets.imagenet import STAGES
from ..system.errors import InputError

FULL = (25_557_032, 4_135_703_576, 26_560)  # params, FLOPs (thop-0.0.30) and filters of the full ResNet-50


def block_cost(stage: int, first: bool, tenths: int) -> tuple[int, int, int]:
    """``(params, FLOPs under thop-0.0.30, filters)`` of the two inner convs of a bottleneck, and of what reads them."""
    planes = 64 << stage
    width, outer = int(planes * tenths / 10), 4 * planes
    channels = (64 if stage == 0 else outer // 2) if first else outer
    side = 56 >> stage
    before = side if not first or stage == 0 else 2 * side  # the 3x3 conv has the stride
    params = channels * width + 9 * width * width + width * outer + 4 * width
    flops = before**2 * (channels * width + 4 * width) + side**2 * (9 * width**2 + width * outer + 4 * width)
    return params, flops, 2 * width


def fitting(
    params: tuple[float, float], flops: tuple[float, float], filters: int | None = None, most: int = 10
) -> list[tuple[int, ...]]:
    """Every honey of entries up to ``most`` whose totals lie in these ranges (and match ``filters`` exactly).

    Each is listed once, with the later blocks of a stage in falling order.

    Raises:
        InputError: ``most`` outside 1 … 10.
    """
    if not 1 <= most <= 10:
        raise InputError(f"most is {most}; expected 1 … 10")
    stages = [_stage(stage, most) for stage in range(4)]
    left, right = _pairs(*stages[:2]), _pairs(*stages[2:])
    fixed = np.array(FULL) - sum(
        np.array(block_cost(stage, block == 0, 10)) for stage in range(4) for block in range(STAGES[50][stage])
    )
    order = np.argsort(right[0][:, 0], kind="stable")
    sums = right[0][order]
    low = np.searchsorted(sums[:, 0], params[0] - fixed[0] - left[0][:, 0], "left")
    high = np.searchsorted(sums[:, 0], params[1] - fixed[0] - left[0][:, 0], "right")
    found = []
    for i, (start, end) in enumerate(zip(low, high, strict=True)):
        both = sums[start:end] + left[0][i] + fixed
        fits = (both[:, 1] >= flops[0]) & (both[:, 1] <= flops[1])
        if filters is not None:
            fits &= both[:, 2] == filters
        for j in np.flatnonzero(fits) + start:
            found.append(left[1](i) + right[1](int(order[j])))
    return sorted(found)


def _stage(stage: int, most: int) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Totals of every choice for a stage, and the choices."""
    costs = {(first, h): np.array(block_cost(stage, first, h)) for first in (True, False) for h in range(1, most + 1)}
    later = list(combinations_with_replacement(range(most, 0, -1), STAGES[50][stage] - 1))
    honeys = [(h, *rest) for h in range(1, most + 1) for rest in later]
    totals = [costs[True, h[0]] + sum(costs[False, n] for n in h[1:]) for h in honeys]
    return np.array(totals), honeys


def _pairs(first: tuple[np.ndarray, Sequence], second: tuple[np.ndarray, Sequence]):
    """Totals of every pair of two stages' choices, and a function from its index to the pair."""
    totals = (first[0][:, None] + second[0][None]).reshape(-1, 3)
    width = len(second[1])
    return totals, lambda i: first[1][i // width] + second[1][i % width]
