import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_lib.cost.counting import RULES, cost, count
from prune_lib.nets import ARCHS, build, read_spec
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError

REPORTED = {  # FLOPs of the row and of its full network, as the papers' counter gives them
    "vgg16": (72_771_956, 314_031_616),
    "resnet56": (55_835_840, 126_550_656),
    "resnet110": (85_297_568, 254_984_832),
    "googlenet": (457_215_424, 1_529_421_824),
}


@pytest.mark.parametrize("arch", REPORTED)
def test_the_rows_flops_are_the_reported_ones(arch):
    found = cost(arch, get_row(f"dcff/cifar10/{arch}").widths, "thop-0.0.31")
    assert (found.flops, found.base_flops) == REPORTED[arch]
    assert found.flops_cut == pytest.approx(100 * (1 - found.flops / found.base_flops))


MMRAZOR = {  # arch -> rule, rates, params, FLOPs
    "pose": ("mmrazor", "[0.0]+[0.2,0.2,0.1]*10+[0.15,0.15,0.1]*6", 26_953_955, 4_293_531_888),
    "pointrend": ("mmrazor-syncbn", "[0.0]*3+[0.35,0.4,0.1]*10+[0.3,0.3,0.1]*6", 18_427_894, 74_412_381_152),
    "faster_rcnn": ("mmrazor", "[0.0]+[0.35,0.4,0.1]*10+[0.3,0.3,0.1]*6", 31_465_831, 168_223_602_100),
}


@pytest.mark.parametrize("arch", MMRAZOR)
def test_networks_for_other_tasks_count_as_they_are_known_to(arch):
    rule, rates, params, flops = MMRAZOR[arch]
    found = cost(arch, read_spec(arch, rates)[1], rule)
    assert (found.params, found.flops) == (params, flops)


class Tiny(nn.Sequential):
    """One layer of each kind: 3x8x8 -> conv 4 -> pool 4x4 -> adaptive pool 2x2 -> linear 5."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5),
        )  # fmt: skip


def test_every_rule_on_a_network_counted_by_hand():
    macs, bias, elements, linear = 4 * 64 * 27, 4 * 64, 4 * 64, 16 * 5
    expected = {
        "macs": macs + linear,
        "thop-0.0.30": macs + bias + 4 * elements + 16 * (4 + 1) + (2 * 16 - 1) * 5,
        "thop-0.0.31": macs + bias + 2 * elements + 16 * (4 + 1) + linear,
        "mmrazor": macs + bias + 2 * elements + elements + 256 + 64 + linear,
        "cdp": macs + linear,
        "chex": macs + linear + 5,
    }
    model = Tiny()
    keys = list(model.state_dict())
    for rule, flops in expected.items():
        assert count(model, rule, (3, 8, 8)) == (sum(p.numel() for p in model.parameters()), flops), rule
    assert list(model.state_dict()) == keys


def test_thop_011_is_thop_itself():
    from thop import profile

    model = build("resnet20")
    flops, params = profile(build("resnet20"), (torch.zeros(1, 3, 32, 32),), verbose=False)
    assert count(model, "thop-0.1.1") == (params, flops)


def test_chex_credits_zeros():
    model = Tiny()
    with torch.no_grad():
        model[0].weight[:2] = 0
    assert count(model, "chex", (3, 8, 8))[1] == 2 * 64 * 27 + 16 * 5 + 5


def _rates(groups):
    return st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9]), min_size=groups, max_size=groups)


@settings(max_examples=10, deadline=None)
@given(_rates(13))
def test_vgg_under_the_papers_rule_for_any_spec(rates):
    widths = list(read_spec("vgg16", str(rates))[1].values())
    flops, channels, side = 0, 3, 32
    for i, filters in enumerate(widths, 1):
        flops += side * side * filters * (9 * channels + 1) + 2 * side * side * filters
        channels, side = filters, side // 2 if i in (2, 4, 7, 10, 13) else side
    assert cost("vgg16", read_spec("vgg16", str(rates))[1]).flops == flops + channels + 10 * channels


@settings(max_examples=10, deadline=None)
@given(_rates(12))
def test_resnet_under_the_papers_rule_and_cdps_for_any_spec(rates):
    spec, full = str(rates), ARCHS["resnet20"].filters
    widths = read_spec("resnet20", spec)[1]
    flops, masked, channels, base, pruned = 0, 10 * full["layer3.2.conv2"], 3, 3, 0
    for name, filters in widths.items():
        stage = int(name[5]) if name.startswith("layer") else 1
        area = (64 >> stage) ** 2
        flops += area * filters * (9 * channels + 2)
        if name.endswith("conv1"):
            pruned = 0
        masked += 9 * area * filters * (base - pruned if pruned <= base else base)
        channels, base, pruned = filters, full[name], full[name] - filters
    found = cost("resnet20", widths)
    assert found.flops == flops + 65 * channels + 10 * channels
    assert cost("resnet20", widths, "cdp").flops == masked


def test_nothing_pruned_costs_what_the_base_costs():
    for rule in RULES:
        found = cost("resnet20", None, rule)
        assert (found.params, found.flops) == (found.base_params, found.base_flops)
        assert found.flops_cut == 0


class Step(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x).relu()


def _shared():
    conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), *(Step(conv) for _ in range(3)))


def test_a_module_that_several_share_counts_as_often_as_it_is_called():
    once, first = 32 * 32 * 9 * 8 * 8, 32 * 32 * 9 * 3 * 8
    for rule in ("macs", "thop-0.1.1", "cdp", "chex"):
        assert count(_shared(), rule) == (792, first + 3 * once), rule


def test_a_mask_on_a_shared_module_holds_in_every_call_and_by_every_name():
    """The second and third call read what the one before kept: 5 of 8 filters from 8, then twice 5 from 5."""
    area = 32 * 32 * 9
    for name in ("1.conv", "3.conv"):
        assert count(_shared(), "cdp", kept={name: 5})[1] == area * (3 * 8 + 8 * 5 + 2 * 5 * 5)
    with pytest.raises(InputError, match="no conv called 'conv'"):
        count(_shared(), "cdp", kept={"conv": 5})


class SameConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


def test_a_subclass_counts_as_what_it_derives_from():
    kinds = type("MyNorm", (nn.BatchNorm2d,), {}), type("MyLinear", (nn.Linear,), {})
    mine = nn.Sequential(SameConv(3, 4, 3), kinds[0](4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), kinds[1](16, 5))  # fmt: skip
    for rule in RULES:
        assert count(mine, rule, (3, 8, 8)) == count(Tiny(), rule, (3, 8, 8)), rule
    assert count(nn.Sequential(SameConv(3, 8, 3, bias=False), nn.Conv2d(8, 4, 1, bias=False)), "macs")[1] == 253_952


@pytest.mark.parametrize(("dims", "image"), [(1, (3, 8)), (2, (3, 8, 8)), (3, (3, 8, 8, 8))])
def test_convs_norms_and_pools_of_every_dimension_count(dims, image):
    conv, cross, norm, pool = (
        getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "ConvTranspose", "BatchNorm", "AdaptiveAvgPool")
    )
    model = nn.Sequential(conv(3, 4, 3, padding=1), norm(4), cross(4, 2, 2, 2), pool(1), nn.Flatten(), nn.Linear(2, 5))
    size, kernel = 8**dims, 3**dims
    macs, crossed = 4 * 3 * kernel * size, 4 * size * 2 * 2**dims
    assert count(model, "macs", image)[1] == macs + crossed + 10
    pooled = (2**dims * size + 1) * 2
    assert count(model, "thop-0.0.31", image)[1] == macs + 4 * size + 8 * size + crossed + pooled + 10
    assert count(model, "chex", image)[1] == macs + 10 + 5
    assert count(model, "cdp", image)[1] == macs + 10


def test_counting_leaves_a_network_as_it_was():
    model = Tiny().train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, "macs", (3, 8, 8))
    assert [module.training for module in model] == [True, False, True, True, True, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


class Every(nn.Module):
    """What thop 0.1.1 knows beside convs: norms, activations, pools, upsampling."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.InstanceNorm2d(8),
            nn.PReLU(), nn.LeakyReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.UpsamplingNearest2d(scale_factor=2), nn.AvgPool2d(3), nn.AdaptiveAvgPool2d(5),
            nn.ConvTranspose2d(8, 4, 2), nn.Softmax(dim=1), nn.AdaptiveMaxPool2d(2),
            nn.Flatten(), nn.LayerNorm(16), nn.Dropout(), nn.Linear(16, 3),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


@pytest.mark.filterwarnings("ignore:This API is being deprecated")  # thop's own, of what it calls for PReLU
def test_thops_table_is_restated_to_the_last_digit():
    from thop import profile

    for model in (Every(), build("mobilenet_v2"), build("pose_small"), build("googlenet")):
        image = (
            torch.zeros(1, 3, 64, 64) if not isinstance(model, type(build("googlenet"))) else torch.zeros(1, 3, 32, 32)
        )
        counted = count(model, "thop-0.1.1", tuple(image.shape[1:]))[1]
        assert counted == profile(model, (image,), verbose=False)[0]


def test_a_rule_is_one_entry(monkeypatch):
    """A rule that nobody had before: two operations for each multiply-accumulate."""
    from prune_lib.cost.rules import Rule

    twice = {kind: lambda layer, counter=counter: 2 * counter(layer) for kind, counter in RULES["macs"].ops.items()}
    monkeypatch.setitem(RULES, "flops", Rule("flops", "2 per multiply-accumulate", twice))
    widths = get_row("dcff/cifar10/resnet56").widths
    assert cost("resnet56", widths, "flops").flops == 2 * cost("resnet56", widths, "macs").flops
    assert count(build("resnet20"), "flops")[1] == 2 * count(build("resnet20"), "macs")[1]


@pytest.mark.parametrize("name", [name for name in ARCHS if "rcnn" not in name and name not in ("ssd300", "pointrend")])
def test_without_torch_every_rule_counts_as_the_traced_network_does(name):
    for rule in RULES:
        how = ARCHS[name].layout()
        skip = (*how.functional, *how.functional_in_base)
        with torch.device("meta"):
            model = build(name)
        found = cost(name, None, rule)
        assert (found.params, found.flops) == count(model, rule, ARCHS[name].image, skip, how.window_pools), rule


def test_an_unknown_rule_is_named():
    with pytest.raises(InputError, match=r"unknown counting rule 'flops'; expected one of: macs"):
        cost("vgg16", None, "flops")
