"""``prune reproduce``: what has no record is planned, run, and the book is built; a page without its data says so."""

import json
from pathlib import Path

import pytest

from prune_lib.book.reproduce import plan
from prune_lib.book.site import build as site
from prune_lib.book.site.notebook import failure, parameters_for
from prune_lib.cli import main
from prune_lib.papers.rows import all_rows
from prune_lib.system.errors import DataMissing, InputError
from prune_lib.tasks import load

ROOT = Path(__file__).resolve().parent.parent
NEEDS_DATA = """\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A chapter
#
# What it is about.

# %% tags=["parameters"]
budget = ""
data_dir = ""

# %%
from prune_lib.tasks import load

load("cifar10", data_dir or None, heldout=0)

# %% [markdown]
# (place)=
# ## And more
"""


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A project without records or data."""
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    monkeypatch.delenv("PRUNE_DATA", raising=False)
    return tmp_path


def test_all_rows_of_the_papers_are_planned_or_left_out_by_name(empty):
    wanted = {n for n, row in all_rows().items() if not n.startswith("arena/") and not row.why_not("paper")}
    found = plan([], "paper", [0])
    left = {row for rows in found.without_data.values() for row in rows}
    planned = {job.row.id for job in found.jobs}
    assert planned | left == wanted
    assert not planned & left
    assert set(found.without_data) == {
        "cifar10", "imagenet", "coco", "coco-masks", "coco-300", "coco-keypoints", "cityscapes",
    }  # fmt: skip
    assert planned == {n for n in wanted if all_rows()[n].recipes["paper"].data.startswith("shapes")}
    assert planned
    assert "cifar10 is not here, so" in str(found)
    (empty / "data").mkdir()
    (empty / "data" / "cifar10.npz").write_text("")
    assert "cifar10" not in plan(["dcff"], "paper", [0]).without_data
    dense = [job.row.id for job in plan(["cdp"], "paper", [0, 1]).jobs]
    assert dense.index("cdp/cifar10-dense/resnet20") < dense.index("cdp/cifar10/resnet20")
    for names, budget, words in (
        (["hank"], "paper", "no paper 'hank'; expected some of: cdp"),
        ([], "x", "unknown bud"),
    ):
        with pytest.raises(InputError, match=words):
            plan(names, budget, [0])


def test_a_dry_run_runs_nothing_and_says_what_it_would_take(empty, capsys):
    (empty / "data").mkdir()
    (empty / "data" / "cifar10.npz").write_text("")
    words = ["reproduce", "dcff", "--budget", "tiny", "--dry-run", "--device", "H100", "--price", "2"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "dcff/cifar10/vgg16" in told.out
    assert "all of them, one after another" in told.out
    assert "imagenet is not here" in told.err
    assert not list(empty.rglob("*.json"))
    assert main(["reproduce", "mmrazor", "--budget", "tiny", "--dry-run", "--device", "H100"]) == 0
    assert "nothing would be run\nand 6 rows whose time is not known: mmrazor/" in capsys.readouterr().out


def test_what_is_missing_is_run_and_then_the_book_is_built(empty, capsys, monkeypatch):
    done = []

    def work(jobs, at_once, *, devices, options, tell):
        done.append(([job.row.id for job in jobs], at_once, devices, options))
        jobs[0].status = "failed"
        return jobs

    monkeypatch.setattr("prune_lib.runs.queue.work", work)
    monkeypatch.setattr(site, "build", lambda *args, **options: done.append(args) or empty / "index.html")
    assert main(["reproduce", "mmrazor", "--budget", "fast"]) == 2
    assert "can be trained at fast" in capsys.readouterr().err
    words = ["reproduce", "mmrazor", "--budget", "tiny", "--devices", "cuda:0", "cuda:1", "--jobs", "2", "--quiet"]
    assert main(words) == 1
    rows, at_once, devices, options = done[0]
    assert (len(rows), at_once, devices, options) == (6, 2, ["cuda:0", "cuda:1"], [])
    assert done[1][:3] == ("tiny", 0, "cuda:0")
    assert f"failed: {rows[0]} tiny seed 0" in capsys.readouterr().err


def test_a_page_without_its_data_says_what_is_missing_and_stands(empty, monkeypatch):
    with pytest.raises(DataMissing, match="no CIFAR-10 in"):
        load("cifar10", heldout=0)
    source, out = empty / "chapter.py", empty / "out" / "chapter.ipynb"
    source.write_text(NEEDS_DATA)
    problem, _, _ = site._execute(source, out, {"data_dir": str(empty / "nowhere")}, 1)
    assert problem == ""
    assert failure(out) is None
    text = json.loads(out.read_text())
    page = "".join(text["cells"][0]["source"])
    assert page.startswith("# A chapter\n\n:::{warning}\nThis page was built without its data")
    assert "no CIFAR-10 in the data folder" in page
    assert "(place)=" in "".join(text["cells"][1]["source"])
    assert str(empty) not in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["chapter.ipynb"]


def test_a_notebook_that_shows_recounts_is_not_told_smoke():
    page, other = ROOT / "notebooks" / "cdp_imagenet.py", ROOT / "notebooks" / "cdp_cifar10.py"
    given = {"budget": "smoke", "seed": 1, "interactive": "no"}
    assert parameters_for(page, given) == {"seed": 1}
    assert parameters_for(page, {**given, "budget": "tiny"}) == {"budget": "tiny", "seed": 1}
    assert parameters_for(other, given) == {"budget": "smoke", "seed": 1}
