"""Every method's row, run and recorded by two processes: scored once, written once, and one network in the end.

As a script, ``python test_method_ranks.py OUT`` is one of the processes, as torchrun would start it.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from test_ranks import start

from prune_lib.papers import cdp, feature_maps, filterexpo
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import BUDGETS, get_row
from prune_lib.runs import runner
from prune_lib.runs.given import evaluate_weights
from prune_lib.runs.records import Run
from prune_lib.system import distributed
from prune_lib.tasks import images, load, registry

RECIPE = Recipe(data="digits", epochs=2, batch_size=32, lr=0.05, heldout=20, train_images=80)
ROWS = {  # row, how far its last loss may be from that of one process, and how it is run
    "dcff/cifar10/resnet56": (0.02, {"precision": "fp32"}),
    "cdp/resnet20-study/s30_cdp": (0.2, {"precision": "fp32", "micro_batch": 5}),  # masked norms; it trains the next
    "cdp/cifar10-dense/resnet20": (0.02, {}),
    "cfdp/resnet20-study/r35_cfdp": (0.2, {"precision": "fp32"}),
    "filterexpo/resnet20-study/explore": (0.1, {}),
}


def _small(name):
    row = get_row(name)
    network = {"arch": "resnet20", "rates": "[0.8]*9+[0.5]*3"} if name.startswith("dcff") else {}
    recipe = dataclasses.replace(RECIPE, epochs=3) if name.startswith("filterexpo") else RECIPE  # as regrowing takes
    return dataclasses.replace(row, recipes=dict.fromkeys(BUDGETS, recipe), **network)


def _small_digits(*args, **options):
    """A quarter of the pixels, and 20 images for the test."""
    data = load(*args, **options)
    train, heldout, test = (
        images.Split(split.images[:, :, ::2, ::2].contiguous(), split.labels)
        for split in (data.train, data.heldout, data.test.take(torch.arange(0, 300, 15)))
    )
    return dataclasses.replace(data, train=train, heldout=heldout, test=test)


def _run_all(folder, patch):
    """``{row: its record}``, how often filters were scored here, and what its last network gives when evaluated."""
    scored = []
    for module, name in ((cdp, "gather"), (feature_maps, "run")):
        whole = getattr(module, name)
        patch.setattr(module, name, lambda *given, whole=whole, name=name: scored.append(name) or whole(*given))
    growth, masking, kept = filterexpo.growth, filterexpo.FilterExpo._mask, []
    if distributed.rank() == 1:  # as another card may: what it finds for itself is not what the first one does
        patch.setattr(filterexpo, "growth", lambda *given: growth(*given).flip(0))

    def mask(method, model):
        kept.append({conv: of.nonzero().flatten().tolist() for conv, of in method.keep.items()})
        masking(method, model)

    patch.setattr(filterexpo.FilterExpo, "_mask", mask)
    patch.setattr(registry, "load", _small_digits)
    patch.setattr(runner, "get_row", _small)
    found = {}
    for name, (_, how) in ROWS.items():
        record = runner.run(_small(name), device="cpu", progress=False, **how)
        found[name] = {key: record[key] for key in ("status", "metrics", "networks", "found") if key in record}
        found[name]["loss"] = record["curves"]["loss"]
    row = _small("dcff/cifar10/resnet56")
    weights = Run(row, "smoke", 0).network("last")
    evaluated = evaluate_weights(row, weights, device="cpu")["top1"]
    return {"rows": found, "scored": scored, "kept": kept, "evaluated": evaluated}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("method-ranks")
        patch.setenv("PRUNE_HOME", str(folder))
        return start(__file__, folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("alone")
        patch.setenv("PRUNE_HOME", str(folder))
        return _run_all(folder, patch)


def test_two_processes_run_every_method(pair, alone):
    first, second = (json.loads((pair / f"{rank}.json").read_text()) for rank in range(2))
    assert first["scored"] == ["gather", "run"]  # once, and by the first process
    assert second["scored"] == []
    assert first["kept"] == second["kept"] != []
    assert first["rows"] == second["rows"]
    assert (
        first["evaluated"]
        == second["evaluated"]
        == pytest.approx(first["rows"]["dcff/cifar10/resnet56"]["metrics"]["top1_last"])
    )
    for name, (near, _) in ROWS.items():
        ours, theirs = first["rows"][name], alone["rows"][name]
        assert ours["status"] == theirs["status"] == "finished"
        assert ours["metrics"].keys() == theirs["metrics"].keys() - {"top1_recalibrated"}  # which is for one process
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=near), name
    records = list((pair / "results").rglob("*.json"))
    assert len(records) == len(ROWS)
    record = next(json.loads(path.read_text()) for path in records if "s30_cdp" in str(path))
    assert record["provenance"]["processes"] == 2
    assert record["provenance"]["precision"] == "fp32"
    assert record["provenance"]["micro_batch"] == 5


def test_what_the_first_process_raises_is_raised_in_all(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    error = ValueError("no data")

    def receive(found, source):
        found[:] = [None, error]

    monkeypatch.setattr(distributed.dist, "broadcast_object_list", receive)
    with pytest.raises(ValueError, match="no data"):
        distributed.on_first(lambda: pytest.fail("only the first process works"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with pytest.MonkeyPatch.context() as patch:
        found = _run_all(out, patch)
    (out / f"{distributed.rank()}.json").write_text(json.dumps(found))
