"""What only the real CIFAR-10 can show; skipped, saying why, where it is not at hand."""

from dataclasses import replace

import pytest
import torch

from prune_lib.nets import build
from prune_lib.papers.recipe import Recipe
from prune_lib.runs.training import train
from prune_lib.system.errors import InputError
from prune_lib.tasks import load


def test_the_real_data_is_cifar10(cifar10):
    levels = torch.arange(256).double() / 255
    for channel, mean, std in ((0, 0.49140, 0.24703), (1, 0.48216, 0.24349), (2, 0.44653, 0.26159)):
        share = sum(s.images[:, channel].flatten().bincount(minlength=256) for s in (cifar10.train, cifar10.heldout))
        share = share.double() / share.sum()
        assert float((share * levels).sum()) == pytest.approx(mean, abs=5e-6)
        assert float((share * (levels - mean) ** 2).sum().sqrt()) == pytest.approx(std, abs=5e-6)
    assert (len(cifar10.train), len(cifar10.heldout), len(cifar10.test)) == (48_000, 2_000, 10_000)


def test_a_network_learns_from_the_real_data(cifar10):
    each = [torch.arange(5000)[:100] + 4800 * c for c in range(10)]  # images are sorted by class
    few = replace(
        cifar10, train=cifar10.train.take(torch.cat(each)), test=cifar10.test.take(torch.arange(0, 10_000, 20))
    )
    torch.manual_seed(0)
    model = build("resnet20")
    history = train(model, few, Recipe(epochs=4, batch_size=50, lr=0.05), device="cpu", progress=False)
    assert history.curve[-1]["train_top1"] > 20  # chance is 10
    assert history.curve[-1]["loss"] < history.curve[0]["loss"]


def test_half_of_torchvisions_files_is_named(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match="cifar-10-batches-py: incomplete or altered"):
        load("cifar10", tmp_path, heldout=20)
