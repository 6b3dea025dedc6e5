"""FilterExpo: its scores, its budget to the channel, and what comes back."""

import json

import pytest
import torch
from safetensors.torch import save_file

from prune_lib.cli import parser
from prune_lib.cost.counting import cost
from prune_lib.nets import ARCHS, build
from prune_lib.nets.slim import from_text, slim, to_text
from prune_lib.papers import filterexpo
from prune_lib.papers.baselines import evenly
from prune_lib.papers.filterexpo import FilterExpo, allocate, growth, leverage_scores, regrown
from prune_lib.papers.recipe import Recipe
from prune_lib.runs.training import train
from prune_lib.system.errors import InputError
from prune_lib.tasks import load

RECIPE = Recipe(data="digits", epochs=6, batch_size=40, lr=0.05, heldout=20, train_images=80, undecayed="bn")


@pytest.fixture(scope="module")
def digits():
    return load("digits", heldout=20, train_images=80)


def _method(arch="resnet20", **options):
    torch.manual_seed(0)
    method, model = FilterExpo(ARCHS[arch], **{"sparsity": 0.5, **options}), build(arch)
    method.prepare(model)
    return method, model


@pytest.mark.parametrize("keep", [1, 5, 12])
def test_leverage_is_the_length_of_the_rows_of_the_singular_vectors(keep):
    weight = torch.randn(12, 4, 3, 3, generator=torch.Generator().manual_seed(keep))
    right = torch.linalg.svd(weight.flatten(1).double().T, full_matrices=False).Vh[:keep].T
    torch.testing.assert_close(leverage_scores(weight, keep), right.norm(dim=1), rtol=1e-9, atol=1e-9)


def test_leverage_by_hand():
    # three filters along one axis and one along another: of two dimensions the lonely one is needed most
    weight = torch.tensor([[2.0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0]])
    torch.testing.assert_close(
        leverage_scores(weight, 2), torch.tensor([2 / 3, 1 / 3, 2 / 3, 1.0], dtype=torch.float64)
    )
    assert leverage_scores(torch.tensor([[1.0, -2], [3, 0], [0, 0.5]]), 1).tolist() == [3, 3, 0.5]  # d < C: L1
    assert leverage_scores(torch.cat([weight, torch.zeros(0, 4)]) * 0, 1).shape == (4,)
    with pytest.raises(InputError, match="5 filters to keep of 4"):
        leverage_scores(weight, 5)


def test_growth_by_hand():
    weight = torch.tensor([[1.0, 0, 0], [3, 0, 0], [0, 2, 0], [5, 1, 0]])
    selected = torch.tensor([True, False, False, False])
    lengths = torch.tensor([-torch.inf, 0.0, 2.0, 1.0], dtype=torch.float64)  # of what the first does not span
    torch.testing.assert_close(growth(weight, selected), lengths.softmax(0))
    gram = []
    for j in (1, 2, 3):
        pair = weight[[0, j]].double()
        gram.append(float(torch.exp(-(pair @ pair.T - torch.eye(2, dtype=torch.float64)).norm())))
    expected = torch.tensor([0.0, *gram], dtype=torch.float64) / sum(gram)
    torch.testing.assert_close(growth(weight, selected, "gram"), expected)
    assert growth(weight, selected, "uniform").tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    with pytest.raises(InputError, match="unknown growth 'x'; expected one of: residual gram uniform"):
        growth(weight, selected, "x")


def test_the_budget_is_shared_out_by_the_scales_and_no_layer_is_emptied():
    scales = {"a": torch.tensor([0.1, -0.9, 0.5]), "b": torch.tensor([0.01, 0.02]), "c": torch.tensor([0.3, 0.4])}
    assert allocate(scales, 0) == {"a": 3, "b": 2, "c": 2}
    assert allocate(scales, 2) == {"a": 2, "b": 1, "c": 2}  # b's last would be next, and stays
    assert allocate(scales, 4) == {"a": 1, "b": 1, "c": 1}
    with pytest.raises(
        InputError, match="5 of 7 channels cannot go without emptying a layer, as b of 2; expected 0 … 4"
    ):
        allocate(scales, 5)
    for pruned in range(0, 40):
        kept = evenly({"a": 3, "b": 8, "c": 32}, pruned)
        assert sum(kept.values()) == 43 - pruned
        assert min(kept.values()) >= 1
    assert evenly({"a": 10, "b": 20}, 15) == {"a": 5, "b": 10}


def test_the_share_that_comes_back_is_a_half_cosine():
    assert [regrown(e, 180, 0.2) for e in (0, 90, 180)] == pytest.approx([0.2, 0.1, 0.0])
    method = _method()[0]
    assert method.schedule(250) == (180, 2)  # the published T_max and delta_T
    assert method.schedule(6) == (4, 1)
    with pytest.raises(InputError, match="1 epochs are too few to explore"):
        method.schedule(1)


@pytest.mark.parametrize(
    ("arch", "layers", "channels"),
    [("resnet50", 36, 11_392), ("resnet18", 11, 2_816), ("resnet20", 9, 336), ("resnet56", 27, 1_008),
     ("vgg16", 12, 4_160), ("googlenet", 63, 7_712),
     ("mask_rcnn", 36, 11_392), ("ssd300", 29, 6_272)],
)  # fmt: skip
def test_which_channels_can_go(arch, layers, channels):
    found = filterexpo.norms(build(arch), ARCHS[arch])
    assert (len(found), sum(ARCHS[arch].filters[conv] for conv in found)) == (layers, channels)


@pytest.mark.parametrize(
    ("arch", "sparsity", "backbone", "half", "printed"),
    [("mask_rcnn", 0.5, 32.8, 19.6, 63), ("ssd300", 0.5, 67.1, 41.2, 75), ("ssd300", 0.7, 67.1, 53.2, 75)],
)
def test_the_cut_that_is_printed_is_more_than_the_backbone_has(arch, sparsity, backbone, half, printed):
    """What the rows' notes say: the backbone's share of the FLOPs, and what the same share of each layer saves."""
    about, flops = ARCHS[arch], {}
    with torch.device("meta"):
        model = build(arch).eval()
        images = torch.zeros(1, *about.image)

    def count(name, layer, y):
        inputs = layer.weight.numel() // layer.weight.shape[0]
        flops[name] = flops.get(name, 0) + y.numel() * (inputs + (layer.weight.dim() == 2))  # the RPN has five maps

    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(lambda module, x, y, name=name: count(name, module, y))
    with torch.no_grad():
        model(images)
    whole = sum(flops.values())
    assert whole == cost(arch, None, "chex").flops
    share = 100 * sum(n for name, n in flops.items() if name.startswith("backbone.")) / whole
    assert share == pytest.approx(backbone, abs=0.05)
    assert share < printed
    keep = {conv: torch.arange(n) < int(n * (1 - sparsity)) for conv, n in about.filters.items()}
    keep = {conv: keep[conv] for conv in filterexpo.norms(model, about)}
    left = 0.0
    for name, n in flops.items():
        made = keep[name].float().mean() if name in keep else 1
        read = [keep[c].float().mean() for c in about.inputs.get(name, ()) if c in keep and "downsample" not in c]
        left += n * made * (read[0] if read else 1)
    assert 100 * (1 - left / whole) == pytest.approx(half, abs=0.05)


def test_a_network_whose_norms_read_many_convs_is_refused():
    with pytest.raises(InputError, match="densenet40 has no conv with a BatchNorm of its own"):
        filterexpo.norms(build("densenet40"), ARCHS["densenet40"])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sparsity": 1.0}, "sparsity is 1.0"), ({"initial": -0.1}, "initial is -0.1"), ({"times": 0}, "times is 0"),
     ({"select": "x"}, "select is 'x'"), ({"regrow": "x"}, "regrow is 'x'"), ({"allocate": "x"}, "allocate is 'x'"),
     ({"sparsity": 0.99}, "332 of 336 channels cannot go without emptying a layer, as layer1.0.conv1 of 16")],
)  # fmt: skip
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(InputError, match=message):
        _method(**options)


@pytest.mark.parametrize("arch", ["resnet20", "resnet18", "vgg16", "googlenet"])
@pytest.mark.parametrize("regrow", ["residual", "none"])
def test_every_exploration_meets_its_number_and_the_last_the_budget(arch, regrow, shaken):
    method, model = _method(arch, regrow=regrow)
    shaken(model)
    model.train()
    method._mask(model)
    total, before = method.total, method.keep
    for epoch in range(6):
        figures = method.on_epoch(model, epoch, 6)
        share = 0.5 - regrown(epoch, 4, 0.2) if epoch <= 4 else 0.5
        assert figures["channels"] == total - int(total * (share if epoch else 0.3))
        assert figures["within_budget"] == (epoch >= 4)
        assert all(kept.any() for kept in method.keep.values())
        if regrow == "none":
            assert figures["came_back"] == 0
            assert not any((kept & ~before[conv]).any() for conv, kept in method.keep.items())
        before = method.keep
        for conv, norm in method.norms.items():  # nothing of a masked channel is left in the computation
            gone = ~method.keep[conv]
            layer = model.get_submodule(conv), model.get_submodule(norm)
            assert not any(t.detach()[gone].any() for m in layer for t in m.parameters(recurse=False))
    images = torch.randn(2, *ARCHS[arch].image)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(method.export(model).eval()(images), model(images), rtol=1e-4, atol=1e-5)


def test_a_channel_comes_back_as_it_was_when_it_was_pruned():
    method, model = _method(regrow="uniform")
    conv, norm = "layer1.0.conv1", "layer1.0.bn1"
    reader = model.get_submodule("layer1.0.conv2").weight
    first = model.get_submodule(conv).weight
    with torch.no_grad():
        first.copy_(torch.randn_like(first))
        reader.copy_(torch.randn_like(reader))
    method._restore(model)
    whole = first.detach().clone(), reader.detach().clone()
    for name, tensor, _ in method._touched(model, True):
        method.memory[name].copy_(tensor)
    method._mask(model)
    gone = ~method.keep[conv]
    assert not first.detach()[gone].any()
    assert not reader.detach()[:, gone].any()
    with torch.no_grad():  # what was kept is trained on; what was masked must not follow
        for parameter in model.parameters():
            parameter.add_(1.0)
    method.after_step(model)
    method._restore(model)
    torch.testing.assert_close(first.detach()[gone], whole[0][gone])
    torch.testing.assert_close(reader.detach()[:, gone], whole[1][:, gone])
    assert torch.equal(first.detach()[~gone], whole[0][~gone] + 1)
    assert model.get_submodule(norm).weight.detach()[gone].eq(0.5).all()


def test_masks_are_on_again_after_every_step(digits):
    method, seen = FilterExpo(ARCHS["resnet20"], 0.5), []
    after_step = method.after_step

    def watch(model):
        after_step(model)
        seen.append(all(not t.detach()[~e.expand_as(t)].any() for _, t, e in method._touched(model)))

    method.after_step = watch
    model = build("resnet20")
    history = train(model, digits, RECIPE, method, device="cpu", progress=False)
    assert len(seen) > 12
    assert all(seen)
    assert [e["came_back"] for e in history.curve][1:4] != [0, 0, 0]
    assert history.best("test_best")["epoch"] >= 4  # earlier epochs have more channels than asked for
    found = method.found()
    assert sum(found["kept"].values()) == 168
    text = next(e["kept"] for e in reversed(history.curve) if e["kept"])
    assert {conv: int(kept.sum()) for conv, kept in from_text(text, method.filters).items()} == found["kept"]


def test_masks_as_text():
    keep = {"a": torch.tensor([False, True, True, False, True]), "b": torch.tensor([True])}
    assert to_text(keep) == "d 1"
    assert all(torch.equal(kept, keep[c]) for c, kept in from_text("d 1", {"a": 5, "b": 1}).items())


def test_cost_reads_the_widths_off_a_compact_checkpoint(tmp_path, capsys):
    method, model = _method("resnet20", initial=0.0)
    compact = slim(model, ARCHS["resnet20"], method.keep)
    found, path = method.found(), tmp_path / "x.safetensors"
    weights = {name: tensor.contiguous() for name, tensor in compact.state_dict().items()}
    save_file(weights, path, metadata={"arch": "resnet20", "widths": json.dumps(found["widths"])})
    assert parser.main(["cost", "--weights", str(path), "--rule", "chex", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flops"] == found["flops"]
    torch.save({f"x{i}": tensor for i, tensor in enumerate(weights.values())}, tmp_path / "other.pt")
    save_file(weights, tmp_path / "bare.safetensors")
    words = ["cost", "resnet20", "--weights", str(tmp_path / "bare.safetensors"), "--rule", "chex", "--json"]
    assert parser.main(words) == 0
    assert json.loads(capsys.readouterr().out)["params"] == sum(p.numel() for p in compact.parameters())
    for words, message in (
        (["--weights", str(tmp_path / "bare.safetensors")], "does not say which network it is of"),
        (["vgg16", "--weights", str(path)], "is of resnet20; expected one of vgg16"),
        (["vgg16", "--weights", str(tmp_path / "bare.safetensors")], "19 conv weights; expected the 13 of vgg16"),
        (["vgg16", "--weights", "a", "--rates", "[0]*13"], "more than one of"),
        ([], "which network"),
    ):
        assert parser.main(["cost", *words]) == 2
        assert message in capsys.readouterr().err


def test_figures_of_the_flow_are_drawn():
    from prune_lib.book.figures import charts

    filters = {"a": 5, "b": 1}
    explorations = [(0, from_text("1f 1", filters)), (2, from_text("d 1", filters)), (4, from_text("1d 1", filters))]
    for figure in (charts.channel_flow(explorations, "x"), charts.filter_lives(explorations, "x")):
        figure.canvas.draw()
        assert figure.axes
