"""CFDP: the score of a feature map, against the definition with scipy."""

import numpy as np
import pytest
import torch

from prune_lib.nets import ARCHS, build, read_spec
from prune_lib.papers import baselines, cfdp, feature_maps
from prune_lib.papers.method import Start
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError
from prune_lib.tasks import load

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


def _begun(variant, criterion="cfdp", net="resnet56", tmp_path=None, images=40):
    torch.manual_seed(1)
    data = load("digits", heldout=20, train_images=80)
    dense = build(net).eval()
    method = cfdp.CFDP(ARCHS[net], variant=variant, criterion=criterion, images=images)
    method.begin(Start(dense, data, 0, "fp32", tmp_path))
    return method, dense


ROW = "cfdp/cifar10/resnet56"


def test_the_published_slip_copies_ten_filters_of_26_and_four_of_52():
    """Every layer is scored by the stem's 16 maps, so that the last 26 of 32 ranks are 10."""
    method, dense = _begun("authors")
    assert {len(scores) for scores in method.chosen.values()} == {16}
    torch.manual_seed(2)
    fresh = build("resnet56", get_row(ROW).widths)
    drawn = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    pruned = method.prepare(fresh).state_dict()
    for conv, copied in (("layer2.4.conv1", 10), ("layer3.4.conv1", 4), ("layer1.4.conv1", 13)):
        changed = (pruned[f"{conv}.weight"] != drawn[f"{conv}.weight"]).flatten(1).any(1)
        assert int(changed.sum()) == copied
    assert torch.equal(pruned["layer1.0.bn1.weight"], drawn["layer1.0.bn1.weight"])
    assert torch.equal(pruned["linear.weight"], dense.state_dict()["linear.weight"])


def test_the_corrected_variant_aligns_what_is_added_and_copies_everything():
    method, dense = _begun("corrected")
    assert [len(method.chosen[conv]) for conv in ("conv1", "layer2.0.conv1", "layer3.0.conv2")] == [16, 32, 64]
    widths = get_row(ROW).widths
    pruned = method.prepare(build("resnet56", widths))
    ours, theirs = pruned.state_dict(), dense.state_dict()
    kept = {}
    for conv in widths:
        same = (ours[f"{conv}.weight"].abs().sum((2, 3)).sum(1)[:, None] > 0).all()
        assert same
        norm = conv.replace("conv", "bn") if conv != "conv1" else "bn1"
        kept[conv] = len(ours[f"{norm}.weight"])
    assert kept == widths
    rows = baselines.best(baselines.by_unit(method.chosen, ARCHS["resnet56"]), widths)
    assert all(torch.equal(rows["layer1.0.conv2"], rows[f"layer1.{i}.conv2"]) for i in range(9))
    first = rows["layer1.0.conv1"]
    torch.testing.assert_close(ours["layer1.0.conv1.weight"], theirs["layer1.0.conv1.weight"][first])
    taken = pruned.layer1[0].source  # the stem has 16 channels, the stage 13: the shortcut takes those that it chose
    expected = rows["layer1.0.conv2"].nonzero().flatten()
    assert torch.equal(taken, expected) or (taken is None and expected.tolist() == list(range(1, 14)))


def test_with_nothing_to_remove_the_corrected_variant_is_the_dense_network():
    for net in ("resnet20", "vgg16_hrank", "googlenet", "densenet40"):
        method, dense = _begun("corrected", net=net, images=4)
        same, images = method.prepare(build(net)).eval(), torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(same(images), dense(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", ["vgg16_hrank", "googlenet", "resnet110", "densenet40"])
@pytest.mark.parametrize("variant", feature_maps.VARIANTS)
def test_every_net_is_scored_and_pruned(net, variant):
    spec = {"vgg16_hrank": "[0.21]*7+[0.75]*5", "googlenet": "[0.3]+[0.6]*2+[0.7]*5+[0.8]*2"}
    rates = spec.get(net, "[0.]+[0.18]*56" if net == "resnet110" else "[0.2]*39")
    widths = read_spec(net, rates, "hrank")[1]
    method, _ = _begun(variant, net=net, images=2)
    assert {conv: len(s) for conv, s in method.chosen.items()} == ARCHS[net].filters
    assert method.prepare(build(net, widths)).eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_scores_are_kept_and_not_computed_again(tmp_path, monkeypatch):
    method, _ = _begun("corrected", net="resnet20", tmp_path=tmp_path)
    monkeypatch.setattr(feature_maps, "run", lambda *_: pytest.fail("scored again"))
    again, _ = _begun("corrected", net="resnet20", tmp_path=tmp_path)
    assert all(torch.equal(again.chosen[conv], s) for conv, s in method.chosen.items())


def test_options_that_are_not_there_are_named():
    with pytest.raises(InputError, match="unknown CFDP variant 'mine'; expected one of: authors corrected"):
        cfdp.CFDP(ARCHS["resnet20"], variant="mine")
    with pytest.raises(InputError, match="unknown criterion 'l9'; expected one of: cfdp scratch random"):
        cfdp.CFDP(ARCHS["resnet20"], criterion="l9")
