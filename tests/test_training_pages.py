"""Each notebook that trains ImageNet's tables, by papermill, at ``tiny`` on an ImageNet that is drawn here."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prune_lib.book.site.notebook import execute, failure
from prune_lib.tasks.imagenet import WNIDS

ROOT = Path(__file__).resolve().parent.parent
TRAINED = {  # notebook -> (the rows it is asked to train, what must then be among its records)
    "cdp_imagenet": ("resnet18", "cdp/imagenet/resnet18"),
    "cfdp_imagenet": ("resnet50", "cfdp/imagenet/resnet50"),
    "filterexpo_imagenet": ("resnet50_1g", "filterexpo/imagenet/resnet50_1g"),
    "dcff_imagenet": ("r50_1.02b_cos", "dcff/imagenet/r50_1.02b_cos"),
    "dcff_structures": ("structures-plain/p1_abcpruner", "dcff/structures-plain/p1_abcpruner"),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All 1000 classes, a dozen images of the first eight and one of the others, all of noise."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)) for _ in range(12)]
    for split, most in (("train", 12), ("val", 4)):
        for label, name in enumerate(WNIDS):
            place = folder / "imagenet" / split / name
            place.mkdir(parents=True)
            for number in range(most if label < 8 else 1):
                images[number].save(place / f"{number}.JPEG")
    return folder


@pytest.mark.parametrize("name", TRAINED)
def test_a_notebook_trains_the_papers_own_rows(name, drawn, tmp_path_factory, monkeypatch):
    rows, row = TRAINED[name]
    home = tmp_path_factory.getbasetemp() / "home"  # they share the dense networks
    (home / "results").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PRUNE_HOME", str(home))
    out = home / f"{name}.ipynb"
    given = {"budget": "tiny", "rows": rows, "data_dir": str(drawn), "device": "cpu", "set": {"sample": 16}}
    execute(ROOT / "notebooks" / f"{name}.py", out, given, progress=False)
    assert failure(out) is None
    (path,) = (home / "results" / "own" / row.replace("/", "-")).rglob("tiny-*.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["of"], record["recipe"]["epochs"]) == ("finished", row, 2)
    assert record["provenance"]["data"]["name"] == "imagenet"
    assert (record["provenance"]["data"]["train"], len(record["curves"]["loss"])) == (16, 2)
    assert f"{row}, sample=16" in out.read_text()


def test_a_row_that_is_not_there_or_cannot_be_trained_is_refused(monkeypatch, tmp_path):
    from prune_lib.book.trained import train
    from prune_lib.system.errors import InputError

    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="no row 'resnet51' here; expected all, or some of: resnet18 resnet50"):
        train("cdp/imagenet", "resnet51", "tiny")
    with pytest.raises(InputError, match="filterexpo/imagenet/resnet18_1g is not trained here"):
        train("filterexpo/imagenet", "resnet18_1g", "tiny")
    for rows, budget in (("", "tiny"), ("all", "")):
        shown = train("dcff/imagenet", rows, budget)
        assert not shown.records
        assert "Nothing is trained on this page" in str(shown)
        assert "Nothing is trained on this page" in shown._repr_html_()
