"""Sensitivity: one group at a time loses its least important channels, and nothing else changes."""

import matplotlib.image
import pytest
import torch
from torch import nn

from prune_lib.anynet import sensitivity
from prune_lib.system.errors import InputError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def params(model):
    return sum(p.numel() for p in model.parameters())


def test_each_group_is_pruned_alone_by_each_share():
    """Parameters by hand: a channel of the first conv has 27 + 1 weights, 2 of its norm and 36 of the next conv."""
    model = network().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    seen = []

    def evaluate(net):
        assert not net.training
        seen.append([net[0].weight.detach().clone(), net[3].weight.shape[0]])
        for p in net.parameters():  # it may train it
            p.data.zero_()
        return params(net)

    found = sensitivity(model, X, evaluate, shares=(0.5, 0.2, 0.95))
    full = params(model)
    assert found.full == full
    assert [(r.group, r.share, r.kept, r.size, r.value) for r in found.rows] == [
        ("0", 0.2, 8, 10, full - 2 * 66), ("0", 0.5, 5, 10, full - 5 * 66), ("0", 0.95, 1, 10, full - 9 * 66),
        ("3", 0.2, 4, 4, full), ("3", 0.5, 2, 4, full - 2 * 94), ("3", 0.95, 1, 4, full - 3 * 94),
    ]  # fmt: skip
    assert found.rows[0].layers == ("0",)
    assert found.whole == {"7": "its channels are the network's output"}
    best = model[0].weight.abs().sum((1, 2, 3)).topk(5).indices.sort().values
    assert torch.equal(seen[2][0], before["0.weight"][best])
    assert [width for _, width in seen] == [4, 4, 4, 4, 4, 2, 1]
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_it_is_shown_as_a_table_and_a_plot(tmp_path):
    found = sensitivity(network(), X, lambda net: net[0].out_channels / 10, shares=(0.2, 0.5))
    lines = str(found).splitlines()
    assert lines[0].split() == ["group", "channels", "20%", "50%"]
    assert lines[1].split() == ["0", "10", "0.8", "0.5"]
    assert lines[-1] == "l1: nothing pruned 1"
    figure = found.plot(tmp_path / "curves.png")
    lines = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1.0, 0.8, 0.5], [1.0, 1.0, 1.0]]
    assert list(lines[0].get_xdata()) == [0, 20, 50]
    assert matplotlib.image.imread(tmp_path / "curves.png").std() > 0


def test_it_looks_at_data_where_the_criterion_does():
    found = sensitivity(network(), X, params, (0.5,), "taylor", [(X, torch.tensor([0, 1]))])
    assert [row.kept for row in found.rows] == [5, 2]
    assert found.criterion == "taylor"


BAD = {
    "shares": (
        lambda: sensitivity(network(), X, params, (0.5, 1.0)),
        r"shares are \[0.5, 1.0\]; expected at least one",
    ),
    "none": (lambda: sensitivity(network(), X, params, ()), r"shares are \[\]"),
    "evaluate": (lambda: sensitivity(network(), X, 0.5), "evaluate is float; expected a function of a network"),
    "no number": (lambda: sensitivity(network(), X, lambda net: "good"), "evaluate gives str; expected a number"),
    "criterion": (lambda: sensitivity(network(), X, params, criterion="l9"), "unknown criterion 'l9'"),
    "no data": (lambda: sensitivity(network(), X, params, criterion="cdp"), "data is missing"),
    "nothing": (lambda: sensitivity(nn.Linear(3, 3), X[0, 0, :, :3], params), "Linear: its channels are the network.s"),
}


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)
