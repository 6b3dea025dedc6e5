"""Image folders refused in one line whatever is wrong with them, and batches checked against torchvision and PIL."""

import hashlib
import io
import os
import random
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from prune_lib.nets import ARCHS, build
from prune_lib.papers import cdp
from prune_lib.papers.method import Start
from prune_lib.system import paths
from prune_lib.system.errors import InputError
from prune_lib.tasks import decoding, imagenet
from prune_lib.tasks.decoding import read
from prune_lib.tasks.imagenet import WNIDS, check, load, sample


def _picture(seed=0, width=40, height=30, mode="RGB"):
    """A smooth random picture, so that JPEG keeps it."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def _encoded(picture, kind="JPEG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def root(tmp_path):
    """Classes ant and bee: 6 training images of each and 3 for the test, all different, some in portrait format."""
    for split, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("ant", "bee")):
            for i in range(count):
                seed = 100 * label + 10 * i + len(split)
                picture = _picture(seed, 31 + 4 * i, 46 - 3 * i)
                _write(tmp_path / "set" / split / name / f"{i}.JPEG", _encoded(picture))
    return tmp_path / "set"


@pytest.fixture
def data(root):
    return load(root, classes=None, side=16)


def _epoch(data, size=5, seed=3, **options):
    return list(data.batches(size, torch.Generator().manual_seed(seed), **options))


def _same(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(x, y) and torch.equal(a, b) for (x, a), (y, b) in zip(batches, others, strict=True)
    )


def test_what_is_in_the_folders(root, data):
    assert (data.name, data.classes, data.root) == ("set", ("ant", "bee"), root)
    assert data.train.paths == tuple(f"train/{name}/{i}.JPEG" for name in data.classes for i in range(6))
    assert data.test.paths == tuple(f"val/{name}/{i}.JPEG" for name in data.classes for i in range(3))
    assert data.train.labels.tolist() == [0] * 6 + [1] * 6
    assert (len(data.heldout), data.heldout.labels.dtype, len(data.test)) == (0, torch.int64, 6)
    assert load(root, classes=("bee", "ant")).train.labels.tolist() == [1] * 6 + [0] * 6
    assert data.to("cpu").device == torch.device("cpu")


def test_the_fingerprint_is_of_names_and_sizes(root, data):
    files = [f"{p} {(root / p).stat().st_size}\n" for p in (*data.train.paths, *data.test.paths)]
    assert data.fingerprint == hashlib.sha256("".join(files).encode()).hexdigest()
    assert load(root, classes=None, heldout=2).fingerprint == data.fingerprint
    with open(root / "val/bee/1.JPEG", "ab") as file:
        file.write(b"\0")
    assert load(root, classes=None).fingerprint != data.fingerprint


def test_the_parts_are_apart_balanced_and_always_the_same(root, data):
    found = load(root, classes=None, heldout=4)
    assert sorted(found.train.paths + found.heldout.paths) == sorted(data.train.paths)
    assert (found.heldout.labels.tolist(), found.train.labels.tolist()) == ([0, 0, 1, 1], [0] * 4 + [1] * 4)
    assert [data.classes[i] for i in found.heldout.labels] == [path.split("/")[1] for path in found.heldout.paths]
    torch.manual_seed(5)
    few = load(root, classes=None, heldout=4, train_images=6)
    assert few.heldout.paths == found.heldout.paths
    assert set(few.train.paths) < set(found.train.paths)
    assert few.train.labels.tolist() == [0] * 3 + [1] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heldout": 3}, "heldout is 3; expected a multiple of the 2 classes of "),
        ({"heldout": -2}, "heldout is -2; expected a multiple"),
        ({"train_images": 5}, "train_images is 5; expected a multiple"),
        ({"train_images": 0}, "train_images is 0; expected a multiple"),
        ({"heldout": 12}, "has 5 training images in its smallest class; 12 held out and some for training"),
        ({"heldout": 10}, "has 5 training images in its smallest class; 10 held out and some for training"),
        ({"heldout": 4, "train_images": 8}, "has 5 training images in its smallest class; 4 held out and 8 for"),
    ],
)
def test_numbers_of_images_that_the_set_does_not_have_are_refused(root, options, words):
    (root / "train/bee/4.JPEG").unlink()  # now 5 of bee and 6 of ant
    with pytest.raises(InputError, match=words):
        load(root, classes=None, **options)


def _move(root, old, new):
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


def _flatten(root):
    for path in list((root / "val").glob("*/*")):
        path.rename(root / "val" / f"{path.parent.name}{path.name}")
    for folder in (root / "val").iterdir():
        if folder.is_dir():
            folder.rmdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda root: _move(root, "", "../elsewhere"),
            "no train and val folder in {root}; expected {root}/train/<cl",
        ),
        (lambda root: _move(root, "val", "../val"), "no val folder in {root}; expected .*--data-dir or .PRUNE_DATA"),
        (lambda root: _move(root, "train", "old/train"), "no train folder in {root}; expected"),
        (_flatten, "{root}/val holds 6 images in no class folder, ant0.JPEG the first; sort them into class folders"),
        (lambda root: _write(root / "train/x.jpg", b"x"), "{root}/train holds 1 images in no class folder, x.jpg"),
        (lambda root: _move(root, "val/bee", "bee"), "{root}/val: 1 of 2 class folders are missing, bee the first"),
        (lambda root: _move(root, "train/ant", "ant"), "{root}/train: 1 of 2 class folders are missing, ant the first"),
        (lambda root: (root / "val/cow").mkdir(), "{root}/train: 1 of 3 class folders are missing, cow the first"),
        (
            lambda root: [(root / s / "cow").mkdir() for s in ("train", "val")],
            "{root}/train/cow is empty; expected",
        ),
        (
            lambda root: _write(root / "val/ant/list.txt", b"x"),
            "{root}/val/ant/list.txt is no image; expected only .j",
        ),
        (lambda root: _move(root, "val/ant/0.JPEG", "val/ant/images/0.JPEG"), "{root}/val/ant/images is no image"),
        (lambda root: _write(root / "train/ant/._0.JPEG", b"Mac OS X"), "{root}/train/ant/._0.JPEG is a hidden file"),
        (lambda root: _write(root / "val/ant/.DS_Store", b"x"), "{root}/val/ant/.DS_Store is a hidden file"),
        (lambda root: _write(root / "val/.cache/0.JPEG", b"x"), "{root}/val: 1 folders are of no class, .cache the"),
        (lambda root: (root / "val/ant/9.JPEG").symlink_to("gone"), "{root}/val/ant/9.JPEG is no image"),
        (lambda root: _write(root / "val/ant/0.JPEG", b""), "{root}/val/ant/0.JPEG has no bytes; copy that file again"),
    ],
)
def test_folders_that_are_not_as_they_should_be_are_refused_by_name(root, damage, words):
    damage(root)
    with pytest.raises(InputError, match=words.format(root=root)) as refusal:
        load(root, classes=None)
    assert "\n" not in str(refusal.value)


def test_without_any_class_folder(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    with pytest.raises(InputError, match=f"no class folders in {tmp_path}; expected {tmp_path}/train/<class>"):
        load(tmp_path, classes=None)
    with pytest.raises(InputError, match="train: 1000 of 1000 class folders are missing, n01440764 the first"):
        load(tmp_path)


def test_imagenets_own_classes_are_asked_for(root):
    assert (len(set(WNIDS)), WNIDS[0], WNIDS[-1]) == (1000, "n01440764", "n15075141")
    assert list(WNIDS) == sorted(WNIDS)
    with pytest.raises(InputError, match=r"train: 1000 of 1000 .* \(and 3 more problems\)"):
        load(root)
    found = check(root, classes=("ant", "bee", "cow"))
    assert [line.split(",")[0] for line in found] == [
        f"{root}/{split}: 1 of 3 class folders are missing" for split in ("train", "val")
    ]
    with pytest.raises(InputError, match=f"{root}/train: 1 folders are of no class, bee the first; move them away"):
        load(root, classes=("ant",))


def test_other_files_beside_the_class_folders_are_let_be(root, data):
    _write(root / "val/valprep.sh", b"mkdir")
    assert load(root, classes=None).fingerprint == data.fingerprint


KINDS = {
    "grey.JPEG": lambda: _encoded(_picture(1, mode="L")),
    "cmyk.JPEG": lambda: _encoded(_picture(2, mode="CMYK")),
    "rgb.jpg": lambda: _encoded(_picture(3)),
    "progressive.jpeg": lambda: _encoded(_picture(4), progressive=True),
    "other_sampling.JPG": lambda: _encoded(_picture(5), subsampling=0),
    "png_in_disguise.JPEG": lambda: _encoded(_picture(6), "PNG"),
    "transparent.png": lambda: _encoded(_picture(7, mode="RGBA"), "PNG"),
    "palette.PNG": lambda: _encoded(_picture(8, mode="P"), "PNG"),
    "trailing.JPEG": lambda: _encoded(_picture(9)) + b"some words after the end",
    "turned.JPEG": lambda: _encoded(_picture(10), exif=_turned()),
}


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees, which ImageFolder does not do
    return exif


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_rgb_that_pil_gives(tmp_path, monkeypatch, name, operator):
    used, decode = [], decoding._decode_jpeg
    spy = (lambda *args: used.append(name) or decode(*args)) if operator else None
    monkeypatch.setattr(decoding, "_decode_jpeg", spy)
    path = _write(tmp_path / name, KINDS[name]())
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    got = read(str(path))
    assert (got.shape, got.dtype) == ((30, 40, 3), np.uint8)
    assert np.abs(got.astype(int) - expected).max() <= 2  # two builds of libjpeg may round differently
    assert got.std() > 10
    assert bool(used) == (operator and path.read_bytes().startswith(b"\xff\xd8"))


BROKEN = {
    "half.JPEG": lambda: _cut(_encoded(_picture()), 0.5),
    "half_grey.JPEG": lambda: _cut(_encoded(_picture(mode="L")), 0.5),
    "half_cmyk.JPEG": lambda: _cut(_encoded(_picture(mode="CMYK")), 0.5),
    "half_progressive.JPEG": lambda: _cut(_encoded(_picture(), progressive=True), 0.7),
    "half_png.JPEG": lambda: _cut(_encoded(_picture(), "PNG"), 0.5),
    "header.JPEG": lambda: _encoded(_picture())[:20],
    "without_end.JPEG": lambda: _encoded(_picture())[:-2],
    "zeros_at_the_end.JPEG": lambda: _cut(_encoded(_picture()), 0.6) + bytes(20_000),
    "words.JPEG": lambda: b"<html>404 not found</html>",
    "two_bytes.JPEG": lambda: b"\xff\xd8",
}


def _cut(data, share):
    return data[: int(share * len(data))]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(root, name):
    path = _write(root / "train/ant" / name, BROKEN[name]())
    data = load(root, classes=None, side=16)
    words = f"{path}: cut short, damaged or no image; copy that file again from the archive it came from"
    with pytest.raises(InputError) as refusal:
        _epoch(data)
    assert str(refusal.value) == words
    with pytest.raises(InputError) as refusal:
        list(data.whole(data.train, 4))
    assert str(refusal.value) == words
    assert not _decoding()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8, 0.95, 0.999])
def test_pil_alone_refuses_files_cut_short_too(tmp_path, monkeypatch, share):
    monkeypatch.setattr(decoding, "_decode_jpeg", None)
    with pytest.raises(InputError, match="cut short"):
        read(str(_write(tmp_path / "cut.JPEG", _cut(_encoded(_picture()), share))))


def test_a_file_that_has_gone_is_named(data):
    (data.root / "train/bee/2.JPEG").unlink()
    with pytest.raises(InputError, match=r"train/bee/2.JPEG: No such file or directory; copy that file again"):
        _epoch(data)


def test_check_lists_all_that_is_wrong(root):
    assert check(root, decode=True, classes=None) == []
    for name, make in BROKEN.items():
        _write(root / "train/bee" / name, make())
    for name, make in KINDS.items():
        _write(root / "val/bee" / name, make())
    assert check(root, classes=None) == []
    found = check(root, decode=True, classes=None)
    assert [line.split(": ")[0] for line in found] == sorted(str(root / "train/bee" / name) for name in BROKEN)
    _write(root / "val/ant/list.txt", b"x")
    _write(root / "val/ant/none.JPEG", b"")
    assert len(check(root, classes=None)) == 2
    assert len(check(root, True, classes=None)) == len(BROKEN) + 2
    assert check(root, splits=("train",), classes=None) == []
    with pytest.raises(InputError, match="no train and val folder"):
        check(root / "elsewhere")


def test_crops_are_those_of_torchvision():
    """The two draw the same boxes from the same random numbers, also where no crop fits and the centre is taken."""

    class Torch:
        uniform = staticmethod(lambda low, high: torch.empty(1).uniform_(low, high).item())
        randrange = staticmethod(lambda stop: torch.randint(0, stop, (1,)).item())

    theirs = v2.RandomResizedCrop(224)
    for height, width in ((375, 500), (500, 333), (256, 256), (30, 400), (400, 10), (1, 1), (1, 9), (7, 3)):
        image = torch.empty(3, height, width)
        for seed in range(60):
            torch.manual_seed(seed)
            expected = theirs.make_params([image])
            torch.manual_seed(seed)
            top, left, h, w = decoding.random_box(height, width, Torch())
            assert {"top": top, "left": left, "height": h, "width": w} == expected


def test_crops_reach_all_sizes_shapes_and_places():
    rng, height, width = random.Random(0), 300, 400
    boxes = np.array([decoding.random_box(height, width, rng) for _ in range(2000)])
    top, left, h, w = boxes.T
    assert (boxes >= 0).all()
    assert ((top + h <= height) & (left + w <= width)).all()
    area, ratio = h * w / (height * width), w / h
    assert 0.079 < area.min() < 0.1 < 0.95 < area.max() <= 1
    assert 0.73 < ratio.min() < 0.76 < 1.31 < ratio.max() < 1.36
    for edge in (top == 0, left == 0, top + h == height, left + w == width):
        assert 0 < edge.mean() < 0.2


def _normalised(data, pixels):
    return v2.functional.normalize(pixels.float() / 255, list(data.mean), list(data.std))


def _pil(path):
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def test_a_training_batch_equals_a_loop_by_torchvision(data):
    batches = _epoch(data, size=10, seed=3)
    assert [len(labels) for _, labels in batches] == [10, 2]
    for images, _ in batches:
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
    generator, mirrored, expected = torch.Generator().manual_seed(3), 0, []
    order = torch.randperm(12, generator=generator)
    for index, seed in zip(order.tolist(), torch.randint(2**63 - 1, (12,), generator=generator).tolist(), strict=True):
        image, rng = _pil(data.root / data.train.paths[index]), random.Random(seed)
        crop = v2.functional.resized_crop(image, *decoding.random_box(*image.shape[1:], rng), [16, 16], antialias=True)
        mirror = rng.random() < 0.5
        mirrored += mirror
        expected.append(_normalised(data, crop.flip(2) if mirror else crop))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert 0 < mirrored < 12
    assert torch.equal(labels, data.train.labels[order])
    torch.testing.assert_close(images, torch.stack(expected), rtol=0, atol=0.02)  # a level of 255 is 0.017


def test_an_epoch_follows_from_its_generator_alone(data):
    once = _epoch(data)
    for workers in (1, 2, 5):
        assert _same(_epoch(replace(data, workers=workers)), once)
    other = _epoch(data, seed=4)
    assert not _same(other, once)
    assert sorted(torch.cat([labels for _, labels in other]).tolist()) == data.train.labels.tolist()
    assert not torch.equal(torch.cat([x for x, _ in other]).sum(), torch.cat([x for x, _ in once]).sum())  # new crops


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_batch(data, processes):
    alone = _epoch(data, 5)
    parts = [_epoch(data, 5, share=(rank, processes)) for rank in range(processes)]
    for (images, labels), *own in zip(alone, *parts, strict=True):
        assert torch.equal(torch.cat([x for x, _ in own]), images)
        assert torch.equal(torch.cat([y for _, y in own]), labels)
        assert [len(y) for _, y in own] == [len(part) for part in labels.tensor_split(processes)]


def test_batches_that_are_skipped_are_not_read(data, monkeypatch):
    whole, opened = _epoch(data, 5), []
    monkeypatch.setattr(imagenet, "read", lambda path: opened.append(path) or read(path))
    assert _same(_epoch(data, 5, skip=1), whole[1:])
    assert len(opened) == 7
    assert _same(_epoch(data, 5, skip=2, share=(1, 2)), _epoch(data, 5, share=(1, 2))[2:])
    assert _epoch(data, 5, skip=3) == []


@pytest.mark.parametrize("side", [16, 21])
@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 41), (64, 64), (18, 18), (7, 90), (25, 10)])
def test_the_centre_is_torchvisions_to_the_pixel(width, height, side):
    pixels = np.array(_picture(1, width, height))
    theirs = v2.Compose([v2.Resize(round(side * 256 / 224), antialias=True), v2.CenterCrop(side)])
    expected = theirs(torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(torch.from_numpy(decoding.centre(pixels, side)).permute(2, 0, 1), expected)


@pytest.mark.parametrize("share", [(0, 1), (0, 2), (1, 2), (2, 4)])
@torch.inference_mode()
def test_evaluation_shows_every_image_once_in_order(data, share):
    own = torch.arange(6).tensor_split(share[1])[share[0]].tolist()
    images, labels = (torch.cat(parts) for parts in zip(*data.whole(data.test, 2, share=share), strict=True))
    assert labels.tolist() == data.test.labels[own].tolist()
    theirs = v2.Compose([v2.Resize(18, antialias=True), v2.CenterCrop(16)])
    expected = [_normalised(data, theirs(_pil(data.root / data.test.paths[i]))) for i in own]
    torch.testing.assert_close(images, torch.stack(expected), rtol=0, atol=0.02)


def _decoding():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_consumer_that_stops_leaves_no_thread(data):
    batches = replace(data, workers=2).batches(1, torch.Generator())
    assert not _decoding()
    next(batches)
    assert _decoding()
    batches.close()
    assert not _decoding()
    for _ in data.whole(data.train, 2):
        break
    assert not _decoding()
    _epoch(data)
    assert not _decoding()


def test_what_is_queued_when_a_consumer_stops_is_not_decoded(data, monkeypatch):
    opened, stopping = [], threading.Event()

    class Pool(imagenet.ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            stopping.set()
            super().shutdown(wait=wait)

    def slow(path):
        opened.append(path)
        if len(opened) > 1:
            stopping.wait(10)
        return read(path)

    monkeypatch.setattr(imagenet, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(imagenet, "read", slow)
    batches = replace(data, workers=1).batches(1, torch.Generator())
    next(batches)
    batches.close()
    assert len(opened) <= 2  # the first batch, and perhaps what the thread went on with


def test_only_a_few_batches_are_decoded_ahead(data, monkeypatch):
    opened = []

    class AtOnce:
        def __init__(self, *_):
            pass

        def submit(self, function, *args):
            function(*args)
            done = Future()
            done.set_result(None)
            return done

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(imagenet, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(imagenet, "read", lambda path: opened.append(path) or read(path))
    batches = data.batches(2, torch.Generator())
    assert [next(batches) and len(opened) for _ in range(6)] == [6, 8, 10, 12, 12, 12]


def test_threads_are_as_many_as_cores_that_fall_to_the_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert paths.cores() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    assert paths.cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert paths.cores() == 1


def test_the_sample_is_trained_and_tested_on_the_same_images(tmp_path):
    image = _encoded(_picture())
    for name in WNIDS:
        _write(tmp_path / "val" / name / f"{name}_thing.JPEG", image)
    data = sample(tmp_path, side=16)
    assert (data.name, data.classes, data.side) == ("imagenet-sample", WNIDS, 16)
    assert data.train is data.test
    assert data.train.labels.tolist() == list(range(1000))
    assert len(data.heldout) == 0
    (tmp_path / "train").symlink_to("val")
    assert load(tmp_path).name == "imagenet"
    (tmp_path / "val").rename(tmp_path / "else")
    with pytest.raises(InputError, match=f"no val folder in {tmp_path}; expected {tmp_path}/val/<class>"):
        sample(tmp_path)


def test_the_real_sample():
    folder = os.environ.get("PRUNE_DATA")
    root = Path(folder or ".") / "imagenet-sample"
    if not folder or not root.is_dir():
        pytest.skip("needs the real images: set PRUNE_DATA to a folder that holds imagenet-sample/val")
    data = sample(root)
    assert (len(data.train), data.train.labels.tolist()) == (1000, list(range(1000)))
    batches = data.batches(32, torch.Generator().manual_seed(0))
    images, labels = next(batches)
    batches.close()
    assert (images.shape, labels.shape) == ((32, 3, 224, 224), (32,))
    assert abs(images.mean()) < 0.5  # normalised by ImageNet's own constants
    assert 0.5 < images.std() < 1.5


def test_cdp_looks_at_centre_crops_of_the_first_files(data, root, tmp_path, monkeypatch):
    looked = []

    def gather(model, convs, batches, images, precision):
        batches = list(batches)
        looked.append(torch.cat([batch for batch, _ in batches])[:images])
        return {conv: torch.rand(n, images) for conv, n in convs.items()}

    monkeypatch.setattr(cdp, "gather", gather)
    method = cdp.CDP(ARCHS["resnet20"], sparsity=0.3, images=4)
    method.begin(Start(build("resnet20").eval(), data, seed=0, precision="fp32", folder=tmp_path))
    expected = [decoding.centre(read(str(root / "train" / "ant" / f"{i}.JPEG")), 16) for i in range(4)]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    pixels = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(looked[0], (pixels - mean) / std, rtol=1e-4, atol=1e-5)
    again = cdp.CDP(ARCHS["resnet20"], sparsity=0.3, images=4)
    again.begin(Start(build("resnet20").eval(), data, seed=0, precision="fp32", folder=tmp_path))
    assert len(looked) == 2  # of another network: what is kept is not taken for it
