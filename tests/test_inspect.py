"""``prune inspect``: what other people's checkpoints are, read as data and never run."""

import argparse
import collections
import datetime
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune as torch_prune

from prune_lib.cli.parser import main
from prune_lib.cost import cost
from prune_lib.nets import ARCHS, build, read_spec
from prune_lib.nets.recognise import recognise
from prune_lib.papers.rows import get_row
from prune_lib.runs.inspection import inspect
from prune_lib.system.stored import read_stored

ROW = get_row("dcff/cifar10/resnet56")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("resnet20")


def _checkpoint(model):
    return {
        "epoch": 163, "state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()},
        "best_acc1": np.float64(91.25), "top1": torch.tensor(91.0), "arch": "resnet20",
        "args": argparse.Namespace(lr=0.1, seed=3), "when": datetime.datetime(2024, 5, 6, 7, 8),
        "history": collections.OrderedDict(loss=[1.5, 0.5]), "curve": np.arange(6.0).reshape(2, 3),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict(),
    }  # fmt: skip


def _older(tree, path):
    torch.save(tree, path, _use_new_zipfile_serialization=False)


def _plain(tree, path):
    path.write_bytes(pickle.dumps(tree))


@pytest.mark.parametrize("name", ["x.pth", "x.pth.tar", "x.bin", "x"])
@pytest.mark.parametrize(
    "save", [torch.save, _older, _plain, lambda tree, path: path.write_bytes(pickle.dumps(tree, 0))]
)
def test_a_checkpoint_says_what_it_is_however_it_was_saved(network, save, name, tmp_path):
    path = tmp_path / name
    save(_checkpoint(network), path)
    found = inspect(path)
    assert (found.arch, found.how, found.classes, found.narrower) == ("resnet20", "by name", 10, {})
    assert (found.at, found.prefix, found.params) == ("state_dict", "module.", cost("resnet20").params)
    assert found.flops["macs"] == 40_551_040
    claims = {
        "epoch": 163,
        "best_acc1": 91.25,
        "top1": 91.0,
        "args.lr": 0.1,
        "args.seed": 3,
        "when": "2024-05-06 07:08",
    }
    assert claims.items() <= found.claims.items()
    assert found.things == ["argparse.Namespace"]
    assert found.pruning == "none: no filter is missing or zero"
    if save in (torch.save, _older):
        assert found.suggestion == f"prune eval arena/dense/resnet20 --weights {path}"
    json.dumps(found.to_json(), allow_nan=False)


def test_numbers_are_read_as_they_are(network, tmp_path):
    """Of every format, also of tensors that are not laid out one number after the other."""
    weights = network.state_dict()["layer2.0.conv1.weight"]
    tree = {"a": weights.permute(1, 0, 3, 2), "b": weights[3:7], "c": weights.half(), "d": weights.bfloat16()}
    for save in (torch.save, _older, _plain):
        save(tree, tmp_path / "x")
        stored = read_stored(tmp_path / "x").tree
        for name, kind in {"a": "f4", "b": "f4", "c": "f2", "d": None}.items():
            expected = tree[name].view(torch.int16).numpy() if kind is None else tree[name].numpy()
            bits = np.ascontiguousarray(stored[name].bits())
            assert np.array_equal(bits.view(kind or "i2").reshape(expected.shape), expected), (save, name)


def test_a_model_that_was_saved_whole_is_read_and_not_made(network, tmp_path):
    torch.save(network, tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert (found.arch, found.tensors) == ("resnet20", len(network.state_dict()))
    assert "prune_lib.nets.resnet_cifar.ResNet" in found.things
    assert "saved whole" in found.suggestion


def test_widths_masks_and_zeros_are_told_apart(network, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(build("resnet56", ROW.widths).state_dict(), path)
    found = inspect(path)
    assert found.widths == ROW.widths
    assert (found.params, found.flops["thop-0.0.31"]) == (384_316, 55_835_840)
    assert found.pruning.startswith("truly pruned: 1,465 of 2,032 filters are left (layer1.0.conv1 16 to 4")
    assert found.suggestion.startswith("prune eval dcff/cifar10/resnet56 --weights ")
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["layer1.0.conv1.weight"][:5] = 0
    weights["layer3.1.conv2.weight"][7] = -0.0
    save_file(weights, path)
    found = inspect(path)
    assert (found.zeros.zero_filters, found.zeros.by_conv) == (
        6,
        {"layer1.0.conv1.weight": 5, "layer3.1.conv2.weight": 1},
    )
    assert found.pruning.startswith("masked: 6 of 688 filters in 2 convs are zeros")
    lost = 9 * (5 * 16 * 1024 + 64 * 64)
    assert found.flops["chex"] == 40_551_040 + 10 - lost
    assert found.flops["cdp, masked"] == 40_551_040 - lost - 9 * 1024 * 5 * 16
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["layer3.1.conv2.weight"][:, ::2] = 0
    weights["linear.bias"][3] = torch.nan
    weights["bn1.running_var"][:] = torch.inf
    save_file(weights, path)
    found = inspect(path)
    assert found.pruning.startswith("single weights pruned: 6.9% of the convs' weights are zero")
    assert found.not_finite == {"linear.bias": 1, "bn1.running_var": 16}


def test_masks_of_torch_itself_are_applied(network, tmp_path):
    torch.manual_seed(0)
    model = build("resnet20")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            torch_prune.ln_structured(module, "weight", amount=0.5, n=1, dim=0)
    torch.save(model.state_dict(), tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert (found.arch, found.how) == ("resnet20", "by name")
    assert found.zeros.zero_filters == 344


def test_other_names_are_recognised_by_position(tmp_path):
    widths, layers, channels = get_row("dcff/cifar10/vgg16").widths, [], 3
    for filters in widths.values():
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        channels = filters
    theirs = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": nn.Linear(channels, 10)})
    torch.save({"model": theirs.state_dict()}, tmp_path / "x.pth")
    found = inspect(tmp_path / "x.pth")
    assert (found.arch, found.how, found.widths) == ("vgg16", "by position", widths)


@pytest.mark.parametrize("name", ARCHS)
def test_every_network_is_recognised(name):
    about = ARCHS[name]
    rates = f"[{','.join('0.3' for _ in about.units)}]"
    for widths in (about.filters, read_spec(name, rates, "units")[1]):
        with torch.device("meta"):
            shapes = {key: tuple(t.shape) for key, t in build(name, widths).state_dict().items()}
        match = recognise(shapes)
        assert name in (match.arch.name, *match.others)
        assert (match.widths, match.classes) == (widths, about.classes)


def test_a_resnet_of_another_depth_is_recognised_and_counted(tmp_path):
    from prune_lib.nets.cifar import resnet_cifar
    from prune_lib.nets.resnet_cifar import ResNet

    torch.save(ResNet(resnet_cifar("resnet32", 32).filters).state_dict(), tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert (found.arch, found.flops["macs"], found.params) == ("resnet32", 68_862_592, 464_154)
    assert "not trained" in found.suggestion


def test_a_strange_network_is_described_all_the_same(tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Linear(5, 2)).state_dict(), tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert (found.arch, found.tensors, found.numbers) == ("", 4, 152)
    assert "network:     none that this library knows" in str(found)


def test_what_lies_beside_is_named(network, tmp_path):
    tree = {"state_dict": {**network.state_dict(), "conv1.total_ops": torch.zeros(1)}, "ema": network.state_dict()}
    torch.save({**tree, "cfg": __import__("decimal").Decimal(1)}, tmp_path / "x.pt")
    found = inspect(tmp_path / "x.pt")
    assert found.at == "state_dict"
    assert found.odd == [
        "1 total_ops left by thop or averaging",
        f"also a state dict at ema, {len(tree['ema'])} tensors",
    ]
    assert found.things == ["decimal.Decimal"]
    assert "decimal.Decimal beside it is not loaded here" in found.suggestion


def test_the_suggested_command_works(network, tmp_path, capsys):
    path = tmp_path / "a b.pth"
    torch.save(_checkpoint(network), path)
    import shlex

    command = shlex.split(inspect(path).suggestion)
    assert main([*command[1:], "--data", "digits", "--device", "cpu"]) == 0
    assert "weights fitted by shape" in capsys.readouterr().out


def test_it_answers_without_torch(network, tmp_path):
    torch.save(_checkpoint(network), tmp_path / "x.pth")
    script = (
        "import sys; from prune_lib.cli import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", script, "inspect", str(tmp_path / "x.pth")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["0", "False"]
    assert "resnet20, 10 classes, full width" in done.stdout
