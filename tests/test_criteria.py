"""Every criterion on layers small enough to be computed by hand; one table, one call."""

import math

import pytest
import torch
from torch import nn

from prune_lib.nets import arch_of, build
from prune_lib.papers.arena import ByCriterion, share_of_macs, widths_from
from prune_lib.papers.criteria import (
    CRITERIA,
    Group,
    Layer,
    Seen,
    gradients,
    groups_of,
    importance,
    squared_gradients,
)
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
        ("css", [7.0, 1.0, 3.0]),  # filters of fewer weights than there are filters: L1
    ],
)
def test_a_criterion_of_weights(criterion, expected):
    torch.testing.assert_close(scored(criterion, CONV), torch.tensor(expected, dtype=torch.float64))


def test_divergences_by_three_loops():
    """DCFF: rows of softmax(-distance), and of each row the mean over all rows of its divergence from them."""
    rows = [[3.0, -4.0], [0.0, 1.0], [3.0, 0.0]]
    near = [[math.exp(-math.dist(one, other)) for other in rows] for one in rows]
    p = [[value / sum(row) for value in row] for row in near]
    expected = [sum(a * math.log(a / b) for row in p for a, b in zip(mine, row, strict=True)) / 3 for mine in p]
    found = scored("dcff", CONV)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("cdp", [math.log(4 / 3) / 3, 2 * math.log(4 / 3) / 3]),  # two of four images answered more than on average
        ("cfdp", [0.03 * 1.5 / 4, 0.03 * 3 / 4]),  # maps of one pixel have a norm and nothing above their mean
    ],
)
def test_a_criterion_of_images(criterion, expected):
    """Filters 1 and 2 on images of one pixel: 1, -1, -1, 1/2, of which what is above 0 is looked at."""
    images = torch.tensor([1.0, -1.0, -1.0, 0.5]).view(4, 1, 1, 1)
    found = scored(criterion, conv_of([1.0], [2.0]), images=images)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


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


def test_hessian_is_the_mean_of_squared_gradients_times_the_weights_squared():
    """The same network: each image's gradient in filter j is (p_j - [j = label]) x, squared before it is averaged."""
    model = nn.Sequential(conv_of([1.0], [2.0]), nn.Flatten())
    layer = Layer("0", model[0])
    images, labels = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0, 1, 1])
    seen = Seen(model, [layer], lambda: [(images[:2, None, None, None], labels[:2]),
                                         (images[2:, None, None, None], labels[2:])], 3)  # fmt: skip
    x = images.double()[:, None]
    p = torch.softmax(x * torch.tensor([1.0, 2.0]), 1)
    curves = ((p - torch.eye(2)[labels]) * x).square().mean(0)
    torch.testing.assert_close(squared_gradients(seen)["0"].flatten(), curves, rtol=1e-6, atol=1e-7)
    expected = curves * torch.tensor([1.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(importance("hessian")(Group("0", 2, (layer,)), seen), expected, rtol=1e-5, atol=1e-8)


def test_a_layer_that_an_evaluation_does_not_use_has_no_gradient():
    model = nn.Sequential(conv_of([1.0], [2.0]), nn.Flatten())
    layers = [Layer("0", model[0]), Layer("aside", conv_of([1.0], [2.0]))]
    seen = Seen(model, layers, lambda: [(torch.ones(2, 1, 1, 1), torch.tensor([0, 1]))], 2)
    for criterion in ("taylor", "hessian"):
        assert importance(criterion)(Group("aside", 2, (layers[1],)), seen).tolist() == [0.0, 0.0]
        assert importance(criterion)(Group("0", 2, (layers[0],)), seen).min() > 0


class Two(nn.Module):
    """conv-BN-ReLU, a conv to one pixel, and classes: small enough for Torch-Pruning beside ours."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.mid = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 4)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.mid(self.bn(self.conv(x)).relu()).relu().flatten(1))


ALONE = {"group_reduction": "first", "normalizer": None}  # the layer that makes the channels, as it is
THEIRS = {  # their importance, its options, and what makes theirs of ours
    "l1": ("MagnitudeImportance", ALONE | {"p": 1}, lambda ours: ours),
    "l2": ("MagnitudeImportance", ALONE | {"p": 2}, torch.square),
    "fpgm": ("FPGMImportance", ALONE | {"p": 1}, lambda ours: ours),  # of weights from 0, where |w| is w
    "lamp": ("LAMPImportance", {"group_reduction": "first"}, lambda ours: ours),
    "bn_scale": ("BNScaleImportance", ALONE, lambda ours: ours),
    "taylor": ("TaylorImportance", ALONE | {"multivariable": True}, torch.sqrt),
    "hessian": ("HessianImportance", ALONE, lambda ours: ours),
}


@pytest.mark.parametrize("criterion", THEIRS)
def test_torch_pruning_gives_the_same(criterion, shaken):
    """On a conv and its BatchNorm, where both have the same definition; the docstrings say where they have not."""
    tp = pytest.importorskip("torch_pruning")
    torch.manual_seed(3)
    model, labels = shaken(Two()), torch.tensor([0, 1, 2, 3, 0, 1])
    if criterion == "fpgm":
        model.conv.weight.data.abs_()
    images = torch.randn(6, 3, 6, 6)
    name, options, theirs_of = THEIRS[criterion]
    graph = tp.DependencyGraph().build_dependency(model, images)
    group = graph.get_pruning_group(model.conv, tp.prune_conv_out_channels, list(range(6)))
    scorer = getattr(tp.importance, name)(**options)
    if criterion == "taylor":
        nn.functional.cross_entropy(model(images), labels).backward()
    for image, label in zip(images, labels, strict=True) if criterion == "hessian" else ():
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()
        scorer.accumulate_grad(model)
    if criterion == "hessian":  # theirs keeps the squares of the last image alone
        images, labels = images[-1:], labels[-1:]
    theirs = scorer(group).double()
    layer = Layer("conv", model.conv, model.bn, "bn")
    ours = importance(criterion)(
        Group("conv", 6, (layer,)), Seen(model, [layer], lambda: [(images, labels)], len(images))
    )
    torch.testing.assert_close(theirs_of(ours), theirs, rtol=1e-4, atol=1e-9)
    assert ours.unique().numel() == 6


def test_half_weights_are_scored_in_float32():
    layer = nn.Conv2d(1000, 2, 1, bias=False).half()
    nn.init.constant_(layer.weight, 100.0)  # the sum of 1000 of these is more than half's largest number
    assert scored("l1", layer).tolist() == [1e5, 1e5]


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
