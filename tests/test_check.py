"""``prune check``: which ways of counting print a figure, and whether a paper's figures agree with one another."""

import json
import subprocess
import sys
import time

import pytest

from prune_lib.cli.parser import main
from prune_lib.cost import check, cost
from prune_lib.cost.printed import Printed, figure
from prune_lib.cost.rules import RULES
from prune_lib.cost.ways import EARLY, INPUTS, Subject, params_of, ways
from prune_lib.nets import ARCHS, build
from prune_lib.nets.plans import plan
from prune_lib.papers.rows import all_rows, get_row, printed_networks
from prune_lib.system.errors import InputError

HRANK = "[0.95]+[0.5]*6+[0.9]*4+[0.8]*2"


def _found(checked):
    """``{(rule, changes): value}`` of all ways that print the figure."""
    return {(found.way.rule, found.all_changes): found.way.value for found in checked.figure.prints}


@pytest.mark.parametrize(
    ("printed", "arch", "rates", "rule", "changes", "value"),
    [
        ("125.49M", "resnet56", None, "macs", (), 125_485_696),
        ("125485696", "resnet56", None, "macs", (), 125_485_696),
        ("252M", "resnet56", None, "thop-0.0.31", ("2 per MAC",), 252_036_352),
        ("250.97M", "resnet56", None, "macs", ("2 per MAC",), 250_971_392),
        ("119.67M", "resnet56", None, "macs", ("units of 2^20",), 125_485_696),
        ("125.48M", "resnet56", None, "macs", ("truncated",), 125_485_696),
        ("108.61M", "vgg16_hrank", HRANK, "macs", (INPUTS,), 108_612_608),
        ("3.86 GFLOPs", "resnet50", None, "macs", (EARLY,), 3_857_973_248),
        ("3.8 × 10^9", "resnet50", None, "macs", (EARLY, "truncated"), 3_857_973_248),
        ("7.72G", "resnet50", None, "macs", (EARLY, "2 per MAC"), 7_715_946_496),
        ("5.34G", "resnet50", None, "macs", ("256x256 images",), 5_340_348_416),
        ("25.6 million parameters", "resnet50", None, "all parameters", (), 25_557_032),
        ("23.5M", "resnet50", None, "all parameters", ("last layers left out",), 23_509_032),
        ("125.75M", "resnet56", None, "macs", ("1x1 convs as shortcuts",), 125_747_840),
        ("76.8%", "vgg16", "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6", "thop-0.0.31", (), None),
    ],
)
def test_disputes_of_the_field_are_told_apart(printed, arch, rates, rule, changes, value):
    found = _found(check(printed, arch, rates))
    assert (rule, changes) in found
    assert value in (None, found[rule, changes])


def test_the_plainest_way_comes_first():
    for printed, first in (("125.49M", "macs"), ("126.55M", "thop-0.0.31"), ("0.85M params", "all parameters")):
        plainest = check(printed, "resnet56").figure.prints[0]
        assert (plainest.way.rule, plainest.all_changes) == (first, ())


@pytest.mark.parametrize("row", ["dcff/cifar10/vgg16", "dcff/imagenet/r50_1.49b", "cfdp/cifar10/googlenet"])
def test_unchanged_ways_are_the_rules_themselves(row):
    row = get_row(row)
    about = ARCHS[row.arch]
    for widths in (None, row.widths):
        found = {
            way.rule: way for way in ways(Subject("x", about, widths, about.layout(row.layout))) if not way.changes
        }
        assert set(found) == {*RULES, "all parameters"}
        for rule in RULES:
            assert found[rule].value == cost(row.arch, widths, rule, row.layout).flops
        assert found["all parameters"].value == plan(about, widths or about.filters).params


@pytest.mark.parametrize("name", ARCHS)
def test_parameters_by_kind_are_all_parameters(name):
    kinds = params_of(plan(ARCHS[name], ARCHS[name].filters).layers)
    assert (
        sum(kinds[k] for k in ("convs", "norms", "biases", "linear")) == plan(ARCHS[name], ARCHS[name].filters).params
    )


def test_scopes_on_a_network_counted_by_hand():
    found = {(way.rule, way.changes): way.value for way in ways(Subject("x", ARCHS["resnet20"]))}
    macs, elements, linear = 40_551_040, 16 * 1024 * 7 + 32 * 256 * 6 + 64 * 64 * 6, 640
    assert found["macs", ("linear layers left out",)] == macs - linear
    assert found["macs", ("linear biases counted too",)] == macs + 10
    assert found["macs", ("4 per BatchNorm element",)] == macs + 4 * elements
    assert found["macs", ("2 per BatchNorm element", "2 per MAC")] == 2 * macs + 2 * elements
    assert found["macs", ("2 in - 1 per output",)] == 2 * macs - elements - 10
    assert found["macs", ("1x1 convs as shortcuts",)] == macs + 32 * 16 * 256 + 64 * 32 * 64
    assert found["all parameters", ("1x1 convs as shortcuts",)] == cost("resnet20").params + 32 * 18 + 64 * 34
    assert found["macs", ("64x64 images",)] == 4 * (macs - linear) + linear
    assert found["macs", ("100 classes",)] == macs + 64 * 90


def test_every_row_is_found_again_by_its_own_rule():
    """The recounts of the book that are exact, through this door."""
    tried = 0
    for row in all_rows().values():
        if row.unknown or not row.rates or row.arch not in ARCHS or not row.reported.get("flops"):
            continue
        exact = cost(row.arch, row.widths, row.rule, row.layout).flops
        printed = Printed.read(row.reported["flops"])
        if printed.like(exact) == row.reported["flops"] and printed.decimals >= 0:
            found = check(row.reported["flops"], row.arch, row.rates, layout=row.layout)
            assert (row.rule, ()) in _found(found), row.id
            tried += 1
    assert tried >= 15


def test_a_figure_that_nothing_prints_has_nearest_misses():
    found = check("99.99M", "resnet56")
    assert not found.found
    assert found.figure.near[0].value == pytest.approx(125.5e6, rel=0.001)
    assert "+25." in str(found)
    assert found.agree is None


def test_few_digits_are_called_weak():
    assert check("4G", "resnet50").figure.chance > 0.5
    assert "weak" in str(check("4G", "resnet50"))
    assert check("125.49M", "resnet56").figure.chance < 0.01


def _said(**given):
    return {
        s.text: s.holds for s in check("55.84M", "resnet56", get_row("dcff/cifar10/resnet56").rates, **given).statements
    }


def test_figures_of_two_counters_contradict_each_other():
    said = _said(base="125.49M", cut="55.5%", params="0.38M")
    assert said == {
        "55.84M of 125.49M is a cut of 55.50 to 55.51%; printed 55.5%": True,
        "no one way prints both: 55.84M is by thop-0.0.31, its base 125.49M by macs": False,
        "thop-0.0.31, which prints 55.84M, gives a cut of 55.88%; printed 55.5%": False,
        "resnet56 by layout dcff has both 55.84M and 0.38M parameters": True,
    }
    assert all(_said(base="126.55M", cut="55.9%", params="0.38M").values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base": "126.55M", "cut": "44.1%"}, "which is what stays"),
        ({"base": "126.55M", "cut": "55.8%"}, "which is truncated"),
        ({"base": "126.55M", "cut": "55.5%"}, r"would follow from a full network of 125,485,696 (macs)"),
        ({"base": "50M"}, "more than its base"),
        ({"cut": "99%"}, "needs a full network of 3,722,"),
        ({"params": "0.85M"}, "no one network has both"),
    ],
)
def test_what_contradicts_is_explained(given, words):
    texts = [text for text, holds in _said(**given).items() if not holds]
    assert any(words in text for text in texts), texts


def test_the_plainest_way_may_have_changes_and_give_the_cut():
    found = check("108.61M", "vgg16", HRANK, layout="dcff", cut="65.3%", classes=10)
    assert found.figure.prints[0].way.other == 2
    assert [s.holds for s in found.statements] == [True, True]


def test_a_speed_up_is_a_cut():
    assert all(_said(base="126.55M", cut="2.27x").values())
    assert not all(_said(base="126.55M", cut="3x").values())


def test_a_printed_network_is_known_without_its_rates():
    found = check("55.84M", "resnet56", known=printed_networks("resnet56"))
    assert found.figure.prints[0].way.network == "dcff/cifar10/resnet56"
    assert not check("55.84M", "resnet56").found
    assert printed_networks("resnet152") == []


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("55.84M", "55.84M"), ("4.1 GFLOPs", "4.1G"), ("4.1 gmacs", "4.1G"), ("~3.5 million params", "3.5M"),
        ("1,814,073,344", "1814073344"), ("3.8×10⁹", "3.8G"), ("2.2e8", "220M"),
        ("15.5 BFLOPs", "15.5B"), ("76.8 %", "76.8%"), ("1.25 x 10^8", "125M"), ("2e99", None), ("2.2.2e8", None),
        ("0M", None), ("M", None), ("", None), ("nan", None), ("-3M", None), ("1e999M", None), ("9" * 500, None),
        ("0." + "1" * 400 + "M", None), ("٣M", None),
    ],
)  # fmt: skip
def test_figures_are_read_as_people_write_them(written, read):
    if read:
        assert figure(written) == read
    else:
        with pytest.raises(InputError, match="expected a number and a unit"):
            figure(written)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--arch", "resnet56"], "figure 'x'; expected a number and a unit"),
        (["55.84M"], "--arch"),
        (["55.84M", "--arch", "vgg16_hrank", "--rates", "[0.5]*7"], "7 rates; expected 12 (hrank) or 13 (units)"),
        (["55.84M", "--arch", "resnet56", "--rates", "[0.5"], "spec, character 5"),
        (["55.84M", "--arch", "resnet56", "--layout", "x"], "no layout 'x'"),
        (["55.84M", "--arch", "resnet56", "--params", "5%"], "expected counts"),
        (["55.84M", "--arch", "resnet56", "--cut", "5M"], "expected a percentage"),
        (["55.84M", "--arch", "resnet56", "--cut", "0.5x"], "a speed-up of more than 1"),
        (["55.84M", "--arch", "resnet56", "--cut", "300%"], "from 0 to 100"),
        (["55.8%", "--arch", "resnet56"], "a cut of what?"),
        (["1G", "--arch", "resnet56", "--image", "ax3"], "--image 'ax3'; expected pixels"),
        (["1G", "--arch", "resnet56", "--image", "0"], "images of (0, 0)"),
        (["1G", "--arch", "resnet56", "--classes", "0"], "0 classes; expected"),
        (["1G", "--arch", "resnet9000"], "unknown network 'resnet9000'"),
        (["1G", "--arch", "quantized_resnet18"], "resnet18 counts; expected that"),
        (["1G", "--arch", "resnet152", "--rates", "[0.5]"], "torchvision's networks are counted full"),
    ],
)
def test_bad_words_are_one_line(words, said, capsys):
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_exit_code_says_whether_something_prints_it(capsys):
    assert main(["check", "125.49M", "--arch", "resnet56"]) == 0
    assert "125,485,696  FLOPs of resnet56: macs" in capsys.readouterr().out
    assert main(["check", "99.99M", "--arch", "resnet56", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["found"], found["agree"], found["figure"]["prints"]) == (False, None, [])
    assert 0 < abs(found["figure"]["near"][0]["off"]) < 0.3


def test_it_answers_without_torch():
    script = (
        "import sys; from prune_lib.cli import main; code = main(sys.argv[1:]); "
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    words = ["check", "55.84M", "--arch", "resnet56", "--base", "125.49M", "--cut", "55.5%"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["0", "False"]


@pytest.mark.parametrize("name", ["resnet110", "resnet101", "mask_rcnn"])
def test_it_answers_at_once(name):
    began = time.process_time()
    check("1.23G", name)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "torchvision/resnet18", "torchvision/vgg11", "squeezenet1_1"])
def test_torchvisions_networks_are_counted_as_it_says_itself(name):
    """Its published weights carry their own params and GFLOPs, of one operation per MAC."""
    from torchvision.models import get_model_weights

    said = next(iter(get_model_weights(name.rpartition("/")[2]))).meta
    by_hand = check(f"{said['_ops']:.3f}G", name, image=(224, 224))
    assert by_hand.figure.prints[0].way.rule in ("macs", "torch's FlopCounterMode, halved")
    assert check(f"{said['num_params']} params", name, image=(224, 224)).figure.prints[0].all_changes == ()


def test_torchvisions_auxiliary_heads_and_other_sizes_are_tried():
    assert _found(check("23.83M", "inception_v3"))["all parameters", ("auxiliary heads left out",)] == 23_834_568
    assert _found(check("5.34G", "torchvision/resnet50"))["macs", ("256x256 images",)] == 5_340_348_416


def test_a_network_that_both_have_is_pointed_out():
    found = check("15.5G", "vgg16")
    assert not found.found
    assert found.hints == ["vgg16 here is CIFAR-10's; ImageNet's is --arch torchvision/vgg16"]
    ours, theirs = (check("1.81G", name, image=(224, 224)) for name in ("resnet18", "torchvision/resnet18"))
    assert ours.figure.prints[0].way.value == theirs.figure.prints[0].way.value == 1_814_073_344


def test_the_early_stride_is_a_network_too():
    import torch

    early, late = (build(name, num_classes=10).eval() for name in ("resnet50_v1", "resnet50"))
    assert early.layer2[0].conv1.stride == late.layer2[0].conv2.stride == (2, 2)
    assert early.layer2[0].conv2.stride == late.layer2[0].conv1.stride == (1, 1)
    assert early(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert f"{cost('resnet50_v1', rule='macs').flops:,}" == "3,857,973,248"
