"""Networks that do something else another time: for other inputs, in training, in the next call, in other numbers."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from test_anynet_more import Net, X, conv
from torch import nn

from prune_lib.anynet import prune
from prune_lib.nets import compare
from prune_lib.system.errors import InputError


def trunk(way, **parts):
    return Net(way, **({"a": conv(3, 16), "b": conv(16, 16), "h": nn.Linear(16, 10)} | parts))


def _pooled(net, maps):
    return net.h(net.b(maps.relu()).relu().mean((2, 3)))


# layers that the example does not reach


def _by_size(net, x):
    return _pooled(net, (net.large if x.shape[-1] > 20 else net.small)(net.a(x).relu()))


def _experts(net, x):
    maps = net.a(x).relu().mean((2, 3))
    first = net.gate(x.mean((2, 3))).argmax(1)
    found = torch.zeros_like(maps)
    for expert in first.unique().tolist():
        found[first == expert] = net.experts[expert](maps[first == expert])
    return net.h(maps + found)


UNREACHED = {
    "another size": (lambda: trunk(_by_size, small=conv(16, 16), large=conv(16, 16)), "large was not reached from"),
    "a norm of another size": (
        lambda: trunk(_by_size, small=nn.BatchNorm2d(16), large=nn.BatchNorm2d(16)), "large was not reached from the"),
    "the best of eight": (
        lambda: trunk(_experts, gate=nn.Linear(3, 8), experts=nn.ModuleList(nn.Linear(16, 16) for _ in range(8))),
        r"and \d more, as experts.\d, were not reached from the example inputs, in training mode neither"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), UNREACHED.values(), ids=UNREACHED)
def test_layers_that_the_example_does_not_reach_are_named(make, words):
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=words) as told:
        pruned = prune(make(), X)
    assert len(told) == 1
    assert pruned.widths["a"] < 16
    assert pruned.difference <= 1e-5


def test_a_norm_that_is_left_over_is_no_reason_to_warn():
    assert prune(trunk(lambda net, x: _pooled(net, net.a(x)), bn=nn.BatchNorm2d(16)), X).widths["a"] < 16


def test_an_early_exit_is_refused_for_the_layer_behind_it():
    def way(net, x):
        maps = net.a(x).relu()
        early = net.early(maps.mean((2, 3)))
        return early if early.mean() > net.enough else _pooled(net, maps)

    torch.manual_seed(0)
    net = trunk(way, early=nn.Linear(16, 10), enough=torch.tensor(0.0))
    nn.init.uniform_(net.early.weight, 0, 1)  # so that fewer channels give less
    net.enough += 0.9 * net(X).mean().detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="Net, a: b, which the example inputs do not reach but the smaller net"):
            prune(net, X)


# what training alone uses


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.rand(16, 1, 1))

    def forward(self, maps):
        return maps + self.size * torch.randn(maps.shape) if self.training else maps


def _noisy(net, x):
    maps = net.a(x).relu()
    return _pooled(net, maps + net.size * torch.randn_like(maps) if net.training else maps)


def _centred(net, x):
    maps = net.b(net.a(x).relu()).relu().mean((2, 3))
    if net.training:
        net.centre.mul_(0.9).add_(0.1 * maps.mean(0).detach())
    return net.h(maps)


def _queued(net, x):
    maps = net.b(net.a(x).relu()).relu().mean((2, 3))
    return (net.h(maps), F.normalize(maps) @ net.queue) if net.training else net.h(maps)


TRAINED = {
    "noise": (lambda: trunk(_noisy, size=torch.rand(1, 16, 1, 1)), ("size", 1, "a")),
    "noise by a module": (lambda: trunk(lambda net, x: _pooled(net, net.n(net.a(x))), n=Noise()), ("n.size", 0, "a")),
    "a running mean": (lambda: trunk(_centred, centre=torch.zeros(16)), ("centre", 0, "b")),
    "a queue": (lambda: trunk(_queued, queue=torch.rand(16, 32)), ("queue", 0, "b")),
}


@pytest.mark.parametrize(("make", "cut"), TRAINED.values(), ids=TRAINED)
def test_what_training_alone_uses_is_cut_as_well(make, cut):
    torch.manual_seed(0)
    net = make()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruned = prune(net.eval(), X)
    name, dim, layer = cut
    state = dict([*net.named_parameters(), *net.named_buffers()])
    small = dict([*pruned.model.named_parameters(), *pruned.model.named_buffers()])
    stays = pruned.kept[layer].nonzero().flatten()
    assert len(stays) < 16
    assert torch.equal(small[name], state[name].index_select(dim, stays))
    pruned.model.train()(X)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


def test_a_buffer_of_training_that_cannot_be_followed_is_named():
    net = trunk(lambda net, x: net.missing if net.training else _pooled(net, net.a(x)), centre=torch.zeros(16))
    with pytest.raises(InputError, match="Net, centre: evaluation does not use it, and in training mode the network d"):
        prune(net, X)


# what one call keeps for the next


def _remembering(net, x):
    maps = net.a(x).relu()
    net.past = net.b(torch.cat([maps, torch.zeros_like(maps) if net.past is None else net.past], 1)).tanh().detach()
    return net.last(net.past)


def _listing(net, x):
    maps = net.a(x).relu()
    net.all.append(net.b(torch.cat([maps, net.all[-1] if net.all else torch.zeros_like(maps)], 1)).tanh().detach())
    return net.last(net.all[-1])


@pytest.mark.parametrize(("way", "kept"), [(_remembering, "past"), (_listing, "all")], ids=["a tensor", "a list"])
@pytest.mark.parametrize("ran", [False, True], ids=["fresh", "used"])
def test_a_network_that_keeps_maps_for_the_next_call_is_refused(way, kept, ran):
    net = Net(way, a=conv(3, 16), b=conv(32, 16), last=conv(16, 4))
    net.past, net.all = None, []
    if ran:
        net(X)
    with pytest.raises(InputError, match=f"Net keeps {kept} of one call for the next, which with fewer channels does"):
        prune(net, X)


def test_a_network_that_only_counts_its_calls_is_pruned():
    def way(net, x):
        net.calls, net.seen = net.calls + 1, net.a(x)
        return _pooled(net, net.seen)

    net = trunk(way)
    net.calls = 0
    pruned = prune(net, X).model
    assert pruned(X).shape == pruned(X).shape == (2, 10)


# numbers that are none


def _spoiled(name, number):
    net = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 4))
    (dict(net.named_parameters()) | dict(net.named_buffers()))[name].data[2] = number
    return net


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.bias", "1.running_var"])
def test_a_weight_that_is_no_number_is_named(name, number):
    with pytest.raises(InputError, match=f"Sequential, {name}: holds NaN or inf; expected weights that are numbers"):
        prune(_spoiled(name, number), X)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_an_example_that_is_no_number_is_told_of(number):
    with pytest.raises(InputError, match="example_inputs hold NaN or inf, of which Sequential makes NaN, so that"):
        prune(nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 4)), X * number)


def test_a_mask_of_infinities_is_none_of_both():
    def way(net, x, *given):
        shares = (net.q(x) @ x.mT + (given[0] if given else net.mask)).softmax(-1)
        return net.b(net.a(shares @ x).relu())

    mask = torch.full((16, 16), -torch.inf).triu(1)
    net = Net(way, a=nn.Linear(16, 32), b=nn.Linear(32, 8), q=nn.Linear(16, 16), mask=mask)
    assert prune(net, X[:, 0]).widths["a"] == prune(net, (X[:, 0], mask)).widths["a"] < 32


# what a comparison sees


def _beside(size):
    def way(net, x):
        found = net.b(net.act(net.a(x))).flatten(2).transpose(1, 2)
        index = size * torch.arange(found.shape[1])[:, None].expand(len(x), -1, 1)
        return torch.cat([index, found], -1)

    return way


HIDING = {
    "beside large numbers": _beside(640.0),
    "beside the largest numbers": _beside(1e9),
    "saturated": lambda net, x: (100 + net.b(net.act(net.a(x)))).sigmoid(),
    "an answer": lambda net, x: net.b(net.act(net.a(x))) > 1e4,
    "no answer": lambda net, x: F.relu(net.b(net.act(net.a(x))) - 1e4),
}


@pytest.mark.parametrize("way", HIDING.values(), ids=HIDING)
def test_a_wrong_cut_does_not_hide_in_the_output(way):
    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"a: the smaller network .* .sigmoid is not 0 at 0."):
        prune(Net(way, a=conv(3, 16), b=conv(16, 2), act=nn.Sigmoid()), X)
    pruned = prune(Net(way, a=conv(3, 16), b=conv(16, 2), act=nn.ReLU()), X)
    assert pruned.widths["a"] < 16
    assert pruned.difference <= 1e-5


def test_a_number_near_zero_is_no_channel_of_its_own():
    """Of one example each logit is one number, and one among them is as near to zero as rounding."""
    expected = torch.linspace(-2, 2, 1001)[None] + 1e-6
    found = expected + 1e-6 * torch.tensor([1.0, -1.0, 0.5]).repeat(334)[None, :1001]
    assert compare.difference([expected], [found], 2e-3) < 1e-6
    many = expected.expand(32, -1)
    assert compare.difference([many], [many + 1e-6], 2e-3) == pytest.approx(2e-3, rel=0.2)


def test_channels_of_rounding_are_no_difference():
    def way(net, x):
        found = net.b(net.a(x).relu())
        return torch.cat([found, found + 1 - found - 1, 1e-7 * found], 1)

    assert prune(Net(way, a=conv(3, 16), b=conv(16, 2)), X).difference <= 1e-5


def test_an_output_in_which_nothing_shows_is_said_to_be_one():
    def way(net, x):
        return net.b(net.a(x).relu()).relu().square().sum((1, 2, 3)) > 1e9

    with pytest.raises(InputError, match="Net gives False everywhere on example_inputs, so that nothing can be compar"):
        prune(Net(way, a=conv(3, 16), b=conv(16, 8)), X)


def test_a_channel_is_compared_by_itself_if_asked():
    expected = torch.tensor([[1.0, 1000.0], [2.0, 500.0]]).repeat(8, 1)
    found = torch.tensor([[1.0, 1000.0], [2.5, 500.0]]).repeat(8, 1)
    assert compare.difference([expected], [found]) == 0.5 / 1000
    assert compare.difference([expected], [found], 1.0) == 0.5 / 2
    assert compare.difference([expected.double()], [found.double()], 0.1) == pytest.approx(0.1 * 0.5 / 2)
    little = torch.tensor([[1e-12, 1.0], [0.0, 1.0]], dtype=torch.float64).repeat(8, 1)
    assert compare.difference([little], [little * torch.tensor([2.0, 1.0])], 1.0) == pytest.approx(1e-4)


# types of numbers, and buffers with a meaning


def _in_bfloat16(net, x):
    maps = net.b(net.a(x.to(net.type_of_all)).relu()) + torch.zeros(16, 16, dtype=torch.bfloat16)
    return net.h(maps.relu().mean((2, 3)))


def _typed(way, **types):
    net = trunk(way)
    net.type_of_all = torch.bfloat16
    for name, dtype in types.items():
        net.get_submodule(name).to(dtype)
    return net


TYPES = {
    "by name": (_in_bfloat16, dict.fromkeys("abh", torch.bfloat16), torch.bfloat16),
    "a head": (lambda net, x: net.h(net.b(net.a(x).relu()).mean((2, 3)).double()), {"h": torch.float64}, torch.float64),
}


@pytest.mark.parametrize(("way", "types", "gives"), TYPES.values(), ids=TYPES)
def test_a_network_that_asks_for_a_type_is_pruned(way, types, gives):
    net = _typed(way, **types)
    pruned = prune(net, X)
    assert pruned.widths["a"] < 16
    assert pruned.difference <= 1e-5
    assert pruned.model(X).dtype == gives
    assert [p.dtype for p in pruned.model.parameters()] == [p.dtype for p in net.parameters()]
    assert torch.get_default_dtype() == torch.float32


def test_a_network_that_runs_in_its_own_type_alone_is_said_to():
    def way(net, x):
        maps = net.a(x.to(net.type_of_all))
        assert maps.dtype == torch.bfloat16, "bfloat16 alone"
        return _pooled(net, maps)

    net = _typed(way, **dict.fromkeys("abh", torch.bfloat16))
    with pytest.raises(InputError, match=r"runs on example_inputs .* as it is, but not in float32 .*bfloat16 alone"):
        prune(net, X)


MEANT = {
    "a size": (lambda net, x: _pooled(net, F.adaptive_avg_pool2d(net.a(x), [int(v) for v in net.size])),
               {"size": torch.tensor([8.0, 8.0])}),
    "a variance": (lambda net, x: _pooled(net, net.a(x) / (net.var + 1e-5).sqrt()), {"var": torch.zeros(16, 1, 1)}),
    "a variance that is learned": (
        lambda net, x: _pooled(net, net.a(x) / (net.var + 1e-5).sqrt()), {"var": nn.Parameter(torch.zeros(16, 1, 1))}),
}  # fmt: skip


@pytest.mark.parametrize(("way", "parts"), MEANT.values(), ids=MEANT)
def test_what_has_a_meaning_is_not_drawn_anew(way, parts):
    pruned = prune(trunk(way, **copy.deepcopy(parts)), X)
    assert pruned.widths["a"] < 16
    assert pruned.difference <= 1e-5
