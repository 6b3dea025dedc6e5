"""COCO's and Cityscapes' files: what is wrong in them is named, and AP is what it is by hand."""

import json
from random import Random

import numpy as np
import pytest

from prune_lib.system.errors import InputError
from prune_lib.tasks import load, segmentation, shapes
from prune_lib.tasks.coco import Object, Picture, average_precision, decode, read_annotations

PERSON = (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)


def _picture(*boxes, number=1, **fields):
    return Picture("x.png", number, 100, 100, tuple(Object(0, box, box[2] * box[3], False, **fields) for box in boxes))


def _found(box, score=0.9, number=1, label=0):
    return {"image_id": number, "category_id": label, "bbox": list(box), "score": score}


FIRST, SECOND = (10, 10, 10, 10), (50, 50, 40, 40)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([_found(FIRST), _found(SECOND)], {"AP": 100, "AP50": 100, "AP75": 100, "APS": 100, "APM": 100}),
        ([], {"AP": 0, "AP50": 0, "AP75": 0, "APS": 0, "APM": 0}),
        # one of two found: precision is 1 up to a recall of 0.5, which are 51 of the 101 recalls that are asked
        ([_found(FIRST)], {"AP": 5100 / 101, "AP50": 5100 / 101, "AP75": 5100 / 101, "APS": 100, "APM": 0}),
        # a false one before both: precision 1/2, then 2/3, and the larger counts for all recalls
        ([_found((80, 0, 5, 5), 0.99), _found(FIRST, 0.9), _found(SECOND, 0.8)], {"AP": 200 / 3, "AP50": 200 / 3}),
        # an overlap of 0.62 counts at the thresholds 0.50, 0.55 and 0.60, of ten
        ([_found((10, 10, 10, 6.2)), _found((50, 50, 40, 24.8))], {"AP": 30, "AP50": 100, "AP75": 0}),
        ([_found(FIRST, label=1), _found(SECOND, label=1)], {"AP": 0}),
    ],
)
def test_ap_of_boxes_by_hand(results, expected):
    found = average_precision([_picture(FIRST, SECOND)], results, classes=2)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("shift", "oks"), [(0.0, 1.0), (4.0, None), (8.0, None)])
def test_ap_of_keypoints_by_hand(shift, oks):
    """With every keypoint off by d, OKS is the mean of exp(-d^2 / (2 area (2 sigma)^2)); AP counts thresholds below."""
    points = np.stack([np.arange(17) * 3.0 + 20, np.arange(17) * 2.0 + 30, np.full(17, 2.0)], 1)
    truth = _picture((10, 10, 60, 60), keypoints=tuple(points.flatten()))
    moved = points + np.array([shift, 0, 0])
    result = {"image_id": 1, "category_id": 0, "keypoints": moved.flatten().tolist(), "score": 1.0}
    oks = np.mean(np.exp(-(shift**2) / (2 * 3600 * (2 * np.array(PERSON) / 10) ** 2))) if oks is None else oks
    assert 0.4 < oks <= 1
    expected = 10 * sum(oks >= threshold for threshold in np.arange(50, 100, 5) / 100)
    assert average_precision([truth], [result], "keypoints")["AP"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "COUNTS", {part: {"objects": 2, "figures": 2, "streets": 2} for part in ("train", "val")})
        shapes.draw(tmp_path_factory.mktemp("drawn") / "set")
    return tmp_path_factory.getbasetemp() / "drawn0" / "set"


@pytest.fixture
def copy(drawn, tmp_path):
    import shutil

    return shutil.copytree(drawn, tmp_path / "set")


def _change(root, kind, how):
    path = root / "coco" / "annotations" / f"{kind}_train2017.json"
    document = json.loads(path.read_text())
    if how is None:
        document = [document]
    else:
        how(document)
    path.write_text(json.dumps(document))


def _set(*keys, value):
    def how(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return how


ANNOTATION = ("annotations", 0)
WRONG = {
    "an image that is missing": ("instances", _set("images", 0, "file_name", value="none.png"), "none.png is missing"),
    "a box outside": ("instances", _set(*ANNOTATION, "bbox", value=[80, 5, 30, 9]), r"box \[80, 5, 30, 9\] is outside"),
    "a box of three": ("instances", _set(*ANNOTATION, "bbox", value=[1, 2, 3]), r"within 96 x 96 pixels"),
    "a negative box": ("instances", _set(*ANNOTATION, "bbox", value=[9, 9, -3, 3]), "is outside its image"),
    "an unknown category": ("instances", _set(*ANNOTATION, "category_id", value=9), "category 9 is unknown.*1 2 3"),
    "an unknown image": ("instances", _set(*ANNOTATION, "image_id", value=77), "image 77 is unknown"),
    "no area": ("instances", lambda document: document["annotations"][0].pop("area"), "'area'; expected image_id"),
    "an open outline": ("instances", _set(*ANNOTATION, "segmentation", value=[[1, 2, 3, 4]]), "no polygon"),
    "a mask of another size": (
        "person_keypoints", _set(*ANNOTATION, "segmentation", "size", value=[96, 95]),
        r"mask has the size \[96, 95\]; expected \[96, 96\]",
    ),
    "sixteen keypoints": ("person_keypoints", _set(*ANNOTATION, "keypoints", value=[0] * 48), "48 numbers as key"),
    "an image without height": ("instances", _set("images", 0, "height", value=0), "96 x 0 pixels; expected 1 to"),
    "an image below zero": ("instances", _set("images", 0, "width", value=-1), "-1 x 96 pixels; expected 1 to 65535"),
    "an image as high as none": ("instances", _set("images", 0, "height", value=2**31), "expected 1 to 65535 a side"),
    "an image larger than any": (
        "instances", lambda d: d["images"][0].update(height=60_000, width=60_000), "at most 536870911 in all",
    ),
    "no categories": ("instances", lambda document: document.pop("categories"), "not COCO's format"),
    "an image's id twice": ("instances", _set("images", 1, "id", value=1), "two of its image entries have the id 1"),
    "an image's id twice, once as text": ("instances", _set("images", 1, "id", value="1"), "have the id 1; expected"),
    "a category's id twice": ("instances", _set("categories", 1, "id", value=1), "two of its category entries have"),
    "an image's id as its name": ("instances", _set("images", 0, "id", value="a.png"), "'a.png' is no whole number"),
    "an image's id with a fraction": ("instances", _set("images", 0, "id", value=1.5), "1.5 is no whole number"),
    "an image's height with a fraction": ("instances", _set("images", 0, "height", value=95.5), "95.5 is no whole"),
    "an image's id as a list": ("instances", _set(*ANNOTATION, "image_id", value=[1]), r"\[1\] is no whole number"),
    "no annotations": ("instances", _set("annotations", value=None), "annotations is None, expected a list"),
    "an annotation that is a list": ("instances", _set(*ANNOTATION, value=[1]), "annotations is .* expected a list"),
    "an image in another folder": (
        "instances", _set("images", 0, "file_name", value="../train2017/i1.png"), "leads out of .*; expected a file",
    ),
    "an image that is a folder": ("instances", _set("images", 0, "file_name", value="."), "is missing"),
    "a crowd of text": ("instances", _set(*ANNOTATION, "iscrowd", value="0"), "iscrowd is '0'; expected 0 or 1"),
    "an area below zero": ("instances", _set(*ANNOTATION, "area", value=-1), "area is -1.0; expected its mask's"),
    "a keypoint without end": (
        "person_keypoints", _set(*ANNOTATION, "keypoints", 0, value="inf"), "51 numbers as keypoints; expected 17",
    ),
    "a document that is a list": ("instances", None, "not COCO's format"),
    "categories as text": ("instances", _set("categories", value="person"), "not COCO's format"),
}  # fmt: skip


MASK = (*ANNOTATION, "segmentation")
WRONG_MASKS = {  # looked at only where masks are read
    "no mask": ("instances", lambda document: document["annotations"][0].pop("segmentation"), "it has no mask"),
    "no outline": ("instances", _set(*MASK, value=[]), "it has no mask; expected polygons, or run lengths"),
    "an outline of words": ("instances", _set(*MASK, value=[["1"] * 6]), "a corner of its outline"),
    "an outline far away": ("instances", _set(*MASK, value=[[1, 2, 3, 4, 5, 1e9]]), "not near its image"),
    "an outline without end": (
        "instances", _set(*MASK, value=[[-150, 0, 150, 1] * 2000]), "its outline is .* pixels long; expected at most",
    ),
    "run lengths that end early": (
        "person_keypoints", _set(*MASK, "counts", value=[9000, 5]), "add up to 9005 pixels; expected the 9216 of its",
    ),
    "run lengths below zero": ("person_keypoints", _set(*MASK, "counts", value=[9217, -1]), "it has no mask"),
    "run lengths as other text": ("person_keypoints", _set(*MASK, "counts", value="~~"), "it has no mask"),
    "run lengths without end": ("person_keypoints", _set(*MASK, "counts", value="o" * 99), "it has no mask"),
    "no run lengths": ("person_keypoints", lambda d: d["annotations"][0]["segmentation"].pop("counts"), "has no mask"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_MASKS)
def test_what_is_wrong_in_a_mask_is_named(name, copy):
    kind, how, words = WRONG_MASKS[name]
    read_annotations(copy / "coco", "train2017", kind, masks=True)
    _change(copy, kind, how)
    with pytest.raises(InputError, match=words) as refusal:
        read_annotations(copy / "coco", "train2017", kind, masks=True)
    assert "\n" not in str(refusal.value)
    assert "annotation 1: " in str(refusal.value)


def test_polygons_and_run_lengths_of_both_kinds_are_one_mask(copy):
    """A rectangle of 4 x 3 pixels from (10, 20), written in each of the ways that COCO has."""
    pixels = np.zeros((96, 96), np.uint8)
    pixels[20:23, 10:14] = 1
    runs = shapes._rle(pixels)
    square = [[10, 20, 14, 20, 14, 23, 10, 23]]
    found = []
    for mask in (square, runs):
        _change(copy, "instances", _set(*MASK, value=mask))
        read = read_annotations(copy / "coco", "train2017", masks=True)
        (about,) = [o for p in read.pictures for o in p.objects if json.dumps(list(o.box)) == json.dumps(_box(copy))]
        found.append(about.mask)
    _change(copy, "instances", _set(*MASK, value={"size": [96, 96], "counts": found[1].decode()}))
    read = read_annotations(copy / "coco", "train2017", masks=True)
    assert any(o.mask == found[1] for p in read.pictures for o in p.objects)
    assert found[0] == found[1]
    np.testing.assert_array_equal(decode(found[0], 96, 96), pixels)
    assert all(o.mask == b"" for p in read_annotations(copy / "coco", "train2017").pictures for o in p.objects)


def _box(root):
    text = (root / "coco" / "annotations" / "instances_train2017.json").read_text()
    return [float(side) for side in json.loads(text)["annotations"][0]["bbox"]]


@pytest.mark.parametrize(("taken", "expected"), [(10, 100), (6, 30), (0, 0)])  # 0.6 passes three thresholds of ten
def test_ap_of_masks_by_hand(taken, expected):
    """The boxes are right, and the mask found is the upper ``taken`` of ten rows."""
    whole = np.zeros((100, 100), np.uint8)
    whole[10:20, 10:20] = 1
    part = whole.copy()
    part[10 + taken :] = 0
    from pycocotools import mask as coco

    def runs(pixels):
        return coco.encode(np.asfortranarray(pixels))

    truth = Picture("x.png", 1, 100, 100, (Object(0, FIRST, 100, False, mask=runs(whole)["counts"]),))
    results = [{**_found(FIRST), "segmentation": runs(part)}]
    assert average_precision([truth], results, "segm")["AP"] == pytest.approx(expected)
    assert average_precision([truth], results, "bbox")["AP"] == pytest.approx(100)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_an_annotation_file_is_named(name, copy):
    kind, how, words = WRONG[name]
    read_annotations(copy / "coco", "train2017", kind)
    _change(copy, kind, how)
    with pytest.raises(InputError, match=words) as refusal:
        read_annotations(copy / "coco", "train2017", kind)
    assert "\n" not in str(refusal.value)
    assert "expected" in str(refusal.value)


@pytest.mark.parametrize("keys", [(*ANNOTATION, "area"), (*ANNOTATION, "bbox", 0), (*MASK, 0, 0), ("images", 0, "id")])
def test_a_number_that_is_none_is_not_json(copy, keys):
    _change(copy, "instances", _set(*keys, value=float("nan")))
    with pytest.raises(InputError, match=r"instances_train2017\.json: not JSON \(NaN is no JSON\)"):
        read_annotations(copy / "coco", "train2017", masks=True)


def test_ids_as_text_are_the_numbers_that_they_are(copy):
    plain = read_annotations(copy / "coco", "train2017")

    def as_text(document):
        for image in document["images"]:
            image |= {"id": str(image["id"]), "height": float(image["height"])}
        for found in document["annotations"]:
            found |= {"image_id": str(found["image_id"]), "category_id": float(found["category_id"])}

    _change(copy, "instances", as_text)
    found = read_annotations(copy / "coco", "train2017")
    assert (found.pictures, found.categories) == (plain.pictures, plain.categories)


def test_a_file_name_may_hold_a_folder(copy):
    root = copy / "coco"
    plain = read_annotations(root, "train2017")
    name = plain.pictures[0].path.removeprefix("train2017/")
    (root / "train2017" / "v2" / "patch0").mkdir(parents=True)
    (root / "train2017" / name).rename(root / "train2017" / "v2" / "patch0" / name)
    _change(copy, "instances", _set("images", 0, "file_name", value=f"v2/patch0/{name}"))
    found = read_annotations(root, "train2017")
    assert found.pictures[0].path == f"train2017/v2/patch0/{name}"
    assert found.pictures[0].objects == plain.pictures[0].objects


def test_images_that_cannot_be_used_are_named(copy, monkeypatch):
    root = copy / "coco"
    first = sorted((root / "train2017").glob("i*.png"))[0]
    pixels = first.read_bytes()
    first.write_bytes(b"")
    with pytest.raises(InputError, match="has no bytes; expected it"):
        read_annotations(root, "train2017")
    from prune_lib.tasks.detection import load as load_detection

    first.write_bytes(pixels[:99])
    data = load_detection(root, "shapes", True)
    with pytest.raises(InputError, match="cut short, damaged or no image"):
        data.test_item(data.train[0])
    from PIL import Image

    Image.new("RGB", (50, 40)).save(first)
    with pytest.raises(InputError, match="50 x 40 pixels; expected 96 x 96"):
        data.test_item(data.train[0])
    turned = Image.new("RGB", (96, 90)).getexif()
    turned[0x0112] = 6  # to be shown turned by a quarter
    Image.new("RGB", (96, 90)).save(first, exif=turned)
    _change(
        copy, "instances", lambda document: document["images"][0].update(height=96, width=90) or _no_boxes(document)
    )
    data = load_detection(root, "shapes", True)
    with pytest.raises(InputError, match=r"96 x 90 pixels; expected 90 x 96, .* says; its EXIF orientation turns it"):
        data.read(f"train2017/{first.name}", 96, 90)


def _no_boxes(document):
    document["annotations"] = []


def test_a_box_in_the_tolerated_pixel_outside_is_not_trained_on(copy):
    """Cut to the image it would have no width, and its loss would be no number."""
    from prune_lib.tasks.detection import load as load_detection

    def only(box):
        def how(document):
            document["annotations"] = [document["annotations"][0] | {"bbox": box}]

        return how

    _change(copy, "instances", only([95, 10, 1, 20]))
    (picture,) = load_detection(copy / "coco", "shapes", True).train
    assert load_detection(copy / "coco", "shapes", True).training_item(picture, Random(0))[1]["boxes"].shape == (1, 4)
    _change(copy, "instances", only([96, 10, 1, 20]))
    assert load_detection(copy / "coco", "shapes", True).train == ()


def test_an_image_without_objects_is_tested_and_not_trained_on(copy):
    from prune_lib.tasks.detection import load as load_detection

    _change(copy, "instances", _set("annotations", value=[]))
    assert load_detection(copy / "coco", "shapes", True).train == ()
    (picture, _) = read_annotations(copy / "coco", "train2017").pictures
    assert picture.objects == ()


def test_data_that_is_not_there_is_named(tmp_path):
    for name, words in (("coco", "instances_train2017.json"), ("coco-keypoints", "person_keypoints_train2017.json")):
        with pytest.raises(InputError, match=f"no {tmp_path}/coco/annotations/{words}; expected .* --data-dir"):
            load(name, tmp_path, heldout=0)
    with pytest.raises(InputError, match=r"no .*/cityscapes/leftImg8bit/train.*; expected Cityscapes' folders"):
        load("cityscapes", tmp_path, heldout=0)


def test_labels_that_are_wrong_are_named(copy):
    from PIL import Image

    root = copy / "cityscapes"
    path = sorted((root / "gtFine" / "train").glob("*/*.png"))[0]
    item = segmentation.load(root, "x", True).train[0]

    def opened(pixels):
        Image.fromarray(pixels).save(path)
        return segmentation.load(root, "x", True).open(item)

    with pytest.raises(InputError, match=r"128 x 64 pixels; expected 100 x 50, as its annotation says"):
        opened(np.zeros((50, 100), np.uint8))
    with pytest.raises(InputError, match="label 77; expected Cityscapes' ids"):
        opened(np.full((64, 128), 77, np.uint8))
    with pytest.raises(InputError, match="label 26001; expected Cityscapes' ids"):
        opened(np.full((64, 128), 26001, np.uint16))
    with pytest.raises(InputError, match="label -1; expected Cityscapes' ids"):
        segmentation.train_ids(np.full((64, 128), -1, np.int32), False, "x")
    with pytest.raises(InputError, match="1 bit for each pixel; expected whole numbers of 8 bits"):
        opened(np.zeros((64, 128), bool))
    assert (opened(np.full((64, 128), 26, np.uint16))[1] == 13).all()
    with pytest.raises(InputError, match="an image of colours; expected one number for each pixel"):
        opened(np.zeros((64, 128, 3), np.uint8))
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="cut short, damaged or no image"):
        segmentation.load(root, "x", True).open(item)
    hidden = (root / item.image).with_name("._bonn_1_leftImg8bit.png")
    hidden.write_bytes(b"Mac OS X")
    with pytest.raises(InputError, match="is a hidden file, as a Mac's copy leaves them"):
        segmentation.load(root, "x", True)
    hidden.unlink()
    path.write_bytes(b"")
    with pytest.raises(InputError, match="has no bytes"):
        segmentation.load(root, "x", True)
    path.unlink()
    with pytest.raises(InputError, match=r"labelIds\.png is missing; expected the labels of"):
        segmentation.load(root, "x", True)


def test_label_ids_become_the_numbers_of_the_classes():
    ids = np.array([[7, 33, 0, 26]], np.uint8)
    assert segmentation.train_ids(ids, False, "x").tolist() == [[0, 18, 255, 13]]
    assert segmentation.train_ids(np.array([[0, 255, 18]], np.uint8), True, "x").tolist() == [[0, 255, 18]]
    with pytest.raises(InputError, match="label 19"):
        segmentation.train_ids(np.array([[19]], np.uint8), True, "x")
