"""Weights by name: torchvision's from torch's cache, timm's where it is installed."""

import dataclasses
import sys
import types

import pytest
import torch

from prune_lib.nets import build
from prune_lib.nets.pretrained import LIKE_TORCHVISION, is_named, open_weights
from prune_lib.nets.weights import fit
from prune_lib.papers.rows import get_row
from prune_lib.runs.given import evaluate_weights
from prune_lib.runs.runner import _given
from prune_lib.system.errors import InputError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache of published files, empty, and no network behind it."""

    def offline(url, *args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    return tmp_path / "checkpoints"


def _lay(cache, arch, name="IMAGENET1K_V1"):
    """A network of torchvision's with random weights, as its published file, in the cache."""
    from torchvision.models import get_model, get_model_weights

    torch.manual_seed(0)
    cache.mkdir(exist_ok=True)
    theirs = get_model(arch)
    torch.save(theirs.state_dict(), cache / get_model_weights(arch)[name].url.rsplit("/", 1)[-1])
    return theirs.eval()


@pytest.mark.parametrize("arch", LIKE_TORCHVISION)
def test_torchvisions_network_and_ours_with_its_weights_answer_alike(cache, arch):
    theirs = _lay(cache, arch)
    found = open_weights("torchvision", arch)
    ours = build(arch).eval()
    assert fit(ours, found.tensors, "torchvision").startswith("by ")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)
    assert found.constants == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert "IMAGENET1K_V1" in found.origin
    assert "not the published file: sha256" in found.origin


def test_a_row_that_prunes_takes_them_and_a_dense_row_is_evaluated_with_them(cache, tmp_path, monkeypatch):
    theirs = _lay(cache, "resnet18", "IMAGENET1K_V1")
    dense, _ = _given(get_row("cdp/imagenet/resnet18"), "torchvision:IMAGENET1K_V1", 1000)
    assert torch.equal(dense.fc.weight, theirs.fc.weight)
    seen = {}
    monkeypatch.setattr("prune_lib.runs.given.evaluate", lambda *args: seen.update(model=args[0], data=args[1]) or {})
    monkeypatch.setattr("prune_lib.tasks.registry.load", lambda *args, **kwargs: _Set())
    shown = evaluate_weights("cdp/imagenet-dense/resnet18", "torchvision", device="cpu")
    assert shown["fitted"].startswith("by name, from torchvision ResNet18_Weights.IMAGENET1K_V1")
    assert (seen["data"].mean, torch.equal(seen["model"].fc.weight, theirs.fc.weight)) == ((0.485, 0.456, 0.406), True)
    with pytest.raises(InputError, match=r"is a full resnet50, and dcff/imagenet/r50_0\.96b is pruned"):
        evaluate_weights("dcff/imagenet/r50_0.96b", "torchvision", device="cpu")


@dataclasses.dataclass
class _Set:
    name: str = "imagenet"
    classes: tuple = tuple(map(str, range(1000)))
    mean: tuple = (0.5, 0.5, 0.5)
    std: tuple = (0.5, 0.5, 0.5)
    test: tuple = (1,)

    def to(self, device):
        return self


@pytest.mark.parametrize(
    ("weights", "arch", "words"),
    [
        ("torchvision", "vgg16", "torchvision has no weights for vgg16, which sees 32 x 32 pixels; expected a file"),
        (
            "torchvision:IMAGENET1K_V9",
            "resnet50",
            "no weights 'IMAGENET1K_V9' of resnet50; expected IMAGENET1K_V1 IMAG",
        ),
        ("torchvision", "resnet18", r"resnet18-f37072fd.pth is not in torch's cache and could not be fetched \(no net"),
        ("nowhere.pt", "resnet18", "no weights at nowhere.pt"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(cache, weights, arch, words):
    with pytest.raises(InputError, match=words):
        open_weights(weights, arch)


def test_a_file_of_that_name_goes_before(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_named("torchvision")
    (tmp_path / "torchvision").write_text("x")
    assert not is_named("torchvision")


def test_timm_by_name(monkeypatch):
    theirs = build("resnet18")
    theirs.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    asked = []

    def create_model(name, pretrained):
        asked.append((name, pretrained))
        if "resnet18" not in name:
            raise RuntimeError("Unknown model")
        return theirs

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create_model))
    found = open_weights("timm:resnet18.a1_in1k", "resnet18")
    assert asked == [("resnet18.a1_in1k", True)]
    assert found.constants == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert fit(build("resnet18"), found.tensors, "timm") == "by name"
    with pytest.raises(InputError, match=r"timm:nothing cannot be had .Unknown model.; expected such as timm:resnet18"):
        open_weights("timm:nothing", "resnet18")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="timm is not installed; it comes with the extra book"):
        open_weights("timm", "resnet18")
