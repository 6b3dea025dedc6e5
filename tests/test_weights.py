"""Weights that others trained: read without running anything, and fitted or refused by name."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from prune_lib.nets import build
from prune_lib.nets.weights import fit, read_weights
from prune_lib.papers.rows import get_row
from prune_lib.runs.given import evaluate_weights
from prune_lib.system.errors import InputError

WIDTHS = get_row("dcff/cifar10/resnet56").widths


@pytest.fixture
def weights(shaken):
    torch.manual_seed(0)
    return shaken(build("resnet56", WIDTHS)).state_dict()


def _sums(model):
    return {name: float(tensor.double().sum()) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("wrap", ["state_dict", "model", None])
def test_a_torch_file_is_read_however_it_is_wrapped(weights, tmp_path, wrap):
    path = tmp_path / "model_best_compact.pt"
    plain = {f"module.{name}": tensor for name, tensor in weights.items()}
    plain["module.conv1.total_ops"] = torch.zeros(1)
    torch.save({wrap: plain, "epoch": 3} if wrap else plain, path)
    model = build("resnet56", WIDTHS)
    assert fit(model, read_weights(path), path) == "by name"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_safetensors_and_files_of_old_torch_are_read(weights, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")}, path)
    model = build("resnet56", WIDTHS)
    assert fit(model, read_weights(path), path) == "by name"
    assert torch.equal(model.bn1.running_var, weights["bn1.running_var"])


def test_other_names_fit_by_position_and_that_is_said(tmp_path):
    """The published compact VGGs number their layers: features.0, features.1 … and classifier."""
    import torch.nn as nn

    widths, layers, channels = get_row("dcff/cifar10/vgg16").widths, [], 3
    for i, filters in enumerate(widths.values(), 1):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in (2, 4, 7, 10, 13) else []
        channels = filters
    theirs = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": nn.Linear(channels, 10)}).eval()
    path = tmp_path / "compact.pth"
    torch.save(theirs.state_dict(), path)
    ours, x = build("vgg16", widths).eval(), torch.randn(2, 3, 32, 32)
    assert "features.0.weight went to conv1.weight" in fit(ours, read_weights(path), path)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs["classifier"](theirs["features"](x).flatten(1)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("linear.bias"), r"1 missing \(linear.bias\); expected 332 tensors, found 331"),
        (lambda w: w.update(extra=torch.zeros(2)), r"1 unexpected \(extra\)"),
        (lambda w: w.update({"conv1.weight": torch.zeros(8, 3, 3, 3)}), r"conv1.weight 8x3x3x3 for 16x3x3x3"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(weights, change, words):
    change(weights)
    model = build("resnet56", WIDTHS)
    before = _sums(model)
    with pytest.raises(InputError, match=words) as refusal:
        fit(model, weights, "x.pt")
    assert "\n" not in str(refusal.value)
    assert _sums(model) == before


class Payload:
    def __reduce__(self):
        return open, ("pwned", "w")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors", "x.tar"])
@pytest.mark.parametrize(
    "content",
    [b"", b"not weights", pickle.dumps({"w": Payload()}), pickle.dumps(Payload()), pickle.dumps({"w": 3})],
    ids=["empty", "text", "payload", "bare payload", "no tensors"],
)
def test_a_file_that_is_not_weights_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_weights(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.pth.tar", "x.safetensors"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer that git-lfs left .*git lfs pull",
        ),
        ("\n<!DOCTYPE html><title>Sign in</title>", "a web page"),
        ("404: Not Found", "a text that begins with '404: Not Found'"),
    ],
)
def test_a_text_in_place_of_weights_is_called_what_it_is(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as refusal:
        read_weights(tmp_path / name)
    assert "weights_only" not in str(refusal.value)


def test_weights_that_are_not_finite_are_refused(weights, tmp_path):
    """A network of NaN answers every image with class 0, which would be reported as 10 %."""
    first = next(iter(weights))
    broken = weights | {first: torch.full_like(weights[first], torch.nan)}
    model = build("resnet56", WIDTHS)
    before = _sums(model)
    with pytest.raises(
        InputError, match=r"x.pt: 1 of \d+ tensors are not finite \(\d+ of \d+ in .*\); expected numbers"
    ):
        fit(model, broken, "x.pt")
    assert _sums(model) == before


def test_a_torch_file_with_code_in_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": torch.zeros(2)}, "extra": Payload()}, "x.pt")
    (tmp_path / "pwned").unlink(missing_ok=True)
    with pytest.raises(InputError, match="not a file of tensors only"):
        read_weights("x.pt")
    assert not (tmp_path / "pwned").exists()


def test_given_weights_are_evaluated_as_a_row(weights, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_file(weights, path)
    found = evaluate_weights("dcff/cifar10/resnet56", path, data="digits", device="cpu")
    assert (found["params"], found["flops"], found["images"], found["fitted"]) == (384_316, 55_835_840, 300, "by name")
    assert 0 <= found["top1"] <= 100
    seen = []
    monkeypatch.setattr(
        "prune_lib.runs.given.evaluate", lambda model, data, split, precision: seen.append((data.mean, data.std)) or {}
    )
    evaluate_weights("dcff/cifar10/resnet56", path, data="digits", device="cpu", mean=(0, 0, 0), std=(0.9, 0.9, 0.9))
    assert seen == [((0, 0, 0), (0.9, 0.9, 0.9))]
    with pytest.raises(InputError, match=r"no weights at .*nowhere.pt"):
        evaluate_weights("dcff/cifar10/resnet56", tmp_path / "nowhere.pt")


def test_wrappers_and_numbers_in_a_checkpoint_are_no_weights(weights, tmp_path):
    import argparse

    import numpy as np

    path = tmp_path / "best.pth"
    wrapped = {f"model.module._orig_mod.{name}": tensor for name, tensor in weights.items()} | {
        "n_averaged": torch.ones(1)
    }
    torch.save({"best": np.float64(91.5), "args": argparse.Namespace(lr=0.1), "state_dict": wrapped}, path)
    found = read_weights(path)
    assert found.keys() == weights.keys()
    torch.save({"state_dict": weights, "when": __import__("decimal").Decimal(1)}, path)
    with pytest.raises(InputError, match=r"not a file of tensors only .it holds decimal\.Decimal"):
        read_weights(path)


def test_plain_takes_any_layer():
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    from prune_lib.nets.reparam import plain

    torch.manual_seed(0)
    model = nn.Sequential(
        spectral_norm(nn.ConvTranspose2d(3, 4, 2)), nn.Flatten(), spectral_norm(nn.Linear(36, 5))
    ).eval()
    images, found = torch.randn(2, 3, 2, 2), plain(model)
    assert [type(layer) for layer in found] == [nn.ConvTranspose2d, nn.Flatten, nn.Linear]
    assert torch.equal(found(images), model(images))
    assert list(found.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
