"""Networks of one's own: what is pruned computes what its masked form does, and what cannot be is refused by name."""

import copy
import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import prune_lib
from prune_lib.anynet.checking import difference
from prune_lib.anynet.cutting import cut, masked
from prune_lib.anynet.measuring import macs
from prune_lib.anynet.methods import dcff, filterexpo
from prune_lib.anynet.pruning import prune
from prune_lib.anynet.scores import scores
from prune_lib.anynet.structure import find_structure
from prune_lib.nets import build
from prune_lib.nets.hooks import call, tensors
from prune_lib.papers import cdp, cfdp
from prune_lib.system.errors import InputError

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


class Unit(nn.Module):
    """conv-BN-ReLU, then what ``between`` does, then a conv to three channels."""

    def __init__(self, between=None, channels=8, read=8):
        super().__init__()
        self.conv, self.bn, self.last = conv(3, channels), nn.BatchNorm2d(channels), conv(read, 3, 1)
        self.between = between or (lambda x: x)

    def forward(self, x):
        return self.last(self.between(self.bn(self.conv(x)).relu()))


class UNet(nn.Module):
    """Two levels, joined by concatenation; up by a transposed conv."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU())
        self.down2 = nn.Sequential(conv(8, 16), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.join = nn.Sequential(conv(16, 8), nn.BatchNorm2d(8), nn.ReLU())
        self.head = conv(8, 2, 1)

    def forward(self, x):
        first = self.down1(x)
        return self.head(self.join(torch.cat([first, self.up(self.down2(F.max_pool2d(first, 2)))], 1)))


class Residual(nn.Module):
    """A sum of two convs, a gate by linear layers, depthwise and grouped convs, a bare parameter, a flatten."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 12), nn.BatchNorm2d(12)
        self.depthwise, self.pointwise, self.bn2 = conv(12, 12, groups=12), conv(12, 12, 1), nn.BatchNorm2d(12)
        self.squeeze, self.excite = nn.Linear(12, 4), nn.Linear(4, 12)
        self.scale = nn.Parameter(torch.full((1, 12, 1, 1), 1e-6))
        self.grouped, self.act, self.mixed = conv(12, 8, groups=4), nn.PReLU(8), conv(8, 4, groups=2)
        self.head = nn.Linear(4 * 64, 5)

    def forward(self, x):
        x = self.bn(self.stem(x)).relu()
        y = self.bn2(self.pointwise(self.depthwise(x)))
        y = y * self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        x = self.mixed(self.act(self.grouped(x + self.scale * y)))
        return {"logits": self.head(F.avg_pool2d(x, 2).flatten(1))}


def _models():
    import timm
    import torchvision

    yield "unet", UNet(), X
    yield "residual", Residual(), X
    yield "mobilenet_v3", torchvision.models.mobilenet_v3_small(num_classes=10), X.repeat(1, 1, 2, 2)
    yield "densenet40", build("densenet40"), X.repeat(1, 1, 2, 2)
    yield "regnet", timm.create_model("regnetx_002", num_classes=10), X.repeat(1, 1, 2, 2)


@pytest.mark.parametrize(("name", "model", "inputs"), [pytest.param(*m, id=m[0]) for m in _models()])
def test_a_pruned_network_computes_what_its_masked_form_does(name, model, inputs, shaken):
    shaken(model).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    pruned = prune(model, inputs, flops=0.5)
    assert 0 <= pruned.difference <= 1e-5
    assert 0.3 * pruned.full_macs < pruned.macs <= 0.5 * pruned.full_macs
    assert pruned.params < pruned.full_params
    after = model.state_dict()
    assert model.training
    assert pruned.model.training
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert all(p.requires_grad and p.grad is None for p in (*model.parameters(), *pruned.model.parameters()))
    layers = dict(pruned.model.named_modules())
    assert all(getattr(layers[layer], "out_channels", 0) or layers[layer].out_features == width
               for layer, width in pruned.widths.items())  # fmt: skip
    # by hand: the masked network again, from the masks that were returned, and the outputs of both
    work = copy.deepcopy(model).eval()
    structure = find_structure(work, inputs)
    keep = {group.root: torch.zeros(group.size, dtype=torch.bool) for group in structure.groups}
    for group in structure.groups:
        for layer, (filters, places) in group.makers.items():
            keep[group.root][places] = pruned.kept[layer][filters]
    with torch.no_grad():
        full, hidden, small = (
            tensors(call(net.eval(), inputs))[0] for net in (work, masked(work, structure, keep), pruned.model)
        )
    torch.testing.assert_close(small, hidden, rtol=1e-5, atol=float(1e-5 * hidden.abs().max()))
    assert (full - hidden).abs().max() > 1e-3 * full.abs().max()  # the masks do something


def test_masking_without_the_norms_is_told_apart(shaken):
    """The gate's own test: leave a norm's beta in the masked network, and the two differ."""
    model = shaken(Unit())
    nn.init.constant_(model.bn.bias, 1.0)
    structure = find_structure(model, X)
    keep = {"conv": torch.arange(8) % 2 == 0}
    assert difference(model, structure, keep, X).difference < 1e-6
    forgetful = dataclasses.replace(
        structure, along={key: of for key, of in structure.along.items() if not key[0].startswith("bn.")}
    )
    with torch.no_grad():
        hidden = masked(model, forgetful, keep)(X)
    assert (hidden - cut(model, structure, keep)(X)).abs().max() > 1e-2


def test_the_macs_are_those_of_the_rule():
    from prune_lib.cost.counting import count

    assert sum(macs(build("resnet20"), torch.randn(1, 3, 32, 32))[0].values()) == count(build("resnet20"), "macs")[1]
    pruned = prune(UNet(), X, flops=0.3)
    assert pruned.macs == count(pruned.model, "macs", (3, 16, 16))[1]
    assert pruned.full_macs == count(UNet(), "macs", (3, 16, 16))[1]


def _shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


REFUSED = {
    "statistics over channels": (nn.LayerNorm([8, 16, 16]), 8, "a LayerNorm takes its statistics over it"),
    "one group of statistics": (nn.GroupNorm(1, 8), 8, "all of its channels go together"),
    "a sigmoid": (torch.sigmoid, 8, "gives something else than the masked one .sigmoid is not 0 at 0."),
    "a softmax": (lambda x: x.softmax(1), 8, "softmax is taken over its channels, and fewer of them change the rest"),
    "channels averaged": (lambda x: x.mean(1, keepdim=True), 1, "mean is taken over its channels"),
    "channels sorted": (lambda x: x.sort(1).values, 8, "its channels are picked or moved by number .sort."),
    "channels by number": (lambda x: x[:, [0, 2, 4, 6]], 4, "its channels are picked or moved by number .index."),
    "a spectrum": (lambda x: torch.fft.rfft(x, dim=1).abs(), 5, "a Fourier transform is taken over it"),
    "fixed sizes": (lambda x: torch.cat(x.split([3, 5], 1)[::-1], 1), 8, "it is split into parts of fixed sizes"),
    "a fixed shape": (lambda x: x.view(2, 8, 16, 16), 8, "Unit does not run with fewer channels .shape .* is invalid"),
}  # fmt: skip


@pytest.mark.parametrize(("between", "read", "words"), REFUSED.values(), ids=REFUSED)
def test_a_network_without_a_smaller_form_is_refused_by_name(between, read, words):
    with pytest.raises(InputError, match=f"^Unit, conv: .*{words}.*; nothing is left to prune") as refusal:
        prune(Unit(between, read=read), X)
    assert "\n" not in str(refusal.value)


FOLLOWED = {
    "a shuffle": (_shuffle, 8),
    "a split": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), 8),
    "groups of statistics": (nn.GroupNorm(4, 8), 8),
    "the input among them": (lambda x: torch.cat([X[:, :3] * 0 + 1, x], 1), 11),
    "pixels of channels": (lambda x: F.pixel_shuffle(x, 2), 2),
    "channels of pixels": (lambda x: F.pixel_unshuffle(x, 2), 32),
    "turned round": (lambda x: x.flip(1), 8),
    "zeros beside them": (lambda x: F.pad(x, (0, 0, 0, 0, 2, 1)), 11),
    "twice": (lambda x: torch.cat([x, x], 1), 16),
    "stacked": (lambda x: torch.stack([x, x], 1).flatten(1, 2), 16),
    "a gate of halves": (lambda x: F.glu(x, 1), 4),
    "the lengths of vectors": (lambda x: F.normalize(x, dim=1), 8),
}  # fmt: skip


@pytest.mark.parametrize(("between", "read"), FOLLOWED.values(), ids=FOLLOWED)
def test_what_moves_channels_is_followed(between, read, shaken):
    model = shaken(Unit(between, read=read))
    pruned = prune(model, X, flops=0.6)
    assert pruned.difference <= 1e-5
    assert 0.3 * pruned.full_macs < pruned.macs <= 0.6 * pruned.full_macs
    assert pruned.model.conv.out_channels < 8
    assert pruned.whole == {"last": "its channels are the network's output"}


def test_a_zero_padded_shortcut_keeps_the_channels_that_it_pads():
    pruned = prune(build("resnet20"), torch.randn(2, 3, 32, 32), flops=0.5)
    assert 0.98 * 0.5 <= pruned.macs / pruned.full_macs <= 0.5
    kept = pruned.kept["layer3.0.conv2"]
    assert kept[:16].all()
    assert kept[48:].all()


def test_a_fresh_network_hides_nothing():
    """Betas of 0 and a residual branch multiplied by 0 must not let a wrong cut through."""
    model = Unit(torch.sigmoid)
    nn.init.zeros_(model.last.weight)
    structure = find_structure(model.eval(), X)
    assert difference(model, structure, {"conv": torch.arange(8) < 4}, X).difference == 0  # as it stands, nothing shows
    with pytest.raises(InputError, match="Unit, conv"):
        prune(model, X)


def test_what_is_ignored_stays_whole():
    model = build("resnet20")
    pruned = prune(model, torch.randn(2, 3, 32, 32), ignore=["conv1"], flops=0.6)
    assert pruned.difference <= 1e-5
    assert {name for name in pruned.widths if name.endswith("conv2")} == set()
    assert all(width < pruned.kept[name].numel() for name, width in pruned.widths.items())
    assert prune(UNet(), X, ignore=["down1"]).model.down1[0].out_channels == 8


class Turned(Unit):
    """A unit whose forward is given: small networks of other people's habits."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.way = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.way(self, x)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


def _maps(net, x):
    return net.bn(net.conv(x)).relu()


def _kept(net, x):
    net.seen = _maps(net, x)
    return net.last(net.seen)


def _without_gradients(net, x):
    with torch.no_grad():
        maps = _maps(net, x)
    return net.last(maps)


def _split(sizes):
    def forward(net, x):
        first, second = _maps(net, x).split(sizes, 1)
        return net.last(net.tail(torch.cat([first, net.more(second)], 1)).relu())

    return forward


def _frozen():
    norm = torchvision.ops.FrozenBatchNorm2d(8)
    norm.running_mean.uniform_(-0.3, 0.3)
    return norm


HABITS = {
    "a dataclass": Turned(lambda net, x: Output(net.last(_maps(net, x)))),
    "class numbers": Turned(lambda net, x: net.last(_maps(net, x)).argmax(1)),
    "a layer by keyword": Turned(lambda net, x: net.last(input=_maps(net, x))),
    "no_grad": Turned(_without_gradients),
    "detached": Turned(lambda net, x: net.last(_maps(net, x).detach())),
    "a root": Turned(lambda net, x: net.last(_maps(net, x.sqrt()))),
    "a kept map": Turned(_kept),
    "a frozen norm": Turned(lambda net, x: net.last(net.frozen(net.conv(x)).relu()), frozen=_frozen()),
    "a wrapper": nn.DataParallel(Unit()),
}


@pytest.mark.parametrize("model", HABITS.values(), ids=HABITS)
def test_habits_of_other_people_are_pruned(model):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model(images)
    pruned = prune(model, images, flops=0.5)
    assert pruned.difference <= 1e-5
    assert pruned.macs <= 0.5 * pruned.full_macs
    assert pruned.model.conv.out_channels < 8


def test_a_head_that_only_training_uses_is_cut_as_well():
    def forward(net, x):
        maps = _maps(net, x)
        return (net.last(maps), net.aux(maps.mean((2, 3)))) if net.training else net.last(maps)

    model = Turned(forward, aux=nn.Linear(8, 5)).train()
    pruned = prune(model, X)
    assert pruned.model.aux.in_features == pruned.model.conv.out_channels < 8
    assert [len(out) for out in pruned.model.train()(X)] == [2, 2]
    needs_labels = Turned(lambda net, x: net.missing if net.training else net.last(_maps(net, x)), aux=nn.Linear(8, 5))
    with pytest.raises(InputError, match="aux: evaluation does not use it, and in training mode the network does not"):
        prune(needs_labels, X)


def test_a_split_by_sizes_is_as_good_as_chunks():
    left = {}
    for way, forward in {"sizes": _split((4, 4)), "size": _split(4)}.items():
        torch.manual_seed(0)
        model = Turned(forward, more=conv(4, 4), tail=conv(8, 8))
        left[way] = prune(model, X, ignore=["conv"], flops=0.9).macs
    assert left["sizes"] == left["size"]


def test_lists_of_images_are_passed_on_as_they_are():
    def forward(net, x):
        assert isinstance(x, list)
        return net.last(_maps(net, torch.stack(x)))

    assert prune(Turned(forward), ([X[0], X[1]],)).difference <= 1e-5


def test_one_norm_behind_two_convs_is_nobody_s_own():
    net = Turned(lambda net, x: net.last(net.bn(net.more(net.bn(net.conv(x)).relu())).relu()), more=conv(8, 8))
    assert prune(net, X, "cfdp", data=[X]).macs == prune(net, X, "l1").macs


def _same(net, *, of):
    """``net`` in which each module but the first of ``of`` has the first one's weight."""
    first, *others = (net.get_submodule(name) for name in of)
    for other in others:
        other.weight = first.weight
    return net


def _twins(net, x):
    x = net.conv(x).relu()
    x = x + net.one(x).relu()
    return net.last(x + net.two(x).relu())


TIED = {
    "convs": (("one", "two"), Turned(_twins, one=conv(8, 8), two=conv(8, 8))),
    "convs without biases": (("two", "one"), Turned(_twins, one=conv(8, 8, bias=False), two=conv(8, 8, bias=False))),
    "linear layers": (("one", "two"), Turned(
        lambda net, x: net.end(net.two(net.one(_maps(net, x).mean((2, 3))).relu())),
        one=nn.Linear(8, 8), two=nn.Linear(8, 8), end=nn.Linear(8, 3),
    )),
    "norms": (("bn", "two"), Turned(
        lambda net, x: net.last(net.two(net.one(_maps(net, x))).relu()), one=conv(8, 8), two=nn.BatchNorm2d(8),
    )),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:last was not reached")  # of the linear layers, which have an end of their own
@pytest.mark.parametrize(("of", "model"), TIED.values(), ids=TIED)
def test_modules_that_share_a_weight_lose_the_same_of_it_and_share_it_still(of, model, shaken, tmp_path):
    model = shaken(_same(model, of=of))
    pruned = prune(model, X, flops=0.6)
    first, other = (pruned.model.get_submodule(name) for name in of)
    assert first.weight is other.weight
    assert len(first.weight) < 8
    assert pruned.difference <= 1e-5
    assert sum(macs(pruned.model, X)[0].values()) == pruned.macs * 2 <= 0.6 * pruned.full_macs * 2
    assert pruned.params == sum(p.numel() for p in pruned.model.parameters())
    for layer in (first, other):
        width = getattr(layer, "out_channels", None) or getattr(layer, "out_features", None) or layer.num_features
        assert width == len(layer.weight)
    pruned.save(tmp_path / "net.safetensors")
    again = prune_lib.anynet.load(tmp_path / "net.safetensors", model)
    torch.testing.assert_close(again.eval()(X), pruned.model.eval()(X))


def test_a_global_context_block_is_followed():
    """Channels that weigh pixels and come back: a graph of layers alone would pass them round for ever."""

    def forward(net, x):
        x = _maps(net, x)
        weights = net.mask(x).flatten(2).softmax(-1)
        context = torch.einsum("ncp,nop->nc", x.flatten(2), weights)[..., None, None]
        return net.last(x + net.up(net.down(context).relu()))

    pruned = prune(Turned(forward, mask=conv(8, 1, 1), down=conv(8, 4, 1), up=conv(4, 8, 1)), X)
    assert pruned.model.conv.out_channels == pruned.model.up.out_channels < 8
    assert pruned.model.down.out_channels < 4


def test_hooks_of_other_people_are_not_called():
    model, calls = Unit(), []
    model.conv.register_forward_hook(lambda *_: calls.append(1))
    prune(model, X)
    assert calls == []


def weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


def _tied():
    net = Turned(
        lambda net, x: net.last(net.more(net.conv(x)).relu()), conv=conv(3, 3), more=conv(3, 3), last=conv(3, 2)
    )
    net.more.weight = net.conv.weight
    return net


BAD = {
    "no convs": (lambda: prune(nn.Linear(3, 3), torch.randn(2, 3)), "Linear: its channels are the network's output"),
    "no module": (lambda: prune("resnet18", X), "model is str; expected a torch.nn.Module"),
    "criterion": (lambda: prune(UNet(), X, "l9"), "unknown criterion 'l9'; expected one of: random l1 l2 "),
    "no data": (lambda: prune(UNet(), X, "cdp"), "criterion cdp looks at images and data is missing"),
    "empty data": (lambda: prune(UNet(), X, "cfdp", data=[]), "data gives no images"),
    "odd data": (lambda: prune(UNet(), X, "cdp", data=[3]), "data gives int; expected batches of images"),
    "flat data": (lambda: prune(UNet(), X, "cdp", data=[torch.randn(4)]), r"data gives \(4,\)"),
    "other data": (lambda: prune(UNet(), X, "cdp", data=[torch.randn(4, 1, 8, 8)]), "cdp: UNet does not run on data"),
    "wide maps": (lambda: prune(UNet(), X, "cfdp", data=[X[:, :, :8]]), "expected .images, filters, side, side"),
    "images": (lambda: prune(UNet(), X, "cdp", data=[X], images=0), "images is 0"),
    "flops 0": (lambda: prune(UNet(), X, flops=0), r"flops is 0; expected a share .* in \(0, 1\]"),
    "flops 1.5": (lambda: prune(UNet(), X, flops=1.5), "flops is 1.5"),
    "flops nan": (lambda: prune(UNet(), X, flops=float("nan")), "flops is nan"),
    "too few": (lambda: prune(UNet(), X, flops=0.001), "to 0.1% of its MACs; expected at least 2.792%"),
    "no tensor": (lambda: prune(Turned(lambda net, x: "maps"), X), "gives str, in which no tensor is found"),
    "noise": (lambda: prune(Unit(lambda x: F.dropout(x, 0.5)), X), "last: gives something else each time, in"),
    "lazy": (lambda: prune(nn.Sequential(nn.LazyConv2d(4, 3)), X), "0 .LazyConv2d. has no weights yet; run the model"),
    "tied": (lambda: prune(_tied(), X), "conv: it reads the network.s input, or something else that stays whole"),
    "inputs": (lambda: prune(UNet(), X[:, :2]), r"UNet does not run on example_inputs \[\(2, 2, 16, 16\)\]"),
    "no inputs": (lambda: prune(UNet(), None), "UNet does not run on example_inputs NoneType"),
    "ignore": (lambda: prune(UNet(), X, ignore=["up", "x"]), r"ignore is \['x'\]"),
    "ignore all": (lambda: prune(UNet(), X, ignore=["up", "down1", "down2", "join"]), "down1.0: ignored; nothing"),
    "output": (lambda: prune(conv(3, 8), X), "Conv2d: its channels are the network.s output; nothing is left"),
}  # fmt: skip


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("way", ["old", "new", "DCFF's banks"])
def test_weights_that_are_computed_are_pruned_as_they_are_now(way):
    from prune_lib.papers.dcff import DCFF

    model = Turned(lambda net, x: net.last(net.more(_maps(net, x)).relu()), more=conv(8, 8))
    if way == "old":
        weight_norm(model.more)
    elif way == "new":
        nn.utils.parametrizations.weight_norm(model.more)
    else:
        DCFF({"more": 16}).prepare(model)
    model.eval()
    before, pruned = model(X), prune(model, X, flops=0.999)
    assert not hasattr(pruned.model.more, "parametrizations")
    assert pruned.model.more.weight.shape[:2] == (
        len(pruned.kept["more"].nonzero()),
        len(pruned.kept["conv"].nonzero()),
    )
    assert torch.equal(model(X), before)


def test_the_criteria_are_the_papers_own(shaken):
    model = shaken(Unit())
    (group,) = find_structure(model, X).groups
    data = [(X, None), (X + 1, None)]
    found = {name: scores(model, [group], name, data, 3, 0)["conv"] for name in ("cdp", "cfdp", "l1", "random")}
    images = torch.cat([X, X + 1])[:3]
    with torch.no_grad():
        answers = model.conv(images)
        table = cdp.importance(answers.relu().mean((2, 3)).T)
        maps = cfdp.importance(model.bn(answers).relu())
    torch.testing.assert_close(found["cdp"], table)
    torch.testing.assert_close(found["cfdp"], maps.double())
    torch.testing.assert_close(found["l1"], model.conv.weight.abs().sum((1, 2, 3)).double())
    kept = prune(model, X, "cdp", data, images=3).kept["conv"]
    best = table.sort(descending=True, stable=True).indices[: int(kept.sum())]
    assert kept.nonzero().flatten().tolist() == sorted(best.tolist())


def test_channels_that_are_added_are_chosen_together():
    """conv a and conv b are added: the sum of their L1 norms decides, worked by hand."""

    class Add(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last = conv(3, 4, 1, bias=False), conv(3, 4, 1, bias=False), conv(4, 2, 1)
            with torch.no_grad():
                for layer, sizes in ((self.a, (5.0, 1.0, 3.0, 0.0)), (self.b, (0.0, 3.0, 2.0, 1.0))):
                    layer.weight.copy_(torch.tensor(sizes).view(4, 1, 1, 1).expand(4, 3, 1, 1) / 3)

        def forward(self, x):
            return self.last(self.a(x).relu() + self.b(x).relu())

    kept = prune(Add(), X, flops=0.5).kept  # sums 5, 4, 5, 1
    assert kept["a"].tolist() == kept["b"].tolist() == [True, False, True, False]


def test_a_seed_draws_the_same_filters():
    first, again, other = (prune(UNet(), X, "random", seed=seed).kept["down2.0"] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_dcff_trains_any_network():
    from tiny import RECIPE, digits

    from prune_lib.runs.training import train

    torch.manual_seed(0)
    model = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, groups=8), conv(8, 12), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
    method, compact = dcff(model, torch.randn(1, 3, 32, 32), flops=0.4)
    assert method.filters == {"0": 8, "4": 12}
    widths = [compact[i].out_channels for i in (0, 3, 4)]
    assert widths[0] == widths[1] < 8
    assert widths[2] < 12
    history = train(compact, digits(), RECIPE, method, device="cpu", progress=False)
    assert history.curve[-1]["loss"] < history.curve[0]["loss"]
    exported = method.export(compact).eval()
    assert [exported[i].weight.shape[0] for i in (0, 3, 4)] == widths
    with torch.no_grad():
        torch.testing.assert_close(exported(torch.ones(1, 3, 32, 32)), compact.eval()(torch.ones(1, 3, 32, 32)))


def test_filterexpo_trains_any_network():
    from tiny import RECIPE, digits

    from prune_lib.runs.training import train

    torch.manual_seed(0)
    model, images = torchvision.models.resnet18(num_classes=10), torch.randn(2, 3, 32, 32)
    model.conv1.stride, model.maxpool = (1, 1), nn.Identity()
    method = filterexpo(model, images, 0.5)
    recipe = dataclasses.replace(RECIPE, epochs=3, warmup=0)
    history = train(model, digits(), recipe, method, device="cpu", progress=False)
    inner = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and name.endswith("conv1")][1:]
    assert list(method.keep) == inner  # the residual stream stays
    assert sum(method.found()["kept"].values()) == sum(method.filters.values()) // 2
    assert history.curve[-1]["within_budget"]
    with torch.no_grad():
        small = method.export(model).eval()
        torch.testing.assert_close(small(images), model.eval()(images), rtol=1e-4, atol=1e-5)
    assert small.get_submodule(inner[0]).out_channels == method.found()["kept"][inner[0]]
    with pytest.raises(InputError, match="has no conv with channels and a BatchNorm of its own"):
        filterexpo(nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4), nn.Flatten(), nn.Linear(4096, 2)), images)


def test_it_is_the_library_s_own_name_and_warns_of_nothing():
    assert prune_lib.prune is prune
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prune(UNet(), X)
    assert told == []


class Camera(nn.Module):
    """3x32x32 -> conv 8 -> linear, whatever comes beside the frames and however they come."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Linear(8, 10)

    def forward(self, *given, fold=False):
        frames = next(x for x in given if x.shape[-1] == 32).float()
        frames = frames.flatten(0, 1) if frames.dim() == 5 else frames
        return self.fc(self.conv(frames).mean((-2, -1)))


@pytest.mark.parametrize(
    ("given", "frames"),
    [
        ((torch.zeros(4, 3, 32, 32),), 1),
        ((torch.zeros(4, 3, 32, 32, dtype=torch.uint8),), 1),
        ((torch.zeros(9, 4), torch.zeros(2, 3, 32, 32)), 1),
        ((torch.zeros(3, 32, 32),), 1),  # one image, and no batch
        ((torch.zeros(2, 7, 3, 32, 32),), 7),  # clips of 7 frames
    ],
    ids=["images", "bytes", "beside anchors", "one image", "clips"],
)
def test_macs_are_those_of_one_example_however_it_comes(given, frames):
    each, n = macs(Camera(), given)
    assert sum(each.values()) / n == frames * (32 * 32 * 27 * 8 + 80)
