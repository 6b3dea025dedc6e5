import io

import numpy as np
import pytest
import torch

from prune_lib.errors import InputError
from prune_lib.tasks import images
from prune_lib.tasks.images import load

SMALL = {"x_train": (200, 32, 32, 3), "y_train": (200,), "x_test": (100, 32, 32, 3), "y_test": (100,)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder for a CIFAR-10 of 300 images, and its arrays."""
    monkeypatch.setattr(images, "CIFAR10_SHAPES", SMALL)
    arrays = {key: np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 251 for key, shape in SMALL.items()}
    arrays = {
        k: a.astype(np.uint8) if k[0] == "x" else (np.arange(len(a)) % 10).astype(np.uint8) for k, a in arrays.items()
    }
    return tmp_path, arrays


def test_cifar10_is_read_from_an_npz(small):
    folder, arrays = small
    np.savez(folder / "cifar10.npz", **arrays)
    data = load("cifar10", folder, heldout=20)
    assert (len(data.train), len(data.heldout), len(data.test)) == (180, 20, 100)
    assert torch.equal(data.test.images[3], torch.from_numpy(arrays["x_test"][3]).permute(2, 0, 1))
    assert load("cifar10", folder, heldout=20).fingerprint == data.fingerprint
    arrays["x_test"][0, 0, 0, 0] ^= 1
    np.savez(folder / "cifar10.npz", **arrays)
    assert load("cifar10", folder, heldout=20).fingerprint != data.fingerprint


def _object(arrays):
    arrays["y_test"] = np.array([{"a": 1}] * 100, dtype=object)


BROKEN = {
    "x_test missing; it holds": lambda a: a.pop("x_test"),
    r"x_train is uint8 \(100, 32, 32, 3\); expected whole numbers \(200, 32, 32, 3\)": lambda a: a.update(
        x_train=a["x_train"][:100]
    ),
    "x_train is float32": lambda a: a.update(x_train=a["x_train"].astype(np.float32)),
    "y_train does not hold 20 labels of each class": lambda a: a.update(y_train=a["y_train"] * 0),
    "y_test does not hold 10 labels of each class": lambda a: a.update(y_test=a["y_test"] + 1),
    r"x_test holds values from 300 to \d+; expected bytes": lambda a: a.update(
        x_test=a["x_test"].astype(np.int64) + 300
    ),
    "not a readable .npz of plain arrays": _object,
}


@pytest.mark.parametrize("words", BROKEN)
def test_wrong_data_is_named(small, words):
    folder, arrays = small
    BROKEN[words](arrays)
    np.savez(folder / "cifar10.npz", **arrays)
    with pytest.raises(InputError, match=words) as refusal:
        load("cifar10", folder, heldout=20)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_half_an_archive_and_no_archive_are_named(small):
    folder, arrays = small
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (folder / "cifar10.npz").write_bytes(buffer.getvalue()[:50_000])
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        load("cifar10", folder, heldout=20)
    with pytest.raises(InputError, match=r"no CIFAR-10 in .*expected cifar10.npz"):
        load("cifar10", folder / "elsewhere", heldout=20)
    (folder / "half" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(InputError, match="cifar-10-batches-py: incomplete or altered"):
        load("cifar10", folder / "half", heldout=20)


def test_where_data_is_looked_for(monkeypatch, project):
    monkeypatch.delenv("PRUNE_DATA", raising=False)
    assert images.find_data() == project / "data"
    monkeypatch.setenv("PRUNE_DATA", "/somewhere")
    assert str(images.find_data()) == "/somewhere"
    assert str(images.find_data("/here")) == "/here"


def test_digits_are_split_evenly_and_always_alike():
    data, again = (load("digits", heldout=100, train_images=500) for _ in range(2))
    for name, each in (("train", 50), ("heldout", 10), ("test", 30)):
        split = getattr(data, name)
        assert split.labels.bincount().tolist() == [each] * 10
        assert split.images.shape[1:] == (3, 32, 32)
        assert torch.equal(split.images, getattr(again, name).images)
    seen = {image.numpy().tobytes() for image in data.test.images}
    assert not seen & {image.numpy().tobytes() for image in torch.cat([data.train.images, data.heldout.images])}
    parts = torch.cat([data.train.images, data.heldout.images, data.test.images])
    whole = data.normalise(load("digits", heldout=10).train.images)
    assert abs(whole.mean()) < 0.02
    assert abs(whole.std() - 1) < 0.02
    assert parts.max() == 255


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"heldout": 15}, "heldout is 15; expected a multiple of the 10 classes"),
        ({"heldout": 0}, "heldout is 0"),
        ({"heldout": 10, "train_images": 15}, "train_images is 15"),
        ({"heldout": 2000}, "smallest class"),
    ],
)
def test_numbers_of_images_that_cannot_be_are_refused(sizes, words):
    with pytest.raises(InputError, match=words):
        load("digits", **sizes)


def test_batches_are_shuffled_crops_and_mirrors(small):
    folder, arrays = small
    np.savez(folder / "cifar10.npz", **arrays)
    data = load("cifar10", folder, heldout=20)
    got = list(data.batches(64, torch.Generator().manual_seed(5)))
    assert [len(labels) for _, labels in got] == [64, 64, 52]
    generator = torch.Generator().manual_seed(5)  # the same draws, one image at a time
    order = torch.randperm(180, generator=generator)
    shift = torch.randint(0, 9, (2, 180, 1), generator=generator)
    mirror = torch.rand(180, 1, generator=generator) < 0.5
    expected = []
    for place, index in enumerate(order):
        padded = torch.nn.functional.pad(data.train.images[index], (4,) * 4)
        y, x = int(shift[0, place]), int(shift[1, place])
        crop = padded[:, y : y + 32, x : x + 32]
        expected.append(crop.flip(-1) if mirror[place] else crop)
    assert torch.equal(torch.cat([x for x, _ in got]), data.normalise(torch.stack(expected)))
    assert torch.equal(torch.cat([y for _, y in got]), data.train.labels[order])
    assert 40 < int(mirror.sum()) < 140


def test_the_real_data_is_cifar10(cifar10):
    levels = torch.arange(256).double() / 255
    for channel, mean, std in ((0, 0.49140, 0.24703), (1, 0.48216, 0.24349), (2, 0.44653, 0.26159)):
        share = sum(s.images[:, channel].flatten().bincount(minlength=256) for s in (cifar10.train, cifar10.heldout))
        share = share.double() / share.sum()
        assert float((share * levels).sum()) == pytest.approx(mean, abs=5e-6)
        assert float((share * (levels - mean) ** 2).sum().sqrt()) == pytest.approx(std, abs=5e-6)
    assert (len(cifar10.train), len(cifar10.heldout), len(cifar10.test)) == (48_000, 2_000, 10_000)


def test_a_network_learns_from_the_real_data(cifar10):
    from dataclasses import replace

    from prune_lib.nets import build
    from prune_lib.recipe import Recipe
    from prune_lib.train import train

    each = [torch.arange(5000)[:100] + 4800 * c for c in range(10)]  # images are sorted by class
    few = replace(
        cifar10, train=cifar10.train.take(torch.cat(each)), test=cifar10.test.take(torch.arange(0, 10_000, 20))
    )
    torch.manual_seed(0)
    model = build("resnet20")
    history = train(model, few, Recipe(epochs=4, batch_size=50, lr=0.05), device="cpu", progress=False)
    assert history.curve[-1]["train_top1"] > 20  # chance is 10
    assert history.curve[-1]["loss"] < history.curve[0]["loss"]
