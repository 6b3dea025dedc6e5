"""Two processes that share a training of detection, segmentation or pose end in one network, by the losses of one.

As a script, ``python test_task_ranks.py OUT`` is one of the processes, as torchrun would start it.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from test_ranks import start

from prune_lib.nets import arch_of, build
from prune_lib.papers import make_method
from prune_lib.papers.rows import get_row
from prune_lib.runs.training import evaluate, train
from prune_lib.system import distributed
from prune_lib.system.checkpoint import digest
from prune_lib.tasks import load, shapes

# chance differs: each process draws its own anchors, regions and points; a pose has nothing to draw
ROWS = {
    "mmrazor/detection-small/dcff": 0.15,
    "filterexpo/detection-small/explore": 0.15,
    "filterexpo/ssd-small/explore": 0.15,
    "mmrazor/segmentation-small/dcff": 0.15,
    "mmrazor/pose-small/dcff": 1e-3,
}


def _train(name):
    row = get_row(name)
    recipe = dataclasses.replace(row.recipes["smoke"], epochs=2, train_images=8, heldout=0, batch_size=4, test_every=2)
    data = load(recipe.data, heldout=0, train_images=recipe.train_images)
    data = dataclasses.replace(data, test=data.test[:2])
    options = {key: value for key, value in row.method.items() if key != "name"}
    torch.manual_seed(0)
    method = make_method(row.method["name"], arch_of(row.arch), **options)
    model = build(row.arch, row.widths, len(data.classes))
    history = train(model, data, recipe, method, device="cpu", precision="fp32", progress=False)
    last = history.curve[-1]
    metrics = {figure: value for figure, value in last.items() if figure.startswith("test_")}
    weights = digest(model.state_dict())
    return {"loss": [epoch["loss"] for epoch in history.curve], "weights": weights, "metrics": metrics}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task-ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(folder))
        shapes.folder()
        yield start(__file__, folder)


@pytest.mark.parametrize("name", ROWS)
def test_two_processes_train_one_network(pair, name):
    first, second = (json.loads((pair / f"{name.replace('/', '-')} {rank}.json").read_text()) for rank in range(2))
    assert first == second  # the same weights to the bit, losses and scores
    alone = _train(name)
    torch.testing.assert_close(torch.tensor(first["loss"]), torch.tensor(alone["loss"]), rtol=ROWS[name], atol=0)
    assert set(first["metrics"]) == set(alone["metrics"])


@pytest.mark.parametrize("name", ROWS)
def test_two_processes_share_an_evaluation_and_get_the_metrics_of_one(pair, name):
    """One network, evaluated by both: each sees whole batches of its own, and all answers are judged together."""
    first, second = (
        json.loads((pair / f"{name.replace('/', '-')} {rank} shared.json").read_text()) for rank in range(2)
    )
    data, model = _untrained(name)
    alone = evaluate(model, data, data.test)
    assert first["metrics"] == second["metrics"] == pytest.approx(alone, abs=1e-6)
    assert first["images"] + second["images"] == list(range(len(data.test)))
    assert min(len(first["images"]), len(second["images"])) > 0


def _untrained(name):
    """The row's data, seven images of it in batches of two, and its network as it is drawn."""
    row = get_row(name)
    data = load(row.recipes["smoke"].data, heldout=0, train_images=8)
    torch.manual_seed(0)
    return dataclasses.replace(data, test=data.test[:7], test_batch=2), build(row.arch, row.widths, len(data.classes))


def _shared(name):
    data, model = _untrained(name)
    own = [data.test.index(item) for item in data.own(data.test)]
    return {"metrics": evaluate(model, data, data.test), "images": own}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in ROWS:
        found = _train(name)
        stem = f"{name.replace('/', '-')} {distributed.rank()}"
        (Path(sys.argv[1]) / f"{stem}.json").write_text(json.dumps(found))
        (Path(sys.argv[1]) / f"{stem} shared.json").write_text(json.dumps(_shared(name)))
