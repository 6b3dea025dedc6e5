"""CFDP: the score of a feature map, against the definition with scipy."""

import numpy as np
import pytest
import torch

from prune_lib.errors import InputError
from prune_lib.papers import cfdp

SIDES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 32)


def _definition(x, alpha):
    """Block by block, as the published code does: cosine transform, Gaussian, norm times share above the mean."""
    from scipy.fft import dctn
    from scipy.ndimage import gaussian_filter

    side = len(x)
    m = x.copy() if side == 1 else np.zeros_like(x)
    for i in range(0, side - 1, 2):
        for j in range(0, side - 1, 2):
            block = dctn(x[i : i + 2, j : j + 2], norm="ortho").astype(np.float32)
            m[i : i + 2, j : j + 2] = gaussian_filter(block, sigma=10)
    return np.linalg.norm(m) * (m > m.mean()).sum() / side**2 + alpha * np.linalg.norm(x)


@pytest.mark.parametrize("alpha", [0.03, 0.0])
@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_the_score_is_its_definition(side, rectified, alpha):
    maps = np.random.default_rng(side).normal(size=(3, 4, side, side)).astype(np.float32)
    maps = np.maximum(maps, 0) if rectified else maps
    expected = [[_definition(x, alpha) for x in channels] for channels in maps]
    found = cfdp.score(torch.from_numpy(maps), alpha)
    np.testing.assert_allclose(found, np.float32(expected), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        cfdp.importance(torch.from_numpy(maps), alpha), np.mean(expected, 0), rtol=1e-4, atol=1e-6
    )


def test_the_blur_is_nearly_a_mean_and_loses_nothing():
    stay, move = cfdp._blur()
    assert stay + move == pytest.approx(1)
    assert stay == pytest.approx(0.5, abs=1e-3)


def test_a_dead_filter_scores_zero():
    maps = torch.zeros(2, 3, 8, 8)
    maps[:, 1] = torch.rand(2, 8, 8)
    assert cfdp.importance(maps).nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 4), (0, 3, 4, 4)])
def test_maps_that_are_not_square_are_refused(shape):
    with pytest.raises(InputError, match="expected"):
        cfdp.importance(torch.zeros(shape))
