"""How far what two networks give lies apart: the one measure by which a smaller or exported network is trusted."""

from collections.abc import Sequence

import torch
from torch import Tensor

LITTLE = 1e-8  # of the largest number: in float64, channels that hold less are compared to this much of it
ENOUGH = 16  # numbers that a channel must hold so that the largest of them says how large they are


def difference(expected: Sequence[Tensor], found: Sequence[Tensor], finely: float = 0.0) -> float:
    """The largest difference between outputs of any shape, in pairs; infinite where number or shapes differ.

    Of floating-point tensors: max |expected - found| / max |expected|, over the places where either is finite; one that
    is NaN or infinite must be so in both. Of whole numbers and booleans: the share of the entries that differ.
    Infinite too where there is nothing to compare.

    Args:
        finely: how much the difference counts that is divided by the largest number of each channel instead, be
            channels along the second dimension or along the last, if a channel has ``ENOUGH`` of them.
    """
    if [t.shape for t in expected] != [t.shape for t in found]:
        return torch.inf
    pairs = [(e, f) for e, f in zip(expected, found, strict=True) if e.numel()]
    return max((_of_two(e, f, finely) for e, f in pairs), default=torch.inf)


def _of_two(expected: Tensor, found: Tensor, finely: float) -> float:
    if expected.is_complex() and found.is_complex():
        expected, found = torch.view_as_real(expected), torch.view_as_real(found)
    if not expected.is_floating_point():
        return float((expected != found).double().mean())
    finite = expected.isfinite()
    odd = ~finite & ((expected == found) | (expected.isnan() & found.isnan()))
    if not finite.any() or not (finite & found.isfinite() | odd).all():
        return torch.inf
    sizes = expected.double().masked_fill(~finite, 0)
    gaps = (sizes - found.double().masked_fill(~finite, 0)).abs()
    sizes = sizes.abs()
    tiny = torch.finfo(torch.float32).tiny
    most = sizes.max().clamp_min(tiny)
    least = LITTLE * most if expected.dtype == torch.float64 else torch.full_like(most, tiny)
    off = gaps.max() / most
    for dim in {min(1, gaps.dim() - 1), gaps.dim() - 1} if finely and gaps.dim() else ():
        if gaps.numel() < ENOUGH * gaps.shape[dim]:
            continue
        over = [each for each in range(gaps.dim()) if each != dim]
        of_each = (t.amax(over) if over else t for t in (gaps, sizes))
        off = torch.maximum(off, finely * torch.div(next(of_each), next(of_each).clamp_min(least)).max())
    return float(off)
