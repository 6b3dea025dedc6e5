"""Every criterion on layers small enough to be computed by hand; one table, one call."""

import math

import pytest
import torch
from torch import nn

from prune_lib.nets import arch_of, build
from prune_lib.papers.arena import ByCriterion, share_of_macs, widths_from
from prune_lib.papers.criteria import CRITERIA, Group, Layer, Seen, gradients, groups_of, importance
from prune_lib.system.errors import InputError


def conv_of(*filters):
    """A 1x1 conv whose filters have these weights."""
    weight = torch.tensor(filters, dtype=torch.float32)
    layer = nn.Conv2d(weight.shape[1], len(weight), 1, bias=False)
    layer.weight.data.copy_(weight[..., None, None])
    return layer


def scored(criterion, *modules, norm=None, channels=(), images=None, keep=None):
    layers = tuple(Layer(str(i), module, norm, "") for i, module in enumerate(modules))
    group = Group("0", len(layers[0].filters), layers, channels, keep)
    model = nn.Sequential(*modules)
    batches = None if images is None else lambda: [(images, torch.zeros(len(images), dtype=torch.int64))]
    seen = Seen(model, layers, batches, 0 if images is None else len(images))
    return importance(criterion)(group, seen)


CONV = conv_of([3.0, -4.0], [0.0, 1.0], [3.0, 0.0])


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("l1", [7.0, 1.0, 3.0]),
        ("l2", [5.0, 1.0, 3.0]),
        ("fpgm", [math.sqrt(34) + 4, math.sqrt(34) + math.sqrt(10), 4 + math.sqrt(10)]),
        ("lamp", [25 / 25, 1 / 35, 9 / 34]),
    ],
)
def test_a_criterion_of_weights(criterion, expected):
    torch.testing.assert_close(scored(criterion, CONV), torch.tensor(expected, dtype=torch.float64))


def test_a_norm_s_scale():
    norm = nn.BatchNorm2d(3)
    norm.weight.data.copy_(torch.tensor([0.5, -2.0, 1.0]))
    assert scored("bn_scale", CONV, norm=norm).tolist() == [0.5, 2.0, 1.0]
    with pytest.raises(InputError, match="0 has no BatchNorm of its own with a scale; bn_scale needs one"):
        scored("bn_scale", CONV)


def test_layers_that_make_the_same_channels_are_summed_channel_by_channel():
    other = conv_of([1.0, 0.0], [2.0, 0.0], [3.0, 0.0])
    assert scored("l1", CONV, other).tolist() == [8.0, 3.0, 6.0]
    all_three = torch.tensor([0, 1, 2])
    turned = ((all_three, all_three), (all_three, torch.tensor([2, 0, 1])))
    assert scored("l1", CONV, other, channels=turned).tolist() == [9.0, 4.0, 4.0]


def test_a_transposed_conv_is_scored_by_what_makes_its_outputs():
    layer = nn.ConvTranspose2d(2, 3, 1, bias=False)
    layer.weight.data.copy_(CONV.weight.transpose(0, 1))
    assert scored("l1", layer).tolist() == [7.0, 1.0, 3.0]


def test_taylor_is_the_square_of_gradient_times_weight():
    """Cross-entropy of logits w x for class 0: its gradient in filter j is (p_j - [j = 0]) x."""
    model = nn.Sequential(conv_of([1.0], [2.0]), nn.Flatten())
    layer = Layer("0", model[0])
    images = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    seen = Seen(model, [layer], lambda: [(images, torch.tensor([0, 0]))], 2)
    p = torch.softmax(torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64), 1)
    slopes = ((p - torch.tensor([[1.0, 0.0]])) * torch.tensor([[1.0], [-1.0]])).mean(0)
    torch.testing.assert_close(gradients(seen)["0"].flatten(), slopes, rtol=1e-6, atol=1e-7)
    expected = (slopes * torch.tensor([1.0, 2.0], dtype=torch.float64)).square()
    torch.testing.assert_close(importance("taylor")(Group("0", 2, (layer,)), seen), expected, rtol=1e-5, atol=1e-8)


def test_random_depends_on_the_seed_alone():
    layers = [Layer("0", CONV), Layer("1", CONV)]
    groups = [Group(layer.name, 3, (layer,)) for layer in layers]
    first, again, other = (Seen(nn.Sequential(CONV), layers, None, seed=seed) for seed in (1, 1, 2))
    for group in groups:
        draw = importance("random")
        assert torch.equal(draw(group, first), draw(group, again))
        assert not torch.equal(draw(group, first), draw(group, other))
    assert not torch.equal(importance("random")(groups[0], first), importance("random")(groups[1], first))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("resnet20").eval()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_scores_every_unit_of_a_network(network, criterion):
    arch = arch_of("resnet20")
    groups = groups_of(arch, network)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    layers = [layer for group in groups for layer in group.layers]
    passes = []

    def batches():
        passes.append(1)
        return [(images, torch.tensor([0, 1, 2, 3]))]

    seen = Seen(network, layers, batches, 4)
    for group in groups:
        scores = importance(criterion)(group, seen)
        assert scores.shape == (arch.filters[group.name],)
        assert scores.dtype == torch.float64
        assert scores.isfinite().all()
    assert len(passes) == (CRITERIA[criterion].needs != "weights"), "one pass for all groups, and only where it looks"


def test_a_criterion_that_looks_says_that_there_is_nothing_to_see(network):
    groups = groups_of(arch_of("resnet20"), network)
    with pytest.raises(InputError, match="looks at images, and there are none"):
        importance("cdp")(groups[0], Seen(network, [layer for g in groups for layer in g.layers], None))


def test_an_unknown_criterion_is_named():
    with pytest.raises(InputError, match="unknown criterion 'magic'; expected one of: random l1 "):
        importance("magic")
    with pytest.raises(InputError, match="macs is 2; expected a share in"):
        ByCriterion(arch_of("resnet20"), "l1", macs=2)
    with pytest.raises(InputError, match="norms is 'none'; expected masked or authors"):
        ByCriterion(arch_of("resnet20"), "l1", norms="none")


@pytest.mark.parametrize("macs", [0.7, 0.5, 0.3])
def test_widths_that_follow_from_scores_meet_the_macs(network, macs):
    arch = arch_of("resnet20")
    scores = {group.name: importance("l1")(group, Seen(network, [], None)) / len(group.layers)
              for group in groups_of(arch, network)}  # fmt: skip
    widths = widths_from(scores, arch, macs)
    share = share_of_macs(arch, widths)
    assert 0.99 * macs <= share <= macs
    assert all(widths[conv] == widths[convs[0]] for convs in arch.units.values() for conv in convs)
    with pytest.raises(InputError, match=r"cannot be pruned to 0\.1% of its MACs; expected at least"):
        widths_from(scores, arch, 0.001)
