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


def test_rows_know_the_rules_by_name():
    """``rows`` lists them again, so that a table is read without torch."""
    from prune_lib.papers.rows import RULE_NAMES

    assert tuple(RULES) == RULE_NAMES


def test_an_unknown_rule_is_named():
    with pytest.raises(InputError, match=r"unknown counting rule 'flops'; expected one of: macs"):
        cost("vgg16", None, "flops")
