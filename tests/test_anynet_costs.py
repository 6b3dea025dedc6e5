"""What a pruned network is said to cost is what it costs, whatever its channels become."""

import pytest
import torch
from torch import nn

from prune_lib.anynet.measuring import counted, macs
from prune_lib.anynet.pruning import prune

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Mixer(nn.Module):
    """Patches are mixed along their places, each channel by itself: a channel less is a row less for both layers."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.wide, self.narrow = nn.Linear(16, 64, bias=False), nn.Linear(64, 16, bias=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        y = self.patches(x).flatten(2)
        y = y + self.narrow(self.wide(y).relu())
        return self.head(y.mean(2))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_channels_that_become_rows_are_counted_as_rows(share):
    pruned = prune(Mixer(), X, flops=share)
    assert pruned.macs == sum(macs(pruned.model, X)[0].values()) // 2
    assert sum(line[4] for line in pruned.layers) == pruned.macs
    assert pruned.macs / pruned.full_macs == pytest.approx(share, rel=0.02)


def test_products_that_no_conv_and_no_linear_layer_makes_are_told():
    torch.manual_seed(0)
    attention = nn.TransformerEncoderLayer(256, 4, 64, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Flatten(2), attention, nn.Flatten(1), nn.Linear(4096, 4))
    pruned = prune(model, X)
    said, before = pruned.products
    attended = 4 * 16 * 256 * 256 + 2 * 16 * 16 * 256  # of one image: q, k, v and what follows them; scores and sums
    assert before == pruned.full_macs + attended
    assert said == pruned.macs + attended
    assert f"(torch's counter) it is {said:,} of {before:,} ({said / before:.1%})" in str(pruned)
    mixer = prune(Mixer(), X)
    assert mixer.products == (mixer.macs, mixer.full_macs)
    assert "counter" not in str(mixer)


def test_nothing_is_counted_again_where_layers_see_one_map_of_an_example(monkeypatch):
    plain = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3), nn.Flatten(), nn.Linear(576, 4))
    monkeypatch.setattr("prune_lib.anynet.choosing.counted", None)
    pruned = prune(plain, X)
    assert pruned.products is None
    assert pruned.macs == sum(macs(pruned.model, X)[0].values()) // 2


def test_a_convolution_that_no_layer_makes_is_told():
    class Standardised(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 4, 3)

        def forward(self, x):
            weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
            return self.second(nn.functional.conv2d(x, weight, padding=1).relu())

    pruned = prune(Standardised(), X)
    assert pruned.products[1] == pruned.full_macs + 16 * 16 * 16 * 27


def test_what_values_decide_is_not_counted_from_shapes():
    class Chooser(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.mean() < 9 else x

    model = Chooser(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
    assert counted(model, X) is None
    pruned = prune(model, X)
    assert pruned.products is None
    assert pruned.macs == sum(macs(pruned.model, X)[0].values()) // 2


@pytest.mark.parametrize("steps", [2, 20])
def test_uniform_shares_are_the_same_in_one_step_and_in_many(steps):
    torch.manual_seed(0)
    convs = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    convs += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()] * 2 + [nn.Conv2d(64, 4, 3, padding=1)]
    model = nn.Sequential(*convs)
    assert prune(model, X, steps=steps).widths == prune(model, X).widths
