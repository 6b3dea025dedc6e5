import math

import pytest
import torch
from torch import nn

from prune_lib.nets import ARCHS, build
from prune_lib.nets.reparam import bank, fuse, fusions
from prune_lib.papers.dcff import DCFF, VARIANTS, distances, importance, similarity, temperature
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError


def test_the_temperature_is_the_published_one():
    expected = {0: 1, 1: 4621.71, 2: 7616.18, 3: 9051.58, 6: 9950.55, 10: 9999.09, 37: 10000}
    for epochs in (90, 180, 300):
        assert {e: round(temperature(e, epochs), 2) for e in expected} == pytest.approx(expected, abs=0.006)
    assert temperature(5, 5, start=2, end=7, rate=0.1) == pytest.approx(7)


def test_similarity_by_hand():
    weight = torch.tensor([[0.0], [1.0], [3.0]])
    got = similarity(weight, 2.0)
    for j, row in enumerate([[0, 1, 3], [1, 0, 2], [3, 2, 0]]):
        powers = [math.exp(-2 * d) for d in row]
        assert got[j].tolist() == pytest.approx([p / sum(powers) for p in powers])


def test_similarity_of_equal_filters_and_of_a_hot_softmax():
    weight = torch.tensor([[1.0, 2.0], [1.0, 2.0], [5.0, 5.0]])
    assert torch.equal(similarity(weight, 1e4), torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]))
    assert torch.equal(distances(weight).diagonal(), torch.zeros(3, dtype=torch.float64))


def test_rows_of_similarity_are_distributions_and_end_one_hot():
    weight = torch.randn(20, 3, 3, 3, generator=torch.Generator().manual_seed(4))
    for heat in (0.1, 1.0, 100.0):
        rows = similarity(weight, heat)
        torch.testing.assert_close(rows.sum(1), torch.ones(20), rtol=0, atol=1e-6)
        assert torch.equal(rows.argmax(1), torch.arange(20))  # each filter is nearest to itself
    assert torch.equal(similarity(weight, 10_000.0), torch.eye(20))


def _by_definition(weight, heat, variant):
    """I_j, three loops: the mean over l of each divergence, summed over k (epsilon where the authors add it)."""
    d = torch.cdist(weight.double().flatten(1), weight.double().flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    p = torch.softmax(-heat * d, 1)
    if variant == "mmrazor":  # as its mutator's tensors of three dimensions have it: (C, 1, C) and a mean over dim 1
        kl = p[:, None, :]
        log_p, log_q = kl * (kl + 1e-7).log(), kl * torch.mean((p + 1e-7).log(), dim=1)
        return torch.mean(log_p - log_q, dim=2).sum(1)
    epsilon, total = (1e-7 if variant == "authors" else 0), len(p)
    return torch.tensor(
        [
            sum(p[j, m] * math.log(p[j, m] / (p[k, m] + epsilon)) / total for k in range(total) for m in range(total))
            for j in range(total)
        ]
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_importance_equals_its_definition(variant, heat):
    weight = torch.randn(9, 4, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    expected = _by_definition(weight, heat, variant).double()
    torch.testing.assert_close(importance(weight, heat, variant), expected, rtol=1e-5, atol=1e-7)


def test_importance_by_hand():
    """Two filters at distance ln 3 and T = 1: rows (3/4, 1/4) and (1/4, 3/4), each divergence 1/2 ln 3."""
    weight = torch.tensor([[0.0], [math.log(3)]])
    assert importance(weight, 1.0, "paper").tolist() == pytest.approx([math.log(3) / 4] * 2)
    assert importance(weight, 1.0, "authors").tolist() == pytest.approx([math.log(3) / 4] * 2, rel=1e-5)


def test_mmrazors_temperature_is_at_its_end_from_the_second_scoring_on():
    """And then all rows are one-hot and all scores tie."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    method = DCFF({"0": 16}, "mmrazor")
    network = method.prepare(network)
    assert [method.on_epoch(network, epoch, 120)["temperature"] for epoch in range(3)] == [1, 10_000, 10_000]
    scores = importance(torch.randn(16, 27, generator=torch.Generator().manual_seed(0)), 10_000.0, "mmrazor")
    assert float(scores.max() - scores.min()) < 1e-6


def test_the_papers_importance_equals_its_definition_closely():
    weight = torch.randn(7, 11, generator=torch.Generator().manual_seed(5))
    for heat in (0.5, 1.0, 3.0, 30.0):
        expected = _by_definition(weight, heat, "paper").double()
        torch.testing.assert_close(importance(weight, heat, "paper"), expected, rtol=1e-6, atol=0)


def test_the_authors_scores_vanish_at_once_and_the_papers_do_not():
    for arch in ("vgg16", "resnet20"):
        torch.manual_seed(0)
        for conv in (m for m in build(arch).modules() if isinstance(m, nn.Conv2d)):
            assert importance(conv.weight, 1.0, "authors").isfinite().all()
            assert not importance(conv.weight, temperature(1, 300), "authors").isfinite().all()
            assert importance(conv.weight, 10_000.0, "paper").isfinite().all()


def test_the_papers_limit_is_the_mean_distance():
    weight = torch.randn(40, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    scores = importance(weight, 10_000.0, "paper") / 10_000
    torch.testing.assert_close(scores, distances(weight).mean(1), rtol=1e-4, atol=0)
    assert torch.equal(scores.argsort(), distances(weight).mean(1).argsort())


@pytest.mark.parametrize("variant", VARIANTS)
def test_dead_and_equal_filters_have_scores(variant):
    weight = torch.randn(6, 5)
    weight[1], weight[3] = 0, weight[2]
    scores = importance(weight, 1.0, variant)
    assert scores.isfinite().all()
    assert scores[2] == pytest.approx(scores[3].item())


def test_wide_layers_need_no_cube():
    assert importance(torch.randn(3000, 4), 1.0).shape == (3000,)  # a cube of float64 would be 216 GB


def test_an_unknown_variant_is_named():
    for call in (lambda: DCFF({}, "author"), lambda: importance(torch.randn(2, 2), 1.0, "author")):
        with pytest.raises(InputError, match=r"unknown DCFF variant 'author'; expected one of: authors paper mmrazor"):
            call()


def _pair(variant="authors"):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, bias=False))
    method = DCFF({"0": 10, "2": 5}, variant)
    return method, method.prepare(model)


def _rows(model):
    return {name: fusion.proxy.argmax(1).tolist() for name, (_, fusion) in fusions(model).items()}


def test_the_authors_ranking_stays_when_scores_are_not_finite():
    method, model = _pair()
    assert method.on_epoch(model, 0, 300)["layers_scored"] == 2
    first = {name: fusion.scores.clone() for name, (_, fusion) in fusions(model).items()}
    chosen = {name: scores.topk(4 if name == "0" else 2).indices.sort().values for name, scores in first.items()}
    with torch.no_grad():
        for conv, _ in fusions(model).values():
            bank(conv).mul_(torch.randn_like(bank(conv)))
    figures = method.on_epoch(model, 1, 300)
    assert (figures["layers_scored"], figures["layers_reranked"]) == (0, 0)
    for name, (conv, fusion) in fusions(model).items():
        assert torch.equal(fusion.scores, first[name])
        assert torch.equal(fusion.proxy, similarity(bank(conv), temperature(1, 300))[chosen[name]])
    assert _rows(model) == {name: index.tolist() for name, index in chosen.items()}


def test_the_papers_ranking_follows_the_weights():
    method, model = _pair("paper")
    method.on_epoch(model, 0, 300)
    with torch.no_grad():
        conv, _ = fusions(model)["0"]
        bank(conv)[7] += 5  # far from all others
        unused = next(i for i in range(10) if i not in _rows(model)["0"])
        bank(conv)[unused] -= 9
    assert method.on_epoch(model, 1, 300) | {"temperature": 0} == {
        "temperature": 0, "layers_scored": 2, "layers_reranked": 1,
    }  # fmt: skip
    assert {7, unused} <= set(_rows(model)["0"])


def test_gradients_reach_only_the_filters_that_are_used():
    method, model = _pair()
    method.on_epoch(model, 0, 300)
    method.on_epoch(model, 1, 300)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    conv, _ = fusions(model)["0"]
    used = _rows(model)["0"]
    for stored in (bank(conv), conv.parametrizations.bias.original):
        touched = stored.grad.flatten(1).abs().sum(1) if stored.dim() > 1 else stored.grad.abs()
        assert sorted(touched.nonzero().flatten().tolist()) == sorted(used)


@pytest.mark.parametrize("arch", ["vgg16", "resnet56", "resnet110", "googlenet"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_fused_and_exported_networks_agree(arch, epoch, shaken):
    torch.manual_seed(0)
    widths = get_row(f"dcff/cifar10/{arch}").widths
    method = DCFF(ARCHS[arch].filters)
    fused = method.prepare(build(arch, widths))
    method.on_epoch(fused, 0, 300)
    if epoch:
        method.on_epoch(fused, 1, 300)
    shaken(fused)
    compact, images = method.export(fused).eval(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = fused(images)
        torch.testing.assert_close(compact(images), expected, rtol=1e-5, atol=1e-5)
        again = build(arch, widths).eval()
        again.load_state_dict(compact.state_dict())
        torch.testing.assert_close(again(images), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(fused(images), expected)  # the original still works
    assert not fusions(compact)


def test_any_network_with_biases_can_be_fused_and_exported():
    method, model = _pair()
    method.on_epoch(model, 0, 10)
    images = torch.randn(2, 3, 8, 8)
    compact = method.export(model)
    torch.testing.assert_close(compact(images), model(images))
    with torch.no_grad():
        bank(fusions(model)["0"][0]).zero_()
    assert not torch.equal(compact(images), model(images))  # independent of the original


def test_an_exported_network_has_what_any_conv_has():
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="circular")
    model, method = nn.Sequential(conv, nn.BatchNorm2d(6)), DCFF({"0": 9})
    method.prepare(model)
    method.on_epoch(model, 0, 10)
    images, compact = torch.randn(2, 4, 9, 9), method.export(model.eval())
    torch.testing.assert_close(compact(images), model(images))
    assert type(compact[0]) is nn.Conv2d
    assert not compact.training


def test_a_network_without_fused_convs_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    figures = DCFF({}).on_epoch(DCFF({}).prepare(model), 0, 10)
    assert (figures["layers_scored"], figures["layers_reranked"]) == (0, 0)


def test_a_bank_smaller_than_its_conv_or_no_conv_at_all_is_refused():
    with pytest.raises(InputError, match="a bank of 3 filters cannot give 4"):
        DCFF({"0": 3}).prepare(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(InputError, match="0 is Linear; expected a Conv2d"):
        DCFF({"0": 3}).prepare(nn.Sequential(nn.Linear(3, 4)))


def test_the_clock_can_go_by_steps():
    """The banks are scored at steps 0 and 2 of four and not in between, at the temperature of those steps."""
    model = nn.Sequential()
    model.conv = nn.Conv2d(3, 4, 3)
    method = DCFF({"conv": 8}, every=2)
    method.prepare(model)
    assert method.on_epoch(model, 0, 2) == {}
    heats = [method.on_step(model, step, 4).get("temperature") for step in range(4)]
    assert heats == [temperature(0, 4), None, temperature(2, 4), None]
    with pytest.raises(InputError, match="every is -1"):
        DCFF({"conv": 8}, every=-1)


def test_the_convs_of_shortcuts_can_be_fused_too():
    arch = ARCHS["resnet50"]
    assert set(DCFF.for_arch(arch, shortcuts=True).filters) - set(DCFF.for_arch(arch).filters) == {
        f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)
    }


def test_one_hot_rows_pick_filters_and_a_new_proxy_is_seen_at_once():
    conv = torch.nn.Conv2d(2, 2, 3)
    bank_of = torch.randn(4, 2, 3, 3)
    fusion = fuse(conv, bank_of.clone(), torch.arange(4.0))
    for rows in ([[0, 0, 1, 0], [1, 0, 0, 0]], [[0, 0.5, 0.5, 0], [1, 0, 0, 0]], [[0, 0, 0, 1], [0, 1, 0, 0]]):
        proxy = torch.tensor(rows, dtype=torch.float32)
        fusion.proxy.copy_(proxy)
        bank(conv).grad = None
        weight = conv.weight
        torch.testing.assert_close(weight, (proxy @ bank_of.flatten(1)).view(2, 2, 3, 3), rtol=0, atol=0)
        assert torch.equal(conv.bias, proxy @ torch.arange(4.0))
        (weight * torch.arange(36.0).view(2, 2, 3, 3)).sum().backward()
        expected = proxy.T @ torch.arange(36.0).view(2, 18)
        torch.testing.assert_close(bank(conv).grad, expected.view(4, 2, 3, 3), rtol=0, atol=0)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("epoch", [0, 1])
def test_fused_filters_lie_in_memory_as_their_bank_does(layout, epoch):
    """Else every conv after them leaves channels last, and a step of GoogLeNet takes a quarter longer."""
    method = DCFF({"0": 6})
    model = method.prepare(nn.Sequential(nn.Conv2d(5, 4, 3))).to(memory_format=layout)
    method.on_epoch(model, epoch, 300)
    (conv, fusion), filters = fusions(model)["0"], bank(model[0])
    assert filters.is_contiguous(memory_format=layout)
    assert conv.weight.is_contiguous(memory_format=layout)
    torch.testing.assert_close(conv.weight, torch.einsum("mn,n...->m...", fusion.proxy, filters))


def test_what_an_evaluation_looked_at_first_can_be_trained_on():
    """With ``every`` the choice of filters outlives the epoch; an evaluation may be the first to see that it is one."""
    conv = nn.Conv2d(3, 4, 3)
    fusion = fuse(conv, torch.randn(6, 3, 3, 3))
    with torch.no_grad():
        fusion.proxy.copy_(torch.eye(6)[[0, 2, 3, 5]])
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        conv(images)
    conv(images).sum().backward()
    assert [bool(filters.any()) for filters in bank(conv).grad] == [True, False, True, True, False, True]
