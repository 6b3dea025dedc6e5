import dataclasses
import io
import time

import pytest
import torch

from prune_lib.book.explorer import pictures, subject, widgets
from prune_lib.cost.counting import RULES, cost, costs
from prune_lib.nets import arch_of, build, read_spec
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A ResNet-20 after one epoch on small digits, and 50 test images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(subject, "TRAINING", dataclasses.replace(subject.TRAINING, epochs=1))
        first = subject.make_subject(data="digits", images=50)
        patch.setattr(subject, "train", None)  # a second one is read
        second = subject.make_subject(data="digits", images=50)
    assert first.accuracy == second.accuracy
    return second


@pytest.mark.parametrize(
    "name", ["dcff/cifar10/vgg16", "cfdp/cifar10/googlenet", "dcff/structures/p1_abcpruner", "dcff/cifar10-dense/vgg16"]
)
def test_one_pass_gives_what_every_rule_gives(name):
    row = get_row(name)
    widths = row.widths if row.pruned else None
    assert costs(row.arch, widths, row.layout) == {
        rule: cost(row.arch, widths, rule, row.layout) for rule in RULES
    }  # fmt: skip


def test_specs_are_runs_of_equal_rates_and_back():
    assert subject.runs([0.5, 0.5, 0.4]) == [(0.5, 2), (0.4, 1)]
    assert subject.written([(0.5, 2), (0.4, 1)]) == "[0.5]*2+[0.4]"
    found = subject.recount("vgg16", "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6")
    assert found.runs == [(0.5, 2), (0.4, 2), (0.35, 3), (0.85, 6)]
    assert found.costs["thop-0.0.31"].flops == 72_771_956
    assert "72,771,956" in str(found.grid)
    for table in subject.rows_to_choose().values():
        row = get_row(table[0])
        spec = subject.unpruned(row.arch, row.layout)
        assert read_spec(row.arch, spec, row.layout)[1] == arch_of(row.arch).filters


def test_only_a_server_makes_widgets(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert [subject.in_lab(wanted) for wanted in ("yes", "no", "auto")] == [True, False, False]
    monkeypatch.setenv("JPY_SESSION_NAME", "explorer.py")
    assert [subject.in_lab(wanted) for wanted in ("yes", "no", "auto")] == [True, False, True]


@pytest.mark.parametrize("spread", subject.SPREADS)
@pytest.mark.parametrize("criterion", subject.OFFERED)
def test_what_is_taken_out_is_the_worst_of_each_unit(network, criterion, spread):
    scores = subject.score(network, criterion)
    assert subject.score(network, criterion) is scores
    keep = subject.choose(network.arch, scores, 0.25, spread)
    for convs in network.arch.units.values():
        assert all(torch.equal(keep[convs[0]], keep[conv]) for conv in convs)
    if spread == subject.SPREADS[0]:
        assert {conv: int(kept.sum()) for conv, kept in keep.items()} == {
            conv: n - n // 4 for conv, n in network.arch.filters.items()
        }
    for lone in [convs[0] for convs in network.arch.units.values() if len(convs) == 1]:
        assert keep[lone].all() or scores[lone][keep[lone]].min() >= scores[lone][~keep[lone]].max()


def test_pruning_nothing_changes_nothing_and_the_subject_stays(network):
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    whole, half = subject.prune(network, "l1", 0.0), subject.prune(network, "l1", 0.5)
    assert (whole.accuracy, whole.cost.flops_cut) == (network.accuracy, 0)
    assert half.widths["layer1.0.conv1"] == 8
    assert half.cost.flops < whole.cost.flops
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.model.state_dict().items())
    assert set(subject.curves(network, [0.0])) == set(subject.OFFERED)
    assert "full" in str(subject.compared(network, half))


def test_filters_are_shown_best_first(network):
    scores, order, maps = pictures.answers(network, "layer2.0.conv1", "l1", 3)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert torch.equal(scores, subject.score(network, "l1")["layer2.0.conv1"][order])
    assert maps.shape == (32, 8, 8)
    assert pictures.kernels(network, "conv1", torch.arange(16)).shape == (16, 3, 3, 3)
    from PIL import Image

    size = Image.open(io.BytesIO(pictures.best_and_worst(network, "layer2.0.conv1", "l1"))).size
    assert size == (12 * 75, 4 * 75)
    with pytest.raises(InputError, match="no conv called 'x'"):
        pictures.answers(network, "x", "l1")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda of: subject.score(of, "x"), "unknown criterion 'x'"),
        (lambda of: subject.prune(of, "l1", 1.0), "sparsity is 1.0"),
        (lambda of: subject.prune(of, "l1", 0.5, "x"), "unknown spread 'x'"),
        (lambda of: subject.make_subject(data="cifar10", data_dir="/nowhere"), "expected cifar10.npz"),
        (lambda of: subject.make_subject(data="digits", images=9), "images is 9"),
        (lambda of: subject.make_subject(normalise="x"), "normalise is 'x'"),
        (lambda of: subject.make_subject("/nowhere.safetensors", data="digits"), "no weights at /nowhere"),
    ],
)
def test_what_cannot_be_is_refused(network, call, words):
    with pytest.raises(InputError, match=words):
        call(network)


def test_a_network_of_ones_own_is_looked_into(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(build("resnet20").state_dict(), tmp_path / "own.safetensors")
    assert subject.make_subject(tmp_path / "own.safetensors", data="digits", images=10).data.test.images.shape == (
        10,
        3,
        32,
        32,
    )


def _find(box, kind, description):
    for child in getattr(box, "children", ()):
        if type(child).__name__ == kind and child.description.startswith(description):
            return child
        if found := _find(child, kind, description):
            return found
    return None


def _texts(box):
    own = [box.value] if type(box).__name__ == "HTML" else []
    return "".join(own + [_texts(child) for child in getattr(box, "children", ())])


def test_the_sliders_and_the_spec_follow_each_other():
    box = widgets.specs()
    text, slider = _find(box, "Text", "spec"), _find(box, "FloatSlider", "rate 8 to 13")
    assert "72,771,956" in _texts(box)
    slider.value = 0.5
    assert text.value == "[0.5]*2+[0.4]*2+[0.35]*3+[0.5]*6"
    assert "72,771,956" not in _texts(box)
    text.value = "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6"
    assert "72,771,956" in _texts(box)
    assert _find(box, "FloatSlider", "rate 8 to 13").value == 0.85
    text.value = "[0.5]*2+<b>"
    assert "&lt;b&gt;" in _texts(box)  # what is wrong, and the counts as they were
    assert "72,771,956" in _texts(box)
    for paper in _find(box, "Dropdown", "paper").options:
        _find(box, "Dropdown", "paper").value = paper
        assert _find(box, "FloatSlider", "rate 1") is not None


def test_a_figure_that_is_typed_is_traced():
    box = widgets.figure()
    assert "55,835,840  FLOPs of dcff/cifar10/resnet56: thop-0.0.31" in _texts(box)
    assert "no one way prints both" in _texts(box)
    _find(box, "Text", "figure").value = "99.99M"
    assert "nothing prints it" in _texts(box)
    _find(box, "Text", "figure").value = "<b>"
    assert "figure &#x27;&lt;b&gt;&#x27;; expected a number" in _texts(box)
    _find(box, "Dropdown", "network").value = "resnet50"
    _find(box, "Text", "base").value = _find(box, "Text", "cut").value = ""
    _find(box, "Text", "figure").value = "3.86G"
    assert "3,857,973,248  FLOPs of resnet50: macs, cdp, chex, hrank; the stride on the first 1x1 convs" in _texts(box)


def test_a_change_costs_less_than_a_second_of_one_core(network):
    """By the processor's clock, which a busy machine does not stop; first times, which import, are not counted."""
    spec, filters, sparsity = widgets.specs(), widgets.filters(network), widgets.sparsity(network)

    def change(box, kind, description, value):
        start = time.process_time()
        _find(box, kind, description).value = value
        return time.process_time() - start

    took = [
        change(spec, "FloatSlider", "rate 8", 0.3),
        change(filters, "Dropdown", "layer", "layer3.1.conv2"),
        change(filters, "Dropdown", "criterion", "cdp"),
        change(sparsity, "FloatSlider", "sparsity", 0.4),
        change(sparsity, "Dropdown", "goes", subject.SPREADS[1]),
    ]
    assert max(took) < 1, took
