"""CDP: TF-IDF of filters, the global threshold, and the masks."""

import math

import pytest
import torch
from torch import nn

from prune_lib.cost.counting import masked_flops
from prune_lib.nets import ARCHS, build
from prune_lib.nets.hooks import AT_ONCE, FEW, run, watching
from prune_lib.papers import cdp
from prune_lib.papers.method import Start
from prune_lib.system.errors import InputError
from prune_lib.tasks import load


def _definition(f, balance=0.0):
    """Filter by filter, image by image, as the published code does."""
    filters, images = f.shape
    factor = math.log(math.e * filters / balance) if balance else 1.0
    scores = []
    for c in range(filters):
        mean = sum(f[c, n].item() for n in range(images)) / images
        active = [n for n in range(images) if f[c, n].item() >= mean - 1e-12 * abs(mean)]
        shares = [factor * f[c, n].item() / max(f[:, n].sum().item(), 1e-300) for n in active]
        scores.append(sum(shares) / len(active) * math.log(images / (len(active) + 1)))
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("balance", [0.0, 1.0, 32.0])
@pytest.mark.parametrize(("filters", "images"), [(1, 7), (5, 1), (16, 50), (3, 2)])
def test_the_score_is_its_definition(filters, images, balance):
    f = torch.rand(filters, images, generator=torch.Generator().manual_seed(filters), dtype=torch.float64)
    torch.testing.assert_close(cdp.importance(f, balance), _definition(f, balance), rtol=1e-4, atol=1e-10)


def test_an_example_worked_by_hand():
    """Filter 0 answers to image 0 alone: share 3/4 there, |A| = 1, N = 4: 0.75 ln 2. Filter 1 answers alike to all."""
    f = torch.tensor([[3.0, 0, 0, 0], [1, 1, 1, 1]])
    scores = cdp.importance(f)
    assert scores[0].item() == pytest.approx(0.75 * math.log(4 / 2))
    assert scores[1].item() == pytest.approx((0.25 + 3) / 4 * math.log(4 / 5))


def test_a_dead_filter_scores_no_more_than_zero_and_a_dead_image_counts_for_nothing():
    f = torch.rand(6, 20, generator=torch.Generator().manual_seed(1))
    f[2] = 0
    scores = cdp.importance(f)
    assert scores.isfinite().all()
    assert scores[2] == 0 == scores.argmin() * 0
    f[:, 3] = 0
    assert cdp.importance(f).isfinite().all()
    assert (cdp.importance(torch.zeros(4, 9)) == 0).all()


@pytest.mark.parametrize(
    ("features", "balance", "words"),
    [
        (torch.rand(4), 0, "expected"), (torch.rand(4, 0), 0, "expected"), (-torch.rand(2, 3), 0, "from 0"),
        (torch.full((2, 3), math.nan), 0, "finite"), (torch.rand(2, 3), -1, "balance is -1"),
        (torch.rand(2, 3), math.inf, "balance is inf"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(features, balance, words):
    with pytest.raises(InputError, match=words):
        cdp.importance(features, balance)


def test_features_are_the_rectified_means_before_batch_norm():
    torch.manual_seed(0)
    model, images = build("resnet20").eval(), torch.randn(10, 3, 32, 32)
    convs = ["conv1", "layer2.0.conv2"]
    batches = [(part, torch.zeros(len(part))) for part in images.split(4)]
    found = cdp.gather(model, convs, batches, 10)
    with torch.no_grad():
        expected = model.conv1(images).relu().mean((2, 3)).T
    torch.testing.assert_close(found["conv1"], expected, rtol=1e-5, atol=1e-6)
    assert found["layer2.0.conv2"].shape == (32, 10)
    assert torch.equal(cdp.gather(model, convs, batches, 6)["conv1"], found["conv1"][:, :6])
    with pytest.raises(InputError, match="10 images were given; expected 11"):
        cdp.gather(model, convs, batches, 11)


def test_a_conv_that_is_used_twice_answers_with_the_sum_and_one_that_sees_patches_is_named():
    torch.manual_seed(0)
    images = torch.randn(6, 3, 8, 8)
    batches = [(part, torch.zeros(3)) for part in images.split(3)]
    conv = nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        once = conv(images)
        expected = (once.relu() + conv(once).relu()).mean((2, 3)).T
    found = cdp.gather(nn.Sequential(conv, conv), ["0"], batches, 6)
    torch.testing.assert_close(found["0"], expected, rtol=1e-5, atol=1e-6)
    patches = nn.Sequential(nn.PixelUnshuffle(2), nn.Unflatten(1, (4, 3)), nn.Flatten(0, 1), conv)
    with pytest.raises(InputError, match="3 gives 12 maps for 3 images; expected one for each"):
        cdp.gather(patches, ["3"], batches, 6)


def test_looking_at_a_network_does_not_change_what_it_gives():
    torch.manual_seed(0)
    model, images = build("resnet20").eval(), torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        expected = model(images)
        with watching(model, ["conv1", "layer2.0.conv2"], lambda conv, output: output * 0):
            torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


def test_a_cpu_passes_a_large_batch_in_parts_and_every_image_once():
    images, seen = torch.randn(250, 3, 4, 4), []
    with watching(net := nn.Sequential(nn.Conv2d(3, 2, 1)), ["0"], lambda conv, output: seen.append(output)):
        assert run(net, [(images, torch.zeros(250))]) == 250
    assert max(map(len, seen)) <= AT_ONCE
    torch.testing.assert_close(torch.cat(seen), net(images))
    net.extra = nn.Parameter(torch.empty(FEW))  # so many weights are worth reading once only
    seen.clear()
    with watching(net, ["0"], lambda conv, output: seen.append(output)):
        run(net, [(images, torch.zeros(250))])
    assert len(seen) == 1


SCORES = {"a": torch.tensor([0.5, 0.1, 0.4]).double(), "b": torch.tensor([0.01, 0.02]).double()}


def test_the_threshold_is_global_and_strict():
    keep = cdp.keep_above(SCORES, 0.4)  # int(5 x 0.6) = 3 best: 0.5, 0.4, 0.1; above the last of them: two
    assert keep["a"].tolist() == [True, False, True]
    assert keep["b"].tolist() == [False, True]  # it would lose both, and keeps its best
    assert cdp.emptied(SCORES, 0.4) == ["b"]
    assert all(kept.all() for kept in cdp.keep_above(SCORES, 0.0).values())
    for wrong in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="expected a share in"):
            cdp.keep_above(SCORES, wrong)


def test_a_flops_target_is_met_and_not_overshot_by_a_filter():
    arch, generator = ARCHS["resnet20"], torch.Generator().manual_seed(0)
    scores = {conv: torch.rand(n, generator=generator).double() for conv, n in arch.filters.items()}
    sparsity = cdp.sparsity_for(arch, scores, 0.5)
    full = masked_flops("resnet20", dict(arch.filters))

    def share(s):
        keep = cdp.keep_above(scores, s)
        return masked_flops("resnet20", {conv: int(k.sum()) for conv, k in keep.items()}) / full

    total = sum(arch.filters.values())
    assert share(sparsity) <= 0.5 < share(sparsity - 1 / total)
    with pytest.raises(InputError, match=r"cannot be masked to 0\.1% of its FLOPs; expected at least"):
        cdp.sparsity_for(arch, scores, 0.001)


def test_masks_of_a_block_are_counted_as_the_published_counter_does():
    """ResNet-18: conv2 reads what conv1 keeps; conv1 and the downsample conv read the whole stream."""
    full = dict(ARCHS["resnet18"].filters)
    base = masked_flops("resnet18", full)
    inner = masked_flops("resnet18", {**full, "layer2.0.conv1": 28})
    assert base - inner == 100 * 9 * 28 * 28 * (64 + 128)
    outer = masked_flops("resnet18", {**full, "layer1.1.conv2": 14})
    assert base - outer == 50 * 9 * 56 * 56 * 64  # nothing for its readers, layer2.0.conv1 and the downsample


def _begun(tmp_path=None, **options):
    torch.manual_seed(1)
    data, dense = load("digits", heldout=20, train_images=80), build("resnet20").eval()
    method = cdp.CDP(ARCHS["resnet20"], **{"sparsity": 0.4, **options})
    return method, method.begin(Start(dense, data, 0, "fp32", tmp_path)), dense


def test_baselines_have_cdps_widths_or_its_flops():
    ours = _begun()[1]
    for criterion in ("l1", "random", "scratch"):
        _method, found, _ = _begun(criterion=criterion)
        assert found["kept"] == ours["kept"], criterion
        assert found["flops"] == ours["flops"]
    _, found, _ = _begun(criterion="uniform")
    shares = {round(kept / ARCHS["resnet20"].filters[conv], 1) for conv, kept in found["kept"].items()}
    assert len(shares) <= 2  # one share, but for what truncation makes of it
    assert 0.85 * ours["flops"] <= found["flops"] <= ours["flops"]


def test_masked_filters_keep_their_weights_and_scratch_draws_new_ones():
    method, _, dense = _begun()
    model = method.prepare(build("resnet20"))
    for conv, kept in method.keep.items():
        weight = model.get_submodule(conv).weight
        assert weight[~kept].abs().sum() == 0
        assert torch.equal(weight[kept], dense.get_submodule(conv).weight[kept])
    method, _, dense = _begun(criterion="scratch")
    assert not torch.equal(method.prepare(build("resnet20")).conv1.weight[method.keep["conv1"]], dense.conv1.weight)


def test_the_authors_masks_have_no_smaller_form(tmp_path):
    method, found, _ = _begun(norms="authors")
    assert found["widths"] == ARCHS["resnet20"].filters
    model = method.prepare(build("resnet20")).eval()
    exported, images = method.export(model).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images))


def test_scores_are_kept_and_not_computed_again(tmp_path, monkeypatch):
    first = _begun(tmp_path)[1]
    monkeypatch.setattr(cdp, "gather", lambda *_: pytest.fail("scored again"))
    assert _begun(tmp_path)[1] == first
    monkeypatch.undo()
    assert _begun(tmp_path, balance=8.0)[1]["kept"] != first["kept"]  # another question: scored anew


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": None}, "sparsity is None and flops is None; expected one of them"),
        ({"flops": 0.5}, "sparsity is 0.4 and flops is 0.5; expected one of them"),
        ({"criterion": "l9"}, "unknown criterion 'l9'; expected one of: cdp uniform"),
        ({"norms": "none"}, "norms is 'none'; expected masked or authors"),
    ],
)
def test_options_that_cannot_be_are_named(options, words):
    with pytest.raises(InputError, match=words):
        _begun(**options)
