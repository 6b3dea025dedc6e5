"""Data refused in one line whatever is wrong with it, and its parts and augmentation checked image by image."""

import hashlib
import zipfile

import numpy as np
import pytest
import torch

from prune_lib.system.errors import InputError
from prune_lib.tasks import images, load, registry
from prune_lib.tasks.images import ImageSet, Split

SMALL = {"x_train": (100, 32, 32, 3), "y_train": (100,), "x_test": (20, 32, 32, 3), "y_test": (20,)}


def _arrays():
    """A CIFAR-10 of 100 and 20 images, in which image i is of class i % 10 and starts with the value i."""
    rng = np.random.default_rng(0)
    arrays = {key: rng.integers(0, 256, shape, dtype=np.uint8) for key, shape in SMALL.items()}
    for part in ("train", "test"):
        count = len(arrays[f"y_{part}"])
        arrays[f"y_{part}"] = np.arange(count, dtype=np.uint8) % 10
        arrays[f"x_{part}"][:, 0, 0, 0] = np.arange(count)
    return arrays


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Write arrays as a small cifar10.npz, and return its folder."""
    monkeypatch.setattr(images, "CIFAR10_SHAPES", SMALL)
    monkeypatch.delenv("PRUNE_DATA", raising=False)

    def write(**changed):
        arrays = {key: array for key, array in (_arrays() | changed).items() if array is not None}
        np.savez(tmp_path / "cifar10.npz", **arrays)
        return tmp_path

    return write


def test_the_digits_are_there_without_any_download():
    data = load("digits", heldout=200)
    assert (len(data.train), len(data.heldout), len(data.test), len(data.classes)) == (1297, 200, 300, 10)
    assert (data.train.images.shape[1:], data.train.images.dtype) == ((3, 32, 32), torch.uint8)
    assert data.test.labels.bincount().tolist() == [30] * 10
    assert data.heldout.labels.bincount().tolist() == [20] * 10
    assert data.train.images.max() == 255
    blocks = data.train.images[:50].float().reshape(50, 3, 8, 4, 8, 4)
    assert torch.equal(blocks, blocks[:, :1, :, :1, :, :1].expand_as(blocks))  # grey, each pixel four by four
    pixels = torch.cat([data.train.images, data.heldout.images]).float() / 255
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=0.002)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=0.002)


def test_cifar10_packed_up_does_not_count_and_that_is_said(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"x")
    words = r"cifar-10-python.tar.gz alone does not count: tar -xzf .*cifar-10-python.tar.gz -C .*; expected cifar10"
    with pytest.raises(InputError, match=words):
        load("cifar10", tmp_path, heldout=10)


def test_cifar10_is_read_as_it_was_written(small):
    data, arrays = load("cifar10", small(), heldout=10), _arrays()
    assert torch.equal(data.test.images, torch.from_numpy(arrays["x_test"]).permute(0, 3, 1, 2))
    assert data.test.labels.tolist() == arrays["y_test"].tolist()
    whole = hashlib.sha256(b"".join(arrays[key].tobytes() for key in SMALL)).hexdigest()
    assert data.fingerprint == whole
    wide = small(y_train=arrays["y_train"].astype(np.int64), x_test=arrays["x_test"].astype(np.int32))
    assert load("cifar10", wide, heldout=10).fingerprint == whole


def _names(split):
    """The images of a small set by their first value, which is their place in the file."""
    return split.images[:, 0, 0, 0].tolist()


def test_the_parts_are_apart_balanced_and_always_the_same(small):
    data = load("cifar10", small(), heldout=30)
    assert sorted(_names(data.train) + _names(data.heldout)) == list(range(100))
    assert data.heldout.labels.bincount().tolist() == [3] * 10
    assert data.train.labels.bincount().tolist() == [7] * 10
    assert [name % 10 for name in _names(data.train)] == data.train.labels.tolist()
    torch.manual_seed(5)
    again = load("cifar10", small(), heldout=30)
    assert (_names(again.train), _names(again.heldout)) == (_names(data.train), _names(data.heldout))
    few = load("cifar10", small(), heldout=30, train_images=20)
    assert _names(few.heldout) == _names(data.heldout)  # however many are trained on
    assert few.train.labels.bincount().tolist() == [2] * 10
    assert set(_names(few.train)) < set(_names(data.train))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heldout": 15}, "heldout is 15; expected a multiple"),
        ({"heldout": -10}, "heldout is -10; expected a multiple"),
        ({"heldout": 10, "train_images": 5}, "train_images is 5; expected a multiple"),
        ({"heldout": 10, "train_images": -10}, "train_images is -10; expected a multiple"),
        ({"heldout": 10, "train_images": 0}, "train_images is 0; expected a multiple"),
        ({"heldout": 50, "train_images": 60}, "has 10 training images in its smallest class; 50 held out and 60"),
        ({"heldout": 110}, "has 10 training images in its smallest class; 110 held out"),
        ({"heldout": 100}, "has 10 training images in its smallest class; 100 held out"),
    ],
)
def test_numbers_of_images_that_the_set_does_not_have_are_refused(small, options, words):
    with pytest.raises(InputError, match=words):
        load("cifar10", small(), **options)


def test_an_unknown_set_is_named():
    with pytest.raises(InputError, match="unknown image set 'cifar100'; expected one of: cifar10 digits"):
        load("cifar100", heldout=10)


def test_data_is_looked_for_where_it_was_said_to_be(project, monkeypatch):
    monkeypatch.delenv("PRUNE_DATA", raising=False)
    assert registry.find_data() == project / "data"
    monkeypatch.setenv("PRUNE_DATA", str(project / "there"))
    assert registry.find_data() == project / "there"
    assert registry.find_data(project / "here") == project / "here"
    monkeypatch.setenv("HOME", str(project))
    assert registry.find_data("~/mine") == project / "mine"


def _zero(shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


def _with(key, place, value, dtype=np.int64):
    array = _arrays()[key].astype(dtype)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x_test": None, "y_test": None}, "x_test y_test missing; it holds x_train y_train"),
        ({"x_train": _zero((100, 3, 32, 32))}, r"x_train is uint8 \(100, 3, 32, 32\); expected whole numbers"),
        ({"x_test": _zero((19, 32, 32, 3))}, r"x_test is uint8 \(19, 32, 32, 3\)"),
        ({"y_train": _zero((100, 1))}, r"y_train is uint8 \(100, 1\)"),
        ({"x_train": _zero(SMALL["x_train"], np.float32)}, "x_train is float32"),
        ({"y_test": _zero(20, bool)}, "y_test is bool"),
        ({"y_test": np.array(["cat"] * 20)}, "y_test is <U3"),
        ({"y_train": _zero(100)}, "y_train does not hold 10 labels of each class"),
        ({"y_test": _arrays()["y_test"] + 1}, "y_test does not hold 2 labels of each class"),
        ({"x_train": _with("x_train", (5, 0, 0, 1), 256)}, r"x_train holds .*expected bytes"),
        ({"x_test": np.array([None] * 20)}, r"x_test is object \(20,\); expected whole numbers"),
        ({"y_train": _with("y_train", 3, -1)}, "y_train does not hold 10 labels of each class"),
        ({"y_train": _with("y_train", 3, 1, np.uint64)}, "y_train does not hold 10 labels of each class"),
        ({"y_train": _with("y_train", 3, 2**62)}, "y_train does not hold 10 labels of each class"),
        ({"x_train": _with("x_train", (5, 0, 0, 1), -1)}, r"x_train holds .*expected bytes"),
    ],
)
def test_data_that_is_not_cifar10_is_refused_by_name(small, changed, words):
    folder = small(**changed)
    with pytest.raises(InputError, match=words) as refusal:
        load("cifar10", folder, heldout=10)
    assert str(refusal.value).startswith(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_an_archive_cut_short_is_refused(small, share):
    path = small() / "cifar10.npz"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="not a readable") as refusal:
        load("cifar10", path.parent, heldout=10)
    assert "\n" not in str(refusal.value)


def test_an_archive_with_a_turned_bit_is_refused(small):
    path = small() / "cifar10.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a readable"):
        load("cifar10", path.parent, heldout=10)


def test_what_only_has_the_name_of_an_archive_is_refused(small, tmp_path):
    path = small() / "cifar10.npz"
    np.save(tmp_path / "plain.npy", np.zeros(3))
    plain = (tmp_path / "plain.npy").read_bytes()
    for make in (
        lambda: path.write_bytes(b"hello"),
        lambda: path.write_bytes(plain),
        lambda: zipfile.ZipFile(path, "w").close(),
        lambda: (path.unlink(), path.mkdir()),
    ):
        make()
        with pytest.raises(InputError, match=r"cifar10.npz: (not a readable .npz|.* missing; it holds nothing)"):
            load("cifar10", tmp_path, heldout=10)


def _set(count=7, side=8, pad=2, flip=True):
    """Random images with labels 0, 1, 2 …, so that a batch tells which images it holds."""
    generator = torch.Generator().manual_seed(0)
    part = Split(torch.randint(0, 256, (count, 3, side, side), generator=generator).byte(), torch.arange(count))
    return ImageSet("toy", ("a",), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), part, part, part, "", flip, pad)


def _by_hand(data, seed):
    """Every image of one epoch padded, cropped and flipped on its own, by the same random numbers."""
    generator, n, side = torch.Generator().manual_seed(seed), len(data.train), data.train.images.shape[-1]
    order = torch.randperm(n, generator=generator)
    shift = torch.randint(0, 2 * data.pad + 1, (2, n, 1), generator=generator)
    mirror = torch.rand(n, 1, generator=generator) < (0.5 if data.flip else 0)
    mean, std = np.array(data.mean, np.float32), np.array(data.std, np.float32)
    for i, index in enumerate(order.tolist()):
        image = data.train.images[index].permute(1, 2, 0).numpy()
        image = np.pad(image, ((data.pad, data.pad), (data.pad, data.pad), (0, 0)))
        top, left = shift[0, i].item(), shift[1, i].item()
        image = image[top : top + side, left : left + side]
        if mirror[i]:
            image = image[:, ::-1]
        yield index, torch.from_numpy((image.astype(np.float32) / 255 - mean) / std).permute(2, 0, 1)


@pytest.mark.parametrize(("pad", "flip"), [(2, True), (0, True), (3, False)])
def test_augmentation_equals_a_loop_over_the_images(pad, flip):
    data = _set(count=40, pad=pad, flip=flip)
    batches = list(data.batches(16, torch.Generator().manual_seed(4)))
    assert [len(labels) for _, labels in batches] == [16, 16, 8]
    got, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    indices, expected = zip(*_by_hand(data, 4), strict=True)
    assert labels.tolist() == list(indices)
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_batches_follow_from_their_generator():
    data = _set(count=30)

    def epoch(seed):
        return list(data.batches(10, torch.Generator().manual_seed(seed)))

    for (x, y), (again_x, again_y) in zip(epoch(1), epoch(1), strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)
    assert [y.tolist() for _, y in epoch(1)] != [y.tolist() for _, y in epoch(2)]
    assert sorted(label for _, y in epoch(2) for label in y.tolist()) == list(range(30))


def test_normalising_by_hand():
    pixel = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    got = _set().normalise(pixel).flatten()
    assert got.tolist() == pytest.approx([-0.4 / 0.2, (0.2 - 0.5) / 0.3, 0.4 / 0.4])
