"""How many channels stay: budgets, ways to share them out, limits and steps, worked by hand on a chain of convs."""

import copy
import io
import itertools

import pytest
import torch
from torch import nn

from prune_lib.anynet import prune
from prune_lib.anynet.measuring import MEASURES, peak_bytes, seconds
from prune_lib.system.errors import InputError

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def chain(bias=False, first=range(1, 9), second=range(1, 9)):
    """1x1 convs 3 -> 8 -> 8 -> 2, whose filters have the L1 norms given, in another order than by size.

    With (a, b) channels left a pixel costs 3a + ab + 2b multiply-accumulates, of 104.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=bias), nn.ReLU(), nn.Conv2d(8, 8, 1, bias=bias), nn.ReLU(),
                          nn.Conv2d(8, 2, 1, bias=bias))  # fmt: skip
    for layer, norms in ((model[0], first), (model[2], second)):
        turned = torch.tensor([*norms], dtype=torch.float32).roll(3)
        layer.weight.data *= (turned / layer.weight.data.abs().sum((1, 2, 3))).view(-1, 1, 1, 1)
    return model


def widths(pruned):
    return pruned.widths["0"], pruned.widths["2"]


LEVEL = [1 + i / 1e4 for i in range(8)]
BUDGETS = {  # what is asked for, how many channels of the two convs stay, and MACs of a pixel
    "half": ({}, (5, 5), 50),  # (5, 6) would be 57 and (6, 5) 58, of 52
    "a little more": ({"flops": 0.55}, (5, 6), 57),  # what the rung below leaves pays one channel
    "all": ({"flops": 1.0}, (8, 8), 104),
    "by fours": ({"round_to": 4}, (4, 4), 36),
    "by fours, and more": ({"round_to": 4, "flops": 0.6}, (4, 8), 60),
    "by more than there are": ({"round_to": 16, "flops": 0.55}, (5, 6), 57),
    "a floor": ({"floor": 0.75, "flops": 0.65}, (6, 6), 66),
    "a floor between": ({"floor": 0.7, "flops": 0.65}, (6, 6), 66),
    "a share for one": ({"allocation": {"0": 0.25}}, (2, 8), 38),
    "all for one": ({"allocation": {"0": 1.0}}, (8, 2), 44),
    "shares for both": ({"allocation": {"0": 0.5, "2": 0.25}}, (4, 2), 24),
    "isomorphic": ({"allocation": "isomorphic"}, (5, 5), 50),  # "0" and "2" are of two kinds: as uniform
    "parameters": ({"params": 0.5}, (5, 5), 50),
}


@pytest.mark.parametrize(("options", "expected", "cost"), BUDGETS.values(), ids=BUDGETS)
def test_a_budget_by_hand(options, expected, cost):
    pruned = prune(chain(), X, **options)
    assert widths(pruned) == expected
    assert pruned.macs == 16 * cost
    assert pruned.full_macs == 16 * 104
    assert pruned.params == cost
    norms = torch.arange(1.0, 9).roll(3)
    for layer, width in zip(("0", "2"), expected, strict=True):  # the largest stay
        assert pruned.kept[layer].tolist() == (norms > 8 - width).tolist()


def test_globally_the_best_stay_wherever_they_are():
    """Over their means: four of the first conv are above 1.1, the second's eight are all near 1, then the others.

    4 and b channels cost 12 + 6 b, of 52: six of the second conv.
    """
    pruned = prune(chain(second=LEVEL), X, allocation="global")
    assert widths(pruned) == (4, 6)
    assert pruned.macs == 16 * 48


def test_biases_are_parameters():
    """4a + ab + 3b + 2, of 122: (5, 5) would be 62 of 61, so one of the two has one channel fewer."""
    pruned = prune(chain(bias=True), X, params=0.5)
    assert widths(pruned) == (4, 5)
    assert pruned.params == 16 + 20 + 15 + 2
    assert pruned.full_params == 122


class Block(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.a, self.b = nn.Conv2d(inputs, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x):
        return self.b(self.a(x).relu()).relu()


def test_isomorphic_groups_are_compared_among_themselves():
    torch.manual_seed(0)
    model = nn.Sequential(Block(3), Block(8), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        model[0].a.weight *= torch.linspace(0.01, 3, 8).view(-1, 1, 1, 1)  # unequal: half of them matter
    pruned = prune(model, X, flops=0.5, allocation="isomorphic")
    modules = dict(model.named_modules())
    share = {}
    for kind in "ab":
        kept, gone = [], []
        for block in "01":
            norms = modules[f"{block}.{kind}"].weight.detach().abs().sum((1, 2, 3))
            stays = pruned.kept[f"{block}.{kind}"]
            kept += (norms / norms.mean())[stays].tolist()
            gone += (norms / norms.mean())[~stays].tolist()
        assert min(kept) > max(gone)
        share[kind] = len(kept)
    assert abs(share["a"] - share["b"]) <= 1
    assert pruned.widths["0.a"] < pruned.widths["1.a"]


def test_steps_go_to_the_same_share_and_say_what_stayed_of_the_first_network():
    model, between = chain(), []

    def trained(network):
        between.append(sum(p.numel() for p in network.parameters()))
        for p in network.parameters():
            p.data.mul_(2)

    pruned = prune(model, X, flops=0.25, steps=2, between=trained)
    assert between == [50]  # after the first step, to half
    once = prune(model, X, flops=0.25)
    assert widths(pruned) == widths(once) == (3, 3)
    assert pruned.macs == 16 * 24
    assert pruned.full_macs == 16 * 104
    assert pruned.full_params == 104
    assert torch.equal(pruned.kept["0"], once.kept["0"])
    a, b = (pruned.kept[layer] for layer in ("0", "2"))
    assert torch.equal(pruned.model[2].weight, 2 * model[2].weight[b][:, a])


def test_steps_without_training_need_nothing_between():
    assert widths(prune(chain(), X, flops=0.25, steps=3)) == (3, 3)


def test_shares_and_floors_are_of_the_first_network_however_many_the_steps():
    for steps in (1, 2, 3):
        assert widths(prune(chain(), X, allocation={"0": 0.5}, flops=0.4, steps=steps))[0] == 4
        assert widths(prune(chain(), X, floor=0.75, flops=0.65, steps=steps)) == (6, 6)


def test_a_share_is_a_whole_number_where_it_is_one():
    """0.29 of 100 is 29 and 0.07 of it 7, though in binary they are a little less and a little more."""
    model = nn.Sequential(nn.Conv2d(3, 100, 1), nn.ReLU(), nn.Conv2d(100, 2, 1))
    assert prune(model, X, allocation={"0": 0.29}).widths == {"0": 29}
    assert prune(model, X, floor=0.07, flops=0.075).widths == {"0": 7}


def test_the_bytes_of_a_pass_by_hand():
    """Weights, and the largest result with what it reads: a ReLU reads 8 maps of 16 pixels and gives as many."""
    assert peak_bytes(chain(), X[:1]) == 4 * (104 + 2 * 8 * 16)
    assert seconds(chain(), X) > 0


def test_memory_is_a_target():
    """104 weights and 16 maps at most are 16,800 bytes; (5, 4) channels would take 10,428 of 10,080."""
    images = torch.zeros(1, 3, 16, 16)
    pruned = prune(chain(), images, memory=0.6)
    assert widths(pruned) == (4, 4)
    assert peak_bytes(pruned.model, images) == 4 * (36 + 2 * 4 * 256)


def test_a_measured_target_is_bisected(monkeypatch):
    """Of a clock that counts channels: at most 10 of 16, while more of the MACs would be there to be had."""
    calls = []

    def channels(model, inputs):
        calls.append(1)
        return float(model[0].out_channels + model[2].out_channels)

    monkeypatch.setitem(MEASURES, "latency", channels)
    pruned = prune(chain(), X, latency=10 / 16)
    assert sum(widths(pruned)) == 10
    assert len(calls) <= 10
    with pytest.raises(InputError, match=r"Sequential cannot be pruned to 10% of its latency here"):
        prune(chain(), X, latency=0.1)


@pytest.mark.parametrize("options", [{"flops": 0.3}, {"params": 0.3}, {"allocation": "global"}, {"round_to": 8}])
def test_no_cheaper_answer_was_left_out(options, shaken):
    """Uniform and global budgets leave less than the next channel of any group would cost."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1),
        nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 4, 1),
    )  # fmt: skip
    pruned = prune(shaken(model), X, **options)
    budget = options.get("flops", options.get("params", 0.5))
    share = pruned.params / pruned.full_params if "params" in options else pruned.macs / pruned.full_macs
    assert share <= budget
    if "round_to" in options:
        assert all(width % 8 == 0 for width in pruned.widths.values())
    else:
        assert share > 0.9 * budget


def test_half_channels_last_frozen_and_modes_stay_as_found():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    ).half().to(memory_format=torch.channels_last).train()  # fmt: skip
    model[0].weight.requires_grad_(False)
    model[1].eval()
    images = torch.randn(4, 3, 8, 8).half()
    for options in ({}, {"steps": 2, "between": lambda net: net.eval()}):
        pruned = prune(model, images, "taylor", [(images, torch.zeros(4, 4, 4, dtype=torch.int64))], **options)
        smaller = pruned.model
        assert smaller[0].out_channels < 8
        assert {p.dtype for p in smaller.parameters()} == {torch.float16}
        assert all(smaller[i].weight.is_contiguous(memory_format=torch.channels_last) for i in (0, 3))
        assert [p.requires_grad for p in smaller.parameters()] == [p.requires_grad for p in model.parameters()]
        assert [m.training for m in smaller.modules()] == [m.training for m in model.modules()]
        assert not smaller[0].weight.requires_grad
        assert torch.equal(smaller[0].weight, model[0].weight[pruned.kept["0"]])


WRAPPED = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_are_taken_off(wrap):
    model = chain()
    expected, pruned = prune(copy.deepcopy(model), X), prune(wrap(model), X)
    assert type(pruned.model) is nn.Sequential
    assert pruned.widths == expected.widths
    assert all(
        torch.equal(a, b) for a, b in itertools.zip_longest(pruned.model.parameters(), expected.model.parameters())
    )


def test_the_report_is_a_table_of_layers():
    lines = prune(chain(), X).report().splitlines()
    assert lines[0].split() == ["layer", "before", "after", "MACs", "left"]
    assert lines[1].split() == ["0", "8x3x1x1", "5x3x1x1", "384", "62%"]
    assert lines[2].split() == ["2", "8x8x1x1", "5x5x1x1", "1,024", "39%"]
    assert lines[3].split()[:5] == ["4", "2x8x1x1", "2x5x1x1", "256", "62%"]
    assert lines[3].endswith("its channels are the network's output")
    assert lines[4].startswith("l1: 800 of 1,664 MACs (48.1%), 50 of 104 params; masked and cut network differ by ")
    assert (
        len(
            {
                line.index(word) + len(word)
                for line, word in zip(lines[:4], ("MACs", "384", "1,024", "256"), strict=True)
            }
        )
        == 1
    )


BAD = {
    "two": (lambda: prune(chain(), X, flops=0.5, params=0.5), "flops and params are given; expected one of them"),
    "a floor too high": (lambda: prune(chain(), X, floor=0.75), "to 50% of its MACs; expected at least 63.462%"),
    "params too few": (lambda: prune(chain(), X, params=0.01), "to 1% of its parameters; expected at least 5.77%"),
    "allocation": (lambda: prune(chain(), X, allocation="best"), "allocation is 'best'; expected uniform, global, iso"),
    "another layer": (lambda: prune(chain(), X, allocation={"9": 0.5}), "allocation names '9'; expected names of the"),
    "a share": (lambda: prune(chain(), X, allocation={"0": 0}), r"allocation gives 0 0; expected a share in \(0, 1\]"),
    "a list": (lambda: prune(chain(), X, allocation=[0.5]), "allocation is list; expected a name or a mapping"),
    "round_to": (lambda: prune(chain(), X, round_to=0), "round_to is 0; expected a whole number from 1"),
    "floor": (lambda: prune(chain(), X, floor=2), r"floor is 2; expected a share in \[0, 1\]"),
    "steps": (lambda: prune(chain(), X, steps=0), "steps is 0; expected a whole number from 1"),
    "memory": (lambda: prune(chain(), X, memory=-1), "memory is -1; expected a share of the full network's in"),
}  # fmt: skip


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_a_budget_that_cannot_be_is_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("live", [True, False])
def test_what_is_being_done_is_a_bar_on_a_terminal_and_lines_elsewhere(live, monkeypatch):
    said = io.StringIO()
    said.isatty = lambda: live
    monkeypatch.setattr("sys.stderr", said)
    prune(chain(), X, progress=True, steps=2)
    words = said.getvalue()
    assert ("6/6" in words) == live
    assert words.count("prune: running Sequential") == (0 if live else 2)
    said.seek(said.truncate(0))
    prune(chain(), X)
    assert said.getvalue() == ""
