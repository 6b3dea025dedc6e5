"""How far what two networks give lies apart: the one measure by which a smaller or exported network is trusted."""

from collections.abc import Sequence

import torch
from torch import Tensor


def difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference between outputs of any shape, in pairs; infinite where number or shapes differ.

    Of floating-point tensors: max |expected - found| / max |expected|, over the places where either is finite; one that
    is NaN or infinite must be so in both. Of whole numbers and booleans: the share of the entries that differ.
    Infinite too where there is nothing to compare.
    """
    if [t.shape for t in expected] != [t.shape for t in found]:
        return torch.inf
    pairs = [(e, f) for e, f in zip(expected, found, strict=True) if e.numel()]
    return max((_of_two(e, f) for e, f in pairs), default=torch.inf)


def _of_two(expected: Tensor, found: Tensor) -> float:
    if expected.is_complex() and found.is_complex():
        expected, found = torch.view_as_real(expected), torch.view_as_real(found)
    if not expected.is_floating_point():
        return float((expected != found).double().mean())
    finite = expected.isfinite()
    odd = ~finite & ((expected == found) | (expected.isnan() & found.isnan()))
    if not finite.any() or not (finite & found.isfinite() | odd).all():
        return torch.inf
    expected, found = expected[finite].double(), found[finite].double()
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
