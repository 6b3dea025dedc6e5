"""The committed figures are those of the gallery, small, whole, and of networks that are where their records say."""

import dataclasses
import json
import re

import pytest
import torch

from prune_lib.book.explorer import subject, widgets
from prune_lib.book.figures import committed, looks
from prune_lib.book.gallery import __main__ as command
from prune_lib.book.gallery import lite0, made
from prune_lib.book.gallery.sources import PER_CLASS, Sources
from prune_lib.nets import build
from prune_lib.nets.weights import read_weights
from prune_lib.system.checkpoint import digest
from prune_lib.system.errors import DataMissing, InputError

FOLDER = committed.CHECKOUT / "book" / "figures"


def test_what_is_committed_is_what_the_gallery_makes():
    assert {path.name for path in FOLDER.iterdir()} == {f"{n}.{kind}" for n in made.FIGURES for kind in ("png", "json")}
    assert not set(made.FIGURES) & set(made.PRIVATE)


@pytest.mark.parametrize("name", made.FIGURES)
def test_a_committed_figure_is_small_and_says_where_it_comes_from(name):
    picture = committed.read(name)
    assert picture.png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture.png) <= committed.LARGEST
    record = picture.record
    assert record["figure"] == name
    assert record["command"].startswith(f"python -m prune_lib.book.gallery {name}")
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{12}", record["code"]), "made by code that is not committed"
    assert not re.search(r"(?<![\w.])/(work|tmp|home|root|opt)\b", json.dumps(record))
    assert bool(record["data"]) == bool(made.FIGURES[name].data)
    assert record["weights"]
    for one in record["weights"]:
        if one["file"]:
            assert digest(read_weights(committed.CHECKOUT / one["file"])) == one["sha256"]
    assert f"Committed figure of {record['date'][:10]}" in picture.note


def test_likeness_is_measured_on_images_that_were_fixed_beforehand():
    for name in ("gradcam_resnet20", "gradcam_resnet56"):
        found = committed.read(name).found
        assert found["images"] == 10 * PER_CLASS
        assert set(found["networks"]) == {"full", "CFDP", "random"}
        cells = looks.table(found)
        assert [line[0] for line in cells[1:]] == ["CFDP", "random", "full"]
        assert cells[-1][1:4] == ["1", "1", "100%"]


def test_no_photograph_is_committed(monkeypatch):
    """ImageNet's terms let nobody pass its photographs on: whatever they show, the figure is the same."""
    torch.manual_seed(0)
    pngs = []
    for _ in range(2):
        pixels = torch.randint(256, (lite0.SHOWN, 3, 24, 24), dtype=torch.uint8)
        maps = {"full": torch.ones(lite0.SHOWN, 24, 24), "CFDP": torch.zeros(lite0.SHOWN, 24, 24)}
        words = ["x"] * lite0.SHOWN
        seen = looks.Looks(pixels, words, dict.fromkeys(maps, words), maps, {"CFDP": [(0.0, 0.0)] * lite0.SHOWN})
        monkeypatch.setattr(lite0, "_lite0", lambda sources, seen=seen: (seen, {}, [], {"CFDP": 0.8}))
        pngs.append(committed.to_png(lite0.gradcam_efficientnet(Sources()).figure))
    assert pngs[0] == pngs[1]
    assert committed.to_png(lite0.gradcam_photographs(Sources()).figure) != pngs[1]
    assert "ImageNet's terms" in committed.read("gradcam_efficientnet").record["shows"]
    with pytest.raises(InputError, match="no figure gradcam_photographs"):
        committed.read("gradcam_photographs")


def test_a_figure_that_needs_no_data_is_made_anew_and_is_the_committed_one():
    fresh, kept = made.get("similarity_resnet20", "/nowhere"), committed.read("similarity_resnet20")
    assert fresh.fresh
    assert not kept.fresh
    assert fresh.found == kept.found
    assert [one["sha256"] for one in fresh.record["weights"]] == [one["sha256"] for one in kept.record["weights"]]
    assert "Computed when this page was built" in fresh.note


def test_without_data_or_weights_the_committed_figure_is_shown(monkeypatch):
    monkeypatch.delenv("PRUNE_DATA", raising=False)
    monkeypatch.setattr(made, "make", None)
    for name in made.FIGURES:
        if name != "similarity_resnet20":
            assert made.get(name, "/nowhere") == committed.read(name)
    with pytest.raises(InputError, match="unknown figure 'x'; expected one of: gradcam"):
        made.get("x")


def test_with_the_data_a_figure_comes_out_as_it_is_committed(cifar10):
    fresh, kept = made.get("explorer_gradcam"), committed.read("explorer_gradcam")
    assert fresh.fresh
    assert fresh.record["data"] == kept.record["data"]
    for name, line in fresh.found["networks"].items():
        assert line == pytest.approx(kept.found["networks"][name], abs=0.02)


@pytest.fixture
def picture(project):
    """A figure of one grey pixel, committed to an empty project."""
    record = dict(committed.read("similarity_resnet20").record) | {"figure": "mine"}
    png = committed.read("similarity_resnet20").png
    committed.save(committed.Picture(png, record))
    return project / "book" / "figures" / "mine.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: "[]", "expected a mapping"),
        (lambda record: "{", "not a figure's record"),
        (lambda record: json.dumps(record | {"seconds": "1"}), "seconds: expected float"),
        (lambda record: json.dumps(record | {"data": {"name": "x"}}), "data: expected texts for name sha256 images"),
        (lambda record: json.dumps(record | {"weights": [{}]}), "weights: expected texts for network what sha256 file"),
        (lambda record: json.dumps(record | {"hardware": {}}), "hardware: expected its name"),
        (lambda record: json.dumps(record | {"png_sha256": "0" * 64}), "not the figure that its record is of"),
    ],
)
def test_a_damaged_record_is_refused(picture, change, words):
    record = json.loads(picture.read_text(encoding="utf-8"))
    assert committed.read("mine").record == record
    picture.write_text(change(record), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        committed.read("mine")


def test_a_figure_that_is_too_large_is_not_committed(picture):
    mine = committed.read("mine")
    with pytest.raises(InputError, match=r"expected at most 200,000"):
        committed.save(dataclasses.replace(mine, png=bytes(committed.LARGEST + 1)))
    with pytest.raises(InputError, match="no figure yours"):
        committed.read("yours")


def test_what_a_record_says_is_shown_as_text(picture):
    mine = committed.read("mine")
    note = dataclasses.replace(mine, record=mine.record | {"shows": "<script>", "code": "<b>"}).note
    assert "<script>" not in note
    assert "<b>" not in note
    assert "&lt;script&gt;" in note


def test_networks_are_held_against_the_first():
    torch.manual_seed(0)
    model, other = build("resnet20").eval(), build("resnet20").eval()
    pixels = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    images, labels = pixels / 255, torch.tensor([0, 1, 1, 0])
    found = looks.look(
        {"full": model, "same": model, "other": other}, "layer3", images, labels, pixels, list("abcdefghij")
    )
    assert found.truth == ["a", "b", "b", "a"]
    assert found.maps["full"].shape == (4, 32, 32)
    assert found.by_likeness("other") == sorted(range(4), key=lambda i: -found.alike["other"][i][0])
    lines = found.found()["networks"]
    assert lines["same"] == {
        "right": lines["full"]["right"], "same_class": 1, "r": pytest.approx(1), "r_sd": pytest.approx(0, abs=1e-6),
        "overlap": 1, "overlap_sd": 0,
    }  # fmt: skip
    assert lines["other"]["r"] < 1
    wide, high = found.figure([0, 1]), found.figure([0, 1], rows=True)
    assert (len(wide.axes), len(high.axes)) == (8, 8)
    assert "other" in high.axes[3].get_title("center")


def test_every_figure_is_asked_for_by_name(capsys, monkeypatch, project):
    assert command.main(["gradcam_photographs"]) == 2
    assert "expected --out FOLDER" in capsys.readouterr().err
    assert command.main(["similarity_resnet20", "--weights", "resnet56"]) == 2
    assert "expected NAME=FILE, NAME one of: resnet56" in capsys.readouterr().err
    assert command.main(["x"]) == 2
    assert "unknown figure 'x'" in capsys.readouterr().err
    assert command.main(["gradcam_resnet56", "--data-dir", str(project)]) == 2
    assert "expected --weights resnet56=FILE" in capsys.readouterr().err

    def missing(name, sources):
        raise DataMissing("no data")

    monkeypatch.setattr(command, "make", missing)
    assert command.main([]) == 0
    assert capsys.readouterr().out.count("left as it is (no data)") == len(made.FIGURES)


@pytest.fixture(scope="module")
def recorded():
    """The committed network as it is looked into where there are no images."""
    return subject.make_subject(data="none")


def test_without_images_the_committed_network_is_as_it_was_recorded(recorded):
    assert recorded.offered == subject.OFFERED
    assert 80 < recorded.accuracy < 95
    pruned = subject.prune(recorded, "cdp", subject.BEGIN)
    assert pruned.accuracy == dict(subject.curves(recorded, ())["cdp"])[subject.BEGIN]
    assert subject.prune(recorded, "l1", 0.0).accuracy == recorded.accuracy
    assert subject.prune(recorded, "l1", 0.33).accuracy is None
    assert "–" in str(subject.compared(recorded, subject.prune(recorded, "l1", 0.33)))
    computed = subject.by_conv("l1", recorded.arch, recorded.model)
    for conv, values in subject.score(recorded, "l1").items():
        assert torch.allclose(values, computed[conv].float(), rtol=1e-3)
    with pytest.raises(DataMissing, match="no images here"):
        recorded.batch(1)
    with pytest.raises(InputError, match="data is none, and weights are given"):
        subject.make_subject("x.safetensors", data="none")


def test_without_images_no_widget_is_empty(recorded, monkeypatch):
    monkeypatch.setenv("PRUNE_DATA", "/nowhere")
    assert subject.make_subject().images is None
    for make in (widgets.filters, widgets.sparsity):
        box = make(recorded)
        images = [child for child in box.children if "<img" in str(getattr(child, "value", ""))]
        assert images
        assert all(re.match(r'<img alt="\w[^"]+" src="data:image/png;base64,[\w+/]{1000}', one.value) for one in images)
    slider = next(child for child in box.children if type(child).__name__ == "SelectionSlider")
    before = images[0].value
    slider.value = 0.2
    assert images[0].value != before
    assert "as recorded" in "".join(child.value for child in box.children if type(child).__name__ == "HTML")
