"""What runs will take: by arithmetic for a card that is not here, by trying on this machine."""

import json

import pytest

from prune_lib.cli import parser
from prune_lib.papers.rows import get_row
from prune_lib.runs.estimate import BANDWIDTH, EVALUATED, as_text, estimate
from prune_lib.system.errors import InputError


def test_a_large_network_is_bound_by_memory_and_a_small_one_by_its_launches():
    large = estimate(get_row("dcff/imagenet/r50_1.49b"), "paper", "A100")
    macs = large.flops / 6 / large.epochs / large.images
    assert large.rate == pytest.approx(30 * 2.039e12 / (6 * macs))
    small, double = (estimate(get_row("dcff/cifar10/resnet56"), "paper", card) for card in ("H100", "H200"))
    assert small.rate == double.rate == pytest.approx(256 / (55 * 4e-4))
    passed = 300 * 48_000 + EVALUATED * 300 * 12_000
    assert small.hours == pytest.approx(passed / small.rate / 3600)


def test_the_table_of_cards_agrees_with_what_was_measured_on_two():
    """ResNet-50, three passes of 4.1 GMACs: 2,470 images a second on an A100, 1,200 on a V100."""
    for card, images in (("A100", 2470), ("V100", 1200)):
        assert 30 * BANDWIDTH[card] * 1e12 / (6 * 4.09e9) == pytest.approx(images, rel=0.1)


def test_memory_grows_with_the_batch_and_the_network():
    small, large = (estimate(get_row(f"dcff/cifar10/{net}"), "paper", "T4") for net in ("resnet56", "googlenet"))
    assert 1e8 < small.memory < large.memory < 2e10
    assert estimate(get_row("mmrazor/detection/faster_rcnn"), "paper", "A100").memory is None


def test_a_row_is_tried_on_this_machine():
    found = estimate(get_row("dcff/cifar10/resnet56"), "fast", "cpu", seconds=0.01)
    assert found.rate > 0
    assert found.hours == pytest.approx((24 * 45_000 + EVALUATED * 24 * 15_000) / found.rate / 3600)
    assert found.factor < estimate(get_row("dcff/cifar10/resnet56"), "fast", "T4").factor


def test_plans_are_summed_and_priced(capsys):
    words = ["--budget", "short", "--device", "H100", "--price", "2"]
    assert parser.main(["plan", "cdp/resnet20-study/s30_cdp", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = ["cdp/cifar10-dense/resnet20", "cdp/resnet20-study/s30_cdp"]  # the network that it prunes comes first
    assert [line.split()[0] for line in lines] == ["row", *named, "all"]
    assert lines[0].endswith("cost")
    assert parser.main(["plan", "dcff/cifar10/*", "--device", "H100", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert "all of them" not in as_text([estimate(get_row("dcff/cifar10/vgg16"), "paper", "T4")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dcff/cifar10/vgg16", "--device", "H101"], "unknown device 'H101'; expected auto, cpu, cuda, or one of: T4"),
        (["dcff/cifar10/vgg16", "--budget", "smoke"], "trains on digits, whose size is not listed"),
        (["dcff/cifar10/vgg16", "--price", "-1"], "expected a price from 0"),
        (["dcff/cifar10/vgg16", "--seconds", "nan"], "0 to 3600 seconds"),
        (["mmrazor/detection/faster_rcnn", "--device", "cpu"], "only classification can be tried here"),
        (["nobody/x/y"], "no row that can be trained is called 'nobody/x/y'"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(words, said, capsys):
    assert parser.main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_budget_that_a_row_has_not_is_named():
    with pytest.raises(InputError, match="has no budget"):
        estimate(get_row("dcff/imagenet/r50_1.49b"), "fast", "A100")
