"""What is taken away gives the same outputs where it is read, or there is no file; and time is measured fairly."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from prune_lib.anynet.pruning import prune
from prune_lib.book.tables.table import export_grid
from prune_lib.cli.parser import main
from prune_lib.cost.latency import as_text, latency
from prune_lib.nets import build, load_network, read_spec
from prune_lib.nets import export as module
from prune_lib.nets.compare import difference
from prune_lib.nets.export import FORMATS, export
from prune_lib.nets.reparam import plain
from prune_lib.system import files
from prune_lib.system.errors import InputError

SPEC = "[0.5]*9+[0.25]*3"


@pytest.fixture
def compact(tmp_path, shaken):
    """A compact ResNet-20 in its file."""
    widths = read_spec("resnet20", SPEC)[1]
    torch.manual_seed(0)
    network = shaken(build("resnet20", widths))
    path = tmp_path / "compact.safetensors"
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, path, metadata={"arch": "resnet20", "widths": json.dumps(widths), "row": "a/b/c"})
    return path


@pytest.mark.parametrize("to", FORMATS)
def test_a_compact_network_is_taken_away(to, compact, capsys):
    out = compact.with_name(f"out.{to}")
    assert main(["export", str(compact), "--to", to, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["to"], told["file"], told["bytes"]) == (to, str(out), out.stat().st_size)
    assert told["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert told["difference"] <= 1e-5
    assert (told["batch"], told["about"]["row"]) == ("any", "a/b/c")
    assert sorted(path.name for path in out.parent.iterdir()) == ["compact.safetensors", out.name]
    images = torch.randn(5, 3, 32, 32)  # of another length than what it was exported with
    with torch.no_grad():
        expected = load_network(compact)(images)
        found = _read(out, images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def _read(path, images):
    if path.suffix == ".pt2":
        extra = {"about.json": ""}
        program = torch.export.load(path, extra_files=extra)
        assert json.loads(extra["about.json"])["arch"] == "resnet20"
        return program.module()(images)
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as archive:
            assert archive.metadata()["row"] == "a/b/c"
        return load_network(path)(images)
    import onnxruntime

    assert str(module.__file__).rsplit("/", 1)[0].encode() not in path.read_bytes()  # no paths of this machine
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["arch"] == "resnet20"
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


class Two(nn.Module):
    """Two inputs, two outputs, by name."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, image, shift):
        maps = self.first(image).relu()
        return {"maps": self.last(maps) + shift[:, :, None, None], "mean": maps.mean((2, 3))}


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_any_network_is_taken_away(to, tmp_path, shaken):
    inputs = (torch.randn(1, 3, 8, 8), torch.randn(1, 2))
    torch.manual_seed(0)
    told = export(Two().train(), inputs, tmp_path / f"two.{to}")
    assert told["difference"] <= 1e-5
    assert told["batch"] == "any"
    model = shaken(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)))
    pruned = prune(model, inputs[0])
    assert export(pruned.model, inputs[0], tmp_path / f"pruned.{to}")["difference"] <= 1e-5


def test_a_batch_that_a_network_fixes_is_told(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, -1) * 2

    assert export(Fixed(), torch.randn(2, 4), tmp_path / "x.pt2")["batch"] == 2


def test_class_numbers_and_inputs_without_a_batch_are_taken_away(tmp_path):
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x, grid):
            return (self.conv(x) + grid).argmax(1)

    told = export(Placed(), (torch.randn(2, 3, 8, 8), torch.randn(8, 8)), tmp_path / "x.pt2")
    assert (told["batch"], told["difference"]) == ("any", 0)
    network, images = torch.export.load(tmp_path / "x.pt2").module(), torch.randn(5, 3, 8, 8)
    assert network(images, torch.zeros(8, 8)).shape == (5, 8, 8)


def test_half_precision_may_round_as_it_must(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)).half()
    assert export(model, torch.randn(2, 3, 8, 8).half(), tmp_path / "x.onnx")["difference"] <= 4 * 2**-10


def test_a_file_that_differs_never_gets_its_name(compact, monkeypatch, capsys):
    out = compact.with_name("out.pt2")
    out.write_bytes(b"before")
    monkeypatch.setattr(module, "difference", lambda expected, found: 1.5e-5)
    assert main(["export", str(compact), "--to", "pt2", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "its outputs differ by 1.5e-05; expected 1e-05 at most" in error
    assert error.count("\n") == 1
    assert out.read_bytes() == b"before"
    assert {path.name for path in out.parent.iterdir()} == {"compact.safetensors", "out.pt2"}


def test_a_full_disk_leaves_what_was_there(compact, monkeypatch, capsys):
    out = compact.with_name("out.safetensors")
    out.write_bytes(b"before")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert main(["export", str(compact), "--to", "safetensors", "--out", str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert out.read_bytes() == b"before"
    assert {path.name for path in out.parent.iterdir()} == {"compact.safetensors", "out.safetensors"}


def test_outputs_are_compared_by_shape_and_number():
    one, other = torch.tensor([1.0, 4.0]), torch.tensor([1.0, 4.2])
    assert difference([one], [other]) == pytest.approx(0.05)
    assert difference([one], [one, one]) == torch.inf
    assert difference([one], [one * torch.nan]) == torch.inf
    assert difference([], []) == torch.inf


def test_what_cannot_be_taken_away_is_one_line(compact, tmp_path):
    class Asks(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    images = torch.randn(2, 3, 8, 8)
    for attempt, words in (
        (lambda: export(Asks(), images, tmp_path / "x.pt2"), "Asks has no pt2 form"),
        (lambda: export(Asks(), images, tmp_path / "x.onnx"), "Asks has no onnx form"),
        (lambda: export(nn.Conv2d(3, 3, 1), images, tmp_path / "x.safetensors"), "only networks of this library"),
        (lambda: export(nn.Conv2d(3, 3, 1), images, tmp_path / "x.bin"), "unknown format 'bin'; expected one of"),
        (lambda: export(nn.Conv2d(3, 3, 1), images, tmp_path / "x.pt", "onnx"), "expected a name that ends in .onnx"),
        (lambda: module.export_file(tmp_path / "none", tmp_path / "x.onnx"), "no such file; expected the safetensors"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            attempt()
        assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["compact.safetensors"]


def test_a_network_is_exported_as_it_is_and_stays_so(tmp_path):
    from prune_lib.papers.dcff import DCFF

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)).train()
    DCFF({"0": 8}).prepare(model)
    export(plain(model), torch.randn(2, 3, 8, 8), tmp_path / "x.onnx")
    assert model.training


def test_latency_stands_beside_the_flops(capsys):
    argv = ["latency", "resnet20", "--rates", "[0.8]*12", "--batch", "1", "3", "--seconds", "0.05", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["flops_ratio"] > 4
    assert found["clock"] == "processor time of the process"
    assert [each["batch"] for each in found["results"]] == [1, 3]
    for each in found["results"]:
        assert each["rounds"] >= 5
        assert each["ratio"] == pytest.approx(each["full_ms"] / each["compact_ms"])
        assert each["full_ms"] > 0
    assert found["provenance"]["hardware"]["threads"] == 1
    text = as_text(found)
    assert found["provenance"]["hardware"]["name"] in text
    assert f"torch {found['provenance']['versions']['torch']}" in text
    assert main(argv[:-1]) == 0
    assert "medians of processor time of the process, 1 thread" in capsys.readouterr().out


def test_the_networks_take_turns(monkeypatch):
    """A clock that only counts calls: each network is measured once a round, and who starts alternates."""
    from prune_lib.cost import latency as timed

    order = []

    class Named(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            order.append(self.name)
            return x

    found = timed._measure([Named("full"), Named("compact")], (1, 3), True, 1e-9, torch.device("cpu"))
    assert found["rounds"] == 5
    assert order == ["full", "compact", *["full", "compact", "compact", "full"] * 2, "full", "compact"]


def test_bad_numbers_are_one_line():
    for options, words in (
        ({"batches": [0]}, "batch is 0; expected whole numbers from 1"), ({"threads": 0}, "threads is 0"),
        ({"seconds": 0}, "seconds is 0"), ({"rates": "[0.5]"}, "1"), ({"device": "x"}, "device 'x' is not usable"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            latency("resnet20", **options)
    assert torch.get_num_threads() == 1


def test_a_grid_of_exports_is_measured_when_it_is_asked_for(shaken):
    widths = read_spec("resnet20", SPEC)[1]
    about = {"arch": "resnet20", "widths": json.dumps(widths)}
    images = torch.randn(2, 3, 32, 32)
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    grid = export_grid({"ours": (shaken(build("resnet20", widths)), images, about), "own": (own, images)}, "Relative.")
    heads, ours, other = grid.cells
    assert heads[2::2] == [*(f".{to}, MiB" for to in FORMATS), "Batch"]
    assert all(float(ours[column]) <= 1e-5 for column in (3, 5, 7))
    assert other[1:4] == ["112", "–", "–"]
    assert (ours[-1], other[-1]) == ("any", "any")
    assert grid.caption.startswith("Relative. Read back: safetensors by prune_lib")
