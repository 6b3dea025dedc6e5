"""Situations next to those that others reported: each is pruned, and the layers that are named lose channels."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prune_lib.anynet import load, prune
from prune_lib.anynet.measuring import macs
from prune_lib.nets.hooks import call, tensors
from prune_lib.system.errors import InputError

SEED = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 16, 16, generator=SEED)
ROWS = torch.randn(4, 6, generator=SEED)
EDGES = torch.randint(0, 7, (2, 12), generator=SEED)


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


class Net(nn.Module):
    """What ``forward`` does with the layers, weights and buffers that are named."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.way = forward
        for name, part in parts.items():
            buffer = isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter)
            self.register_buffer(name, part) if buffer else setattr(self, name, part)

    def forward(self, *given, **named):
        return self.way(self, *given, **named)


def between(way, channels=16, read=16, **parts):
    """A conv, what ``way`` does with its maps, another conv."""
    return Net(
        lambda net, x: net.last(way(net, net.conv(x).relu())), conv=conv(3, channels), last=conv(read, 3), **parts
    )


def _tied_decoder(net, x):
    hidden = net.middle(F.linear(x, net.first.weight, net.first.bias).relu()).relu()
    return F.linear(hidden, net.first.weight.t())


def _tied_convs(net, x):
    return net.last(F.conv_transpose2d(net.code(net.conv(x).relu()).relu(), net.code.weight, padding=1).relu())


def _tied_words():
    net = Net(
        lambda net, ids: net.head(net.second(net.first(net.words(ids)).relu())),
        words=nn.Embedding(30, 8), first=nn.Linear(8, 32), second=nn.Linear(32, 8), head=nn.Linear(8, 30),
    )  # fmt: skip
    net.head.weight = net.words.weight
    return net


def _shared_norm():
    norm = nn.GroupNorm(4, 16)
    return nn.Sequential(conv(3, 16), norm, nn.ReLU(), conv(16, 16), norm, nn.ReLU(), conv(16, 3))


def _counting(net, x):
    net.seen += len(x)
    return net.last(net.conv(x).relu())


def _recurrent(layer, outputs):
    def forward(net, x):
        found, _ = net.recurrent(net.conv(x).relu().mean(2).transpose(1, 2))
        return net.last(found)

    return Net(forward, conv=conv(3, 16), recurrent=layer, last=nn.Linear(outputs, 4))


def _spectra(net, maps):
    found = torch.fft.rfft2(maps) * torch.view_as_complex(net.filter)
    return torch.fft.irfft2(found, s=maps.shape[-2:])


def _real_and_imaginary(net, maps):
    found = torch.view_as_real(torch.fft.rfft2(maps)).permute(0, 1, 4, 2, 3).flatten(1, 2)
    found = net.mixed(found).unflatten(1, (-1, 2))
    return torch.fft.irfft2(torch.complex(found[:, :, 0], found[:, :, 1]), s=maps.shape[-2:])


def _without_indices(net, x):
    maps, places = F.max_pool2d(net.conv(x).relu(), 2, return_indices=True)
    return net.last(F.max_unpool2d(net.more(maps), places, 2))


def _graph(net, nodes, edges):
    hidden = net.first(nodes).relu()
    hidden = hidden + torch.zeros_like(hidden).index_add_(0, edges[1], hidden[edges[0]])
    hidden = net.second(hidden).relu()
    places = torch.zeros(len(hidden), 1, dtype=torch.int64).expand_as(hidden)
    return net.last(hidden.new_zeros(2, hidden.shape[1]).scatter_add(0, places, hidden))


def _routed(net, x):
    maps = net.conv(x).relu().mean((2, 3))
    found, first = torch.zeros_like(maps), maps.sum(1) > maps.sum(1).median()
    found[first] = net.one(maps[first])
    found[~first] = net.other(maps[~first])
    return net.last(found)


def _residuals_of_clusters(net, x):
    maps = net.conv(x).relu()
    share, maps = net.clusters(maps).flatten(2).softmax(1), maps.flatten(2)
    found = torch.einsum("nkp,ncp->nkc", share, maps) - share.sum(-1)[..., None] * net.centres
    return net.last(F.normalize(found.flatten(1)))


def _written_by_rows(net, maps):
    found = torch.zeros_like(maps)
    found[:, :, ::2] = net.even(maps[:, :, ::2])
    found[:, :, 1::2] = net.odd(maps[:, :, 1::2])
    return found


def _written_one_by_one(net, maps):
    found = maps.new_empty(*maps.shape, 2)
    found[..., 0] = maps
    for number in range(len(maps)):
        found[number, ..., 1] = net.more(maps[number : number + 1])[0]
    return found.sum(-1)


def _added_to_a_part(net, maps):
    found = net.more(maps)
    found[:, :, 4:8] += maps[:, :, :4]
    return found


def _compiled():
    net = nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 3))
    net.compile(backend="eager")
    return net


def _frozen_spectral_norm():
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(norm(conv(3, 16)), nn.ReLU(), norm(conv(16, 3))).train()


def _bare_norms(norm):
    return nn.Sequential(conv(3, 16), norm(), nn.ReLU(), conv(16, 3))


SITUATIONS = {
    "a decoder with the encoder's weight": (
        lambda: Net(_tied_decoder, first=nn.Linear(6, 32), middle=nn.Linear(32, 32)), ROWS, ["first", "middle"]),
    "a transposed conv with a conv's weight": (
        lambda: Net(_tied_convs, conv=conv(3, 16), code=conv(16, 24), last=conv(16, 3)), X, ["conv", "code"]),
    "words in and out by one table": (_tied_words, EDGES, ["first", "second"]),
    "one GroupNorm behind two convs": (_shared_norm, X, ["0", "3"]),
    "a buffer counts": (
        lambda: Net(_counting, conv=conv(3, 16), last=conv(16, 3), seen=torch.tensor([0])), X, ["conv"]),
    "a mask of channels": (
        lambda: between(lambda net, x: x.masked_fill(net.mask, 0), mask=torch.arange(16).view(16, 1, 1) % 3 == 0),
        X, ["conv"]),
    "every second channel": (lambda: between(lambda net, x: x[:, ::2] + x[:, 1::2], read=8), X, ["conv"]),
    "an LSTM": (lambda: _recurrent(nn.LSTM(16, 12, bidirectional=True, batch_first=True), 24), X, ["conv"]),
    "a GRU": (lambda: _recurrent(nn.GRU(16, 12, 2, batch_first=True), 12), X, ["conv"]),
    "an LSTM beside which maps go on": (
        lambda: Net(lambda net, x: net.last(x := net.first(x)) + net.last(net.code(x)[0]),
                    first=nn.Linear(8, 12), code=nn.LSTM(12, 12, batch_first=True), last=nn.Linear(12, 4)),
        X[:, 0, :5, :8], ["first"]),
    "vmap": (lambda: between(lambda net, maps: torch.vmap(lambda one: net.more(one).relu())(maps), more=conv(16, 16)),
             X, ["conv", "more"]),
    "one InstanceNorm behind two convs": (
        lambda: (lambda norm: nn.Sequential(conv(3, 16), norm, nn.ReLU(), conv(16, 16), norm, conv(16, 3)))(
            nn.InstanceNorm2d(16)), X, ["0", "3"]),
    "pairs of maps as complex numbers": (
        lambda: between(lambda net, x: torch.view_as_complex(x.unflatten(1, (-1, 2)).movedim(2, -1).contiguous()).abs(),
                        read=8), X, ["conv"]),
    "filters of spectra": (
        lambda: between(_spectra, filter=nn.Parameter(torch.ones(16, 16, 9, 2))), X, ["conv"]),
    "spectra as channels": (lambda: between(_real_and_imaginary, read=12, mixed=conv(32, 24, 1)), X, ["conv", "mixed"]),
    "InstanceNorm": (lambda: _bare_norms(lambda: nn.InstanceNorm2d(16)), X, ["0"]),
    "GroupNorm without weights": (lambda: _bare_norms(lambda: nn.GroupNorm(4, 16, affine=False)), X, ["0"]),
    "torch.inference_mode": (
        lambda: Net(torch.inference_mode()(lambda net, x: net.last(net.conv(x).relu())),
                    conv=conv(3, 16), last=conv(16, 3)), X, ["conv"]),
    "padded words": (
        lambda: Net(lambda net, x, padded: net.code(x, src_key_padding_mask=padded).mean(1),
                    code=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), 1)),
        (X[:, 0, :5, :8], torch.tensor([[False] * 5, [False, False, True, True, True]])), ["code.layers.0.linear1"]),
    "places of a max": (
        lambda: Net(_without_indices, conv=conv(3, 16), more=conv(16, 16), last=conv(16, 3)), X, ["conv", "more"]),
    "sums over a graph's edges": (
        lambda: Net(_graph, first=nn.Linear(5, 16), second=nn.Linear(16, 24), last=nn.Linear(24, 3)),
        (X[0, 0, :7, :5], EDGES), ["first", "second"]),
    "a sparse matrix": (
        lambda: Net(lambda net, x, a: net.last(torch.sparse.mm(a, net.first(x).relu())),
                    first=nn.Linear(6, 16), last=nn.Linear(16, 3)),
        (ROWS, torch.eye(4).to_sparse()), ["first"]),
    "experts for some": (
        lambda: Net(_routed, conv=conv(3, 16), one=nn.Linear(16, 16), other=nn.Linear(16, 16), last=nn.Linear(16, 3)),
        X, ["conv", "one", "other"]),
    "what stays whole beside what goes": (
        lambda: Net(_residuals_of_clusters, conv=conv(3, 16), clusters=conv(16, 5, 1), last=nn.Linear(80, 3),
                    centres=nn.Parameter(torch.randn(5, 16, generator=SEED))), X, ["conv"]),
    "a filter made as wide as the maps": (
        lambda: between(lambda net, x: F.conv2d(x, torch.ones(x.shape[1], 1, 3, 3) / 9, groups=x.shape[1])),
        X, ["conv"]),
    "parts of a fixed size": (
        lambda: between(lambda net, x: net.one(x.split(8, 1)[0]) + net.other(x.split(8, 1)[1]),
                        one=conv(8, 16), other=conv(8, 16)), X, ["one", "other"]),
    "compiled in place": (_compiled, X, ["0"]),
    "a part compiled": (
        lambda: nn.Sequential(torch.compile(nn.Sequential(conv(3, 16), nn.BatchNorm2d(16)), backend="eager"),
                              conv(16, 3)), X, ["0.0"]),
    "circular padding": (
        lambda: nn.Sequential(*(conv(*sizes, padding_mode="circular") for sizes in ((3, 16), (16, 16), (16, 3)))),
        X, ["0", "1"]),
    "written row by row": (
        lambda: between(_written_by_rows, even=conv(16, 16), odd=conv(16, 16)), X, ["conv", "even", "odd"]),
    "written one by one": (
        lambda: between(_written_one_by_one, more=conv(16, 16)), X, ["conv", "more"]),
    "added to a part": (lambda: between(_added_to_a_part, more=conv(16, 16)), X, ["conv", "more"]),
    "grouped transposed convs": (
        lambda: nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 24, 2, 2, groups=4), nn.BatchNorm2d(24), nn.ReLU(),
                              nn.ConvTranspose2d(24, 16, 2, 2, groups=2), conv(16, 3)), X, ["0", "1", "4"]),
    "a depthwise transposed conv that makes two channels of one": (
        lambda: nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 32, 2, 2, groups=16), nn.ReLU(), conv(32, 3)),
        X, ["0", "1"]),
    "spectral norm in training": (_frozen_spectral_norm, X, ["0"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of padded words, when the network is run
@pytest.mark.parametrize(("make", "inputs", "lose"), SITUATIONS.values(), ids=SITUATIONS)
def test_it_is_pruned_right(make, inputs, lose, tmp_path):
    torch.manual_seed(0)
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = prune(model, inputs, flops=0.6)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert pruned.difference <= 1e-5
    assert pruned.macs <= 0.6 * pruned.full_macs
    each, examples = macs(pruned.model, inputs)
    assert sum(each.values()) // examples == pruned.macs
    layers = dict(pruned.model.named_modules())
    assert all(pruned.widths[name] < len(pruned.kept[name]) for name in lose)
    for name, layer in layers.items():
        for weight, declared in {"weight_ih_l0": "input_size", "weight_hh_l0": "hidden_size"}.items():
            assert not hasattr(layer, weight) or getattr(layer, weight).shape[1] == getattr(layer, declared), name
        if isinstance(layer, nn.InstanceNorm2d):
            assert layer.num_features == pruned.widths["0"]
        if isinstance(layer, nn.GroupNorm):
            assert (layer.num_channels, layer.num_groups) == (pruned.widths["0"], pruned.widths["0"] // 4)
    pruned.save(tmp_path / "net.safetensors")
    torch.manual_seed(1)
    again = load(tmp_path / "net.safetensors", make())
    with torch.no_grad():
        pairs = [tensors(call(copy.deepcopy(net).eval(), inputs)) for net in (again, pruned.model)]
    torch.testing.assert_close(*pairs)


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_filters_of_transposed_convs_go_by_what_makes_each_channel(groups):
    torch.manual_seed(0)
    net = nn.Sequential(conv(3, 16), nn.ReLU(), nn.ConvTranspose2d(16, 32, 2, 2, groups=groups), nn.ReLU(), conv(32, 3))
    pruned = prune(net, X)
    kept = {name: stays for name, stays in pruned.kept.items() if not bool(stays.all())}
    full = copy.deepcopy(net).double()
    with torch.no_grad():
        full[0].weight[~kept["0"]] = 0
        full[0].bias[~kept["0"]] = 0
        following = full[4].weight.clone()
        following[:, ~kept["2"]] = 0
        full[4].weight.copy_(following)
        torch.testing.assert_close(pruned.model.double()(X.double()), full(X.double()))
    assert len(kept["2"]) == 32
    layer = pruned.model[2]
    assert layer.out_channels == int(kept["2"].sum())
    assert layer.in_channels == int(kept["0"].sum())
    assert layer.weight.shape[:2] == (layer.in_channels, layer.out_channels // layer.groups)


def test_each_layer_stays_whole_for_a_reason_of_its_own():
    def forward(net, x):
        maps = net.more(net.conv(x).view(2, 16, 16, 16)).sigmoid()
        return net.last(net.free(maps).relu())

    net = Net(forward, conv=conv(3, 16), more=conv(16, 16), free=conv(16, 16), last=conv(16, 3))
    whole = prune(net, X, flops=0.9).whole
    assert whole["conv"].startswith("Net does not run with fewer channels (shape '[2, 16, 16, 16]' is invalid")
    assert whole["more"] == "the smaller network gives something else than the masked one (sigmoid is not 0 at 0)"
    assert set(whole) == {"conv", "more", "last"}


def test_a_tied_weight_stays_tied():
    pruned = prune(_tied_words(), EDGES, flops=0.6).model
    assert pruned.head.weight is pruned.words.weight
    assert (pruned.words.embedding_dim, pruned.head.in_features) == (pruned.second.out_features,) * 2


def _turned(heads, cos, sin):
    return heads * cos + torch.cat([-heads[..., 4:], heads[..., :4]], -1) * sin


def _turned_by_frequencies(net, heads):
    angles = torch.cat([torch.outer(torch.arange(5.0, dtype=net.rates.dtype), net.rates)] * 2, -1)
    return _turned(heads, angles.cos(), angles.sin())


def _turned_as_complex(net, heads):
    pairs = torch.view_as_complex(heads.reshape(*heads.shape[:-1], 4, 2))
    return torch.view_as_real(pairs * torch.view_as_complex(net.turns)).flatten(3)


def _normed(net, heads):
    return net.scale * heads * heads.square().mean(-1, keepdim=True).add(1e-6).rsqrt()


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


SHARED_BY_HEADS = {
    "nothing": (lambda net, heads: heads, {}),
    "rotary embeddings": (
        lambda net, heads: _turned(heads, net.cos, net.sin), {"cos": numbers(5, 8), "sin": numbers(1, 1, 5, 8)}),
    "rotary frequencies": (_turned_by_frequencies, {"rates": numbers(4)}),
    "complex rotary embeddings": (_turned_as_complex, {"turns": numbers(5, 4, 2)}),
    "LayerNorm": (lambda net, heads: net.norm(heads), {"norm": nn.LayerNorm(8)}),
    "RMSNorm": (lambda net, heads: net.norm(heads), {"norm": nn.RMSNorm(8)}),
    "an RMSNorm of one's own": (_normed, {"scale": nn.Parameter(numbers(8))}),
    "a scale and a bias": (
        lambda net, heads: torch.addcmul(net.bias, heads, net.scale),
        {"scale": nn.Parameter(numbers(8)), "bias": nn.Parameter(numbers(8))}),
    "a scale in place": (lambda net, heads: (2 * heads).mul_(net.scale), {"scale": nn.Parameter(numbers(8))}),
    "a linear layer": (lambda net, heads: net.more(heads), {"more": nn.Linear(8, 8, bias=False)}),
    "a scale for each head": (lambda net, heads: heads * net.scale, {"scale": nn.Parameter(numbers(8, 1, 8))}),
}  # fmt: skip


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("what", SHARED_BY_HEADS)
def test_heads_go_as_heads_whatever_they_share(what, fused):
    way, parts = SHARED_BY_HEADS[what]

    def forward(net, x):
        query, key, value = net.qkv(x).view(len(x), 5, 3, -1, 8).permute(2, 0, 3, 1, 4)
        query, key = way(net, query), way(net, key)
        if fused:
            found = F.scaled_dot_product_attention(query, key, value)
        else:
            found = (query @ key.transpose(2, 3)).mul(8**-0.5).softmax(-1) @ value
        return net.last(net.out(found.transpose(1, 2).flatten(2)).relu())

    torch.manual_seed(0)
    net = Net(forward, qkv=nn.Linear(32, 192), out=nn.Linear(64, 32), last=nn.Linear(32, 4), **copy.deepcopy(parts))
    pruned = prune(net, numbers(2, 5, 32), flops=0.5)
    kept = pruned.kept["qkv"].view(3, 8, 8)
    assert torch.equal(kept, kept[:1, :, :1].expand_as(kept))
    assert 0 < int(kept[0, :, 0].sum()) < 8
    full = copy.deepcopy(net).double()
    with torch.no_grad():
        for layer, stays in pruned.kept.items():
            for parameter in full.get_submodule(layer).parameters():
                parameter[~stays] = 0
        inputs = numbers(3, 5, 32).double()
        torch.testing.assert_close(pruned.model.double()(inputs), full(inputs))


def test_channels_of_all_heads_go_where_these_are_few():
    def forward(net, x):
        heads = net.first(x).unflatten(1, (2, -1)) * net.scale[:, None, None]
        return net.last(heads.flatten(1, 2).relu())

    torch.manual_seed(0)
    net = Net(forward, first=conv(3, 32), last=conv(32, 3), scale=nn.Parameter(numbers(16)))
    pruned = prune(net, X)
    kept = pruned.kept["first"].view(2, 16)
    assert torch.equal(kept[0], kept[1])
    assert len(pruned.model.scale) == int(kept[0].sum()) == 8


def _scripted():
    return nn.Sequential(conv(3, 8), torch.jit.script(nn.Sequential(conv(8, 8))), conv(8, 3))


def _needs_its_hook():
    def forward(net, x):
        net.conv(x)
        return net.last(seen.pop())

    net, seen = Net(forward, conv=conv(3, 8), last=conv(8, 3)), []
    net.conv.register_forward_hook(lambda module, given, output: seen.append(output))
    return net


def _calls_itself():
    net = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), conv(8, 3)).train()
    before = net.forward
    net.forward = lambda x: before(2 * x)
    return net


def _locked():
    net = nn.Sequential(conv(3, 8), conv(8, 3))
    net.lock = threading.Lock()
    return net


REFUSED = {
    "a lambda": (_calls_itself, "0 .Conv2d. is called by a function that the model keeps, as a lambda, also in a copy"),
    "a lock": (_locked, "Sequential cannot be copied .TypeError: cannot pickle '_thread.lock' object.; expected a mod"),
    "TorchScript": (_scripted, r"1 .RecursiveScriptModule. is compiled by TorchScript and cannot be cut; expected"),
    "no numbers": (lambda: conv(3, 8, device="meta"), "model .Conv2d. has no weights yet, only shapes .device meta.;"),
    "hooks": (_needs_its_hook, "IndexError: pop from empty list; hooks are not called"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_for_what_it_is(make, words):
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=words) as refusal:
        prune(model, X)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items() if not tensor.is_meta)
    assert not any(len(module._forward_pre_hooks) for module in model.modules())
