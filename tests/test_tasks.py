"""Detection, segmentation and pose: each learns on the drawn set, and its compact network answers as the fused one."""

import dataclasses
import json
from random import Random

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from prune_lib.book.tables.table import load_table
from prune_lib.nets import arch_of, build
from prune_lib.nets.pointrend import sample
from prune_lib.nets.reparam import fusions
from prune_lib.papers import make_method
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import all_rows, get_row
from prune_lib.runs.training import evaluate, train
from prune_lib.system.errors import InputError
from prune_lib.tasks import load, pose, segmentation, shapes
from prune_lib.tasks.coco import corners, decode

LESS = {  # what a test can afford of each row's recipe, and the score that it must reach
    "mmrazor/pose-small/dcff": ({"epochs": 6, "train_images": 200, "heldout": 0}, 4),
    "mmrazor/segmentation-small/dcff": ({"epochs": 4, "train_images": 40, "heldout": 0}, 20),
    "mmrazor/detection-small/dcff": ({"epochs": 4, "train_images": 96, "heldout": 0}, 5),
    "filterexpo/detection-small/explore": ({"epochs": 4, "train_images": 96, "heldout": 0}, 4),
    "filterexpo/ssd-small/explore": ({"epochs": 4, "train_images": 120, "heldout": 0}, 5),
}


@pytest.fixture(autouse=True, scope="module")
def drawn(tmp_path_factory):
    """One set for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(tmp_path_factory.mktemp("home")))
        yield shapes.folder()


@pytest.fixture(scope="module", params=LESS)
def trained(request, drawn):
    """(data, scores before, what to reach, history, the trained network, its export) of a small row's method."""
    row = get_row(request.param)
    less, reach = LESS[request.param]
    recipe = dataclasses.replace(row.recipes["smoke"], **less, test_every=less["epochs"])
    data = load(recipe.data, heldout=0, train_images=recipe.train_images)
    data = dataclasses.replace(data, test=data.test[:24])
    options = {name: value for name, value in row.method.items() if name != "name"}
    method = make_method(row.method["name"], arch_of(row.arch), **options)
    torch.manual_seed(0)
    model = build(row.arch, row.widths, len(data.classes))
    before = evaluate(model, data, data.test)
    history = train(model, data, recipe, method, device="cpu", precision="fp32", progress=False)
    return data, before, reach, history, model, method.export(model)


def test_a_task_learns(trained):
    data, before, reach, history, *_ = trained
    assert history.curve[-1]["loss"] < 0.7 * history.curve[0]["loss"]
    scores = {data.metric, *({"segm_AP"} & set(before))}
    assert len(scores) == 1 + getattr(data, "masks", False)
    for score in scores:
        assert history.best("last")[f"test_{score}"] > before[score] + reach


def test_the_compact_network_answers_as_the_fused_one(trained):
    data, _, _, _, fused, compact = trained
    assert not fusions(compact)
    assert sum(p.numel() for p in compact.parameters()) < sum(p.numel() for p in fused.parameters())
    answers = []
    for model in (fused.eval(), compact.eval()):
        with torch.inference_mode():
            if data.metric == "mIoU":
                pixels, _ = data.test_item(data.test[0])
                answers.append(data.predict(model, data.images([pixels])))
            else:
                answers.append(data.predict(model, data.test[:4]))
    if data.metric == "mIoU":
        assert torch.equal(*answers)
        return
    ours, theirs = answers
    assert [found["image_id"] for found in ours] == [found["image_id"] for found in theirs]
    assert len(ours) > 0
    for first, second in zip(ours, theirs, strict=True):
        for key in {"bbox", "keypoints", "score"} & set(first):
            np.testing.assert_allclose(first[key], second[key], rtol=1e-4, atol=1e-3)
        if data.metric == "AP" and getattr(data, "masks", False):
            pair = [found["segmentation"] for found in (first, second)]
            areas = coco_masks.area(pair)
            assert (areas == 0).all() or coco_masks.iou([pair[0]], [pair[1]], [0])[0, 0] > 0.98


def test_points_are_refined_where_the_network_is_least_sure(drawn):
    torch.manual_seed(0)
    model = build("pointrend_small").eval()
    images = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        coarse, some, every = (model.refine(images, points) for points in (0, 500, 10_000))
        assert coarse.shape == (1, 19, 64, 128)
        changed = (some != coarse).any(1)
        assert 0 < changed.sum() <= 500 * (1 + 4 * 4)  # of the second step, and what the first one's grew to
        assert (every != coarse).any(1).all()
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    torch.testing.assert_close(sample(ramp, torch.tensor([[[4.5 / 8, 0.5]]])), torch.tensor([[[4.0]]]))


def test_a_keypoint_comes_back_from_its_heatmap():
    points = np.array([[37.0, 50.0, 2], [10.0, 7.0, 1], [20.0, 20.0, 0], [-3.0, 5.0, 2]])
    maps, weights = pose.heatmaps(points, (64, 64), 1.5)
    assert weights.tolist() == [1, 1, 0, 0]
    found = pose.decode(torch.from_numpy(maps)[None])[0, :2, :2].numpy() * pose.STRIDE
    np.testing.assert_allclose(found, points[:2, :2], atol=pose.STRIDE / 4)


def test_a_crop_is_placed_and_placed_back():
    place = pose._placing((10, 20, 30, 60), (64, 48), scale=1.2, turn=0.4)
    points = np.array([[10.0, 20.0], [25.0, 50.0]])
    inside = pose._to_crop(place, points)
    np.testing.assert_allclose(inside[1], [24, 32])  # the middle of the box is that of the crop
    np.testing.assert_allclose(pose._from_crop(place, inside), points)


def test_a_mirrored_person_has_left_and_right_exchanged():
    names = shapes.KEYPOINTS
    for name, other in zip(names, (names[i] for i in pose.MIRRORED), strict=True):
        assert other == name.replace("left", "x").replace("right", "left").replace("x", "right")

    def halves(images):  # a "network" whose keypoint 1 is at the left edge and 2 at the right one, whatever it sees
        maps = torch.zeros(len(images), 17, 4, 4)
        maps[:, 1, :, 0], maps[:, 2, :, 3] = 1, 1
        return maps

    maps = pose.flip_test(halves, torch.zeros(1, 3, 16, 16))
    assert maps[0, 1, 0].tolist() == [
        1,
        0.5,
        0,
        0,
    ]  # the mirrored one is shifted by a pixel, and its edge stays


def test_miou_by_hand():
    truth, guesses = torch.tensor([0, 0, 1, 1, 255, 2]), torch.tensor([0, 1, 1, 1, 0, 2])
    table = segmentation.confusion(guesses, truth, 4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert segmentation.mean_iou(table) == pytest.approx(100 * (1 / 2 + 2 / 3 + 1) / 3)  # class 3 is nowhere


def test_the_evaluation_of_streets_is_the_confusion_of_its_predictions(drawn):
    data = load("shapes-cityscapes", heldout=0)
    data = dataclasses.replace(data, test=data.test[:2])
    torch.manual_seed(0)
    model = build("pointrend_small").eval()
    with torch.inference_mode():
        found = data.evaluate(model, data.test)
        hits, unions = np.zeros(19), np.zeros(19)
        for item in data.test:
            pixels, labels = data.open(item)
            guesses = data.predict(model, data.images([pixels]))[0].numpy()
            for k in range(19):
                real, guessed = labels == k, (guesses == k) & (labels != 255)
                hits[k], unions[k] = hits[k] + (real & guessed).sum(), unions[k] + (real | guessed).sum()
    assert found["mIoU"] == pytest.approx(100 * np.mean(hits[unions > 0] / unions[unions > 0]), rel=1e-3)


def test_the_sets_are_drawn_the_same_every_time(drawn, tmp_path):
    shapes.draw(tmp_path)
    files = [path for path in sorted(drawn.rglob("*")) if path.is_file()]
    assert len(files) > 600
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(drawn)).read_bytes()
    for name in ("shapes", "shapes-keypoints", "shapes-cityscapes"):
        data = load(name, heldout=7, train_images=20)
        assert (len(data.heldout), len(data.train)) == (7, 20)
        assert not set(data.heldout) & set(data.train)
        with pytest.raises(InputError, match=f"{name} has [0-9]+ training images; 5 held out and 1000"):
            load(name, heldout=5, train_images=1000)


@pytest.mark.parametrize("name", ["shapes", "shapes-keypoints", "shapes-cityscapes"])
def test_batches_follow_from_the_generator_and_can_be_shared_and_skipped(name):
    data = load(name, heldout=0, train_images=10)

    def images(**options):
        return [x for x, _ in data.batches(4, torch.Generator().manual_seed(3), **options)]

    whole = images()
    assert [len(x) for x in whole] == [4, 4, 2]
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], images(skip=1), strict=True))
    assert torch.equal(torch.cat([images(share=(r, 2))[0] for r in (0, 1)]), whole[0])


def test_recipes_count_by_steps_where_they_say_so():
    poly = Recipe(epochs=10, lr=0.1, schedule="poly", milestones=(0.5,), lr_min=0.01, warmup_steps=2, warmup_from=0.1)
    rates = [poly.lr_at(epoch, step, 2) for epoch in range(10) for step in range(2)]
    assert rates[:3] == pytest.approx([0.01, 0.055, 0.1])
    assert rates[6] == pytest.approx(0.01 + 0.09 * 0.5**0.9)  # halfway between the warm-up's end and the milestone
    assert rates[10:] == pytest.approx([0.01] * 10)
    for field in ({"optimizer": "lamb"}, {"schedule": "x"}, {"test_every": 0}, {"clip": -1.0}):
        with pytest.raises(InputError, match=next(iter(field))):
            Recipe(**field)


def test_the_papers_recipes_are_mmrazors():
    detection, streets, people = (
        get_row(f"mmrazor/{name}").recipes["paper"]
        for name in ("detection/faster_rcnn", "segmentation/pointrend", "pose/topdown_heatmap")
    )
    drops = [e for e in range(1, 120) if detection.lr_at(e, 0, 1) != detection.lr_at(e - 1, 0, 1)]
    assert (detection.epochs, detection.lr, drops) == (120, 0.04, [60, 80, 95])
    drops = [e for e in range(10, 300) if people.lr_at(e, 0, 200) != people.lr_at(e - 1, 199, 200)]
    assert (people.epochs, people.optimizer, people.lr, drops) == (300, "adam", 5e-4, [170, 220, 280])
    steps = streets.epochs * -(-(2975 - streets.heldout) // streets.batch_size)
    assert (160_000 <= steps < 160_200, get_row("mmrazor/segmentation/pointrend").method["every"]) == (True, 200)


@pytest.mark.parametrize("name", LESS)
def test_a_run_is_recorded_and_one_that_was_interrupted_ends_in_the_same_weights(name, drawn, tmp_path, monkeypatch):
    from prune_lib.book.tables import table
    from prune_lib.runs import runner

    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(drawn.parent)
    row = get_row(name)
    smoke = dataclasses.replace(row.recipes["smoke"], epochs=2, train_images=10, heldout=4, batch_size=4, test_every=2)
    method = dict(row.method) | ({"every": 2} if "every" in row.method else {})
    row = dataclasses.replace(row, method=method, recipes={**row.recipes, "smoke": smoke})
    whole = runner.run(row, seed=0, device="cpu", progress=False)
    assert whole["status"] == "finished"
    assert {f"{row.metric}_last", f"{row.metric}_selected", f"{row.metric}_test_best"} < set(whole["metrics"])
    assert whole["provenance"]["data"] | {"sha256": ""} == {
        "name": smoke.data, "sha256": "", "train": 10, "heldout": 4, "test": len(load(smoke.data, heldout=0).test)
    }  # fmt: skip
    assert whole["curves"][f"test_{row.metric}"][0] is None
    (line,) = table.load_table(row.table, {row.id: row}).lines
    assert (line.accuracy.budget, line.accuracy.verdict) == ("smoke", "not attempted")
    (tmp_path / "results" / row.id).rename(tmp_path / "first")
    kind = type(load(smoke.data, heldout=0))
    loss, calls = kind.loss, []

    def stops(self, *arguments):
        calls.append(1)
        if len(calls) == 5:  # the second step of the second epoch, of three each
            raise KeyboardInterrupt
        return loss(self, *arguments)

    monkeypatch.setattr(kind, "loss", stops)
    with pytest.raises(KeyboardInterrupt):
        runner.run(row, seed=0, device="cpu", progress=False, save_every=0.0)
    again = runner.run(row, seed=0, device="cpu", progress=False)
    assert len(calls) == 5 + 2  # the fourth step was kept
    assert again["networks"] == whole["networks"]


def test_one_training_of_mask_rcnn_is_both_of_its_rows(project, drawn):
    """Boxes and masks are judged apart, by the same record."""
    from prune_lib.runs import records, runner
    from prune_lib.runs.records import Run

    box, mask = get_row("filterexpo/detection/mask_rcnn_bbox"), get_row("filterexpo/segmentation/mask_rcnn_segm")
    assert (box.metric, mask.metric) == ("AP", "segm_AP")
    assert (box.printed, mask.printed) == ("37.3", "34.5")
    for row in all_rows().values():
        if row.runs_of:
            for budget in row.recipes:
                assert row.key(budget) == get_row(row.runs_of).key(budget)
                assert Run(row, budget, 0).folder == Run(get_row(row.runs_of), budget, 0).folder
    metrics = {f"{score}_{p}": 30.0 + (score == "AP") for score in ("AP", "segm_AP") for p in ("test_best", "last")}
    about = {"row": box.id, "budget": "paper", "seed": 0, "key": box.key("paper"), "status": "finished"}
    record = about | {"metrics": metrics, "curves": {}, "networks": {}, "provenance": {"data": {"test": 5000}}}
    (records.home() / "results" / box.id).mkdir(parents=True)
    (records.home() / "results" / box.id / "paper-seed0-x.json").write_text(json.dumps(record))
    (found,) = list(records.records(mask))
    assert found["row"] == box.id
    assert runner.run(mask, "paper")["metrics"] == metrics
    line = next(line for line in load_table(mask.table).lines if line.row is mask)
    assert (line.accuracy.mean["test_best"], line.accuracy.verdict) == (30.0, "not reproduced")


def test_masks_are_scaled_and_mirrored_with_their_image(drawn):
    """What is inside a mask has another colour than what is not, whatever was done to both."""
    data = load("shapes-masks", heldout=0)
    data = dataclasses.replace(data, short=150, long=200)
    for seed in range(4):
        pixels, target = data.training_item(data.train[seed], Random(seed))
        assert pixels.shape == (150, 150, 3)
        assert target["masks"].shape == (len(target["boxes"]), 150, 150)
        for mask, (x0, y0, x1, y1) in zip(target["masks"], target["boxes"], strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            np.testing.assert_allclose([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], [x0, y0, x1, y1], atol=2.5)
            inside = mask.astype(bool)
            spread = [pixels[part].astype(float).std(0).mean() for part in (inside, ~inside)]
            assert spread[0] < 20 < np.abs(pixels[inside].mean(0) - pixels[~inside].mean(0)).max()


def test_a_mask_that_is_found_is_put_where_its_box_is():
    from prune_lib.tasks.coco import Picture
    from prune_lib.tasks.detection import _pasted

    half = torch.zeros(1, 1, 28, 28)
    half[..., :14] = 1  # the left half of the box
    (found,) = _pasted(half, torch.tensor([[10.0, 20.0, 50.0, 60.0]], dtype=torch.float64), Picture("", 1, 80, 100, ()))
    whole = decode(found["segmentation"]["counts"], 80, 100)
    assert whole.shape == (80, 100)
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    np.testing.assert_allclose([columns[0], columns[-1], rows[0], rows[-1]], [10, 29, 20, 59], atol=1)


def test_images_for_ssd_are_square_and_boxes_come_back():
    data = load("shapes-300", heldout=0)
    item = dataclasses.replace(data.test[0])
    pixels, (size, scale) = data.test_item(item)
    assert pixels.shape == (300, 300, 3)
    assert (size, scale.tolist()) == ((300, 300), [300 / 96] * 4)
    images, (_, targets) = data.batch_of([data.training_item(item, Random(0))])
    assert images.shape == (1, 3, 300, 300)
    assert set(targets[0]) == {"boxes", "labels"}

    class Told:  # a "network" that finds what is annotated
        def detect(self, images, sizes):
            boxes = torch.from_numpy((corners(item.objects) * scale).astype(np.float32))
            labels = torch.tensor([found.label + 1 for found in item.objects])
            return [{"boxes": boxes, "labels": labels, "scores": torch.ones(len(boxes))}]

    assert data.evaluate(Told(), (item,))["AP"] == pytest.approx(100)


def test_ssd300_has_the_boxes_that_its_paper_counts():
    model = build("ssd300", num_classes=3).eval()
    images = torch.zeros(1, 3, 300, 300)
    with torch.no_grad():
        maps = model._maps(images)
        assert [m.shape[-1] for m in maps] == [38, 19, 10, 5, 3, 1]
        assert model(images).shape == (1, 8732, 4)
        (anchors,) = model._torchvision(images, maps)[1]
    assert anchors.shape == (8732, 4)
    np.testing.assert_allclose(anchors[0], [4 - 10.5, 4 - 10.5, 4 + 10.5, 4 + 10.5], atol=1e-3)  # 21 pixels a side
    np.testing.assert_allclose(anchors[-4], [150 - 130.5, 150 - 130.5, 150 + 130.5, 150 + 130.5], atol=1e-3)


def test_boxes_of_ssd_are_in_whole_precision_under_bf16():
    model = build("ssd_small").eval()
    images = torch.zeros(1, 3, 96, 96)
    found = []
    for bf16 in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found += model._torchvision(images, model._maps(images))[1]
    assert torch.equal(*found)


def test_a_batch_of_one_image_is_refused_by_ssd_before_it_starts():
    row = get_row("filterexpo/ssd-small/dense")
    recipe = dataclasses.replace(row.recipes["smoke"], batch_size=4, train_images=9, heldout=0)
    data = load(recipe.data, heldout=0, train_images=9)
    with pytest.raises(InputError, match="9 training images in batches of 4 leave a batch of fewer than 2, which SSD"):
        train(build(row.arch, num_classes=3), data, recipe)


def test_mask_rcnn_has_torchvisions_layers():
    """But for the boxes of the background, which mmdet's layers have not: 4 outputs of a layer that reads 1,024."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=81)
        ours = build("mask_rcnn")
    assert sum(p.numel() for p in theirs.parameters()) - sum(p.numel() for p in ours.parameters()) == 4 * 1025
