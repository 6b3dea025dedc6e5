"""The queue runs what has no record, and networks that are kept load in one line."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

import prune_lib
from prune_lib.nets.weights import read_weights
from prune_lib.papers.rows import get_row
from prune_lib.runs import kept, queue, records
from prune_lib.runs.records import Run
from prune_lib.system.checkpoint import digest
from prune_lib.system.errors import InputError

STUDY = "cdp/resnet20-study"
ROWS = (f"{STUDY}/s30_cdp",)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def test_what_a_card_is_spent_on_first(project):
    found = [job.row.id for job in queue.jobs([], "paper", [0, 1])]
    assert found[:4] == [f"dcff/cifar10/{net}" for net in ("vgg16", "resnet56", "resnet110", "googlenet")]
    assert found.index("cdp/cifar10-dense/resnet20") < found.index("cdp/cifar10/resnet20")
    assert found[: len(found) // 2] == found[len(found) // 2 :]  # the second seed after all of the first
    assert not any("imagenet" in name for name in found)
    named = [job.row.id for job in queue.jobs(["cdp/*/s30_cdp"], "smoke", [0])]
    assert named == ["cdp/cifar10-dense/resnet20", f"{STUDY}/s30_cdp"]
    assert [job.row.id for job in queue.jobs(["cdp/*/s30_cdp"], "smoke", [0], weights="x")] == named[1:]
    with pytest.raises(InputError, match=r"no row that can be trained is called 'x/\*'"):
        queue.jobs(["x/*"], "smoke", [0])
    with pytest.raises(InputError, match="unknown budget 'long'"):
        queue.jobs([], "long", [0])
    with pytest.raises(InputError, match="0 jobs at a time; expected at least 1"):
        queue.work([], 0)


def test_a_killed_queue_started_again_runs_the_rest(project):
    """The first is killed in the dense run that the row waits for; the second goes on from there."""
    words = [sys.executable, "-m", "prune_lib", "queue", "--rows", *ROWS, "--jobs", "2", "--device", "cpu"]
    first = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL)
    dense, deadline = get_row("cdp/cifar10-dense/resnet20"), time.monotonic() + 60
    while not (Run(dense, "smoke", 0).folder / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not list((project / "results").rglob("*.json"))
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {job["row"]: job["status"] for job in json.loads(done.stdout)} == dict.fromkeys(
        (dense.id, *ROWS), "finished"
    )
    assert [records.find(Run(get_row(name), "smoke", 0))["status"] for name in ROWS] == ["finished"]
    assert queue.jobs(ROWS, "smoke", [0]) == []
    assert "finished" in done.stderr

    # and what it left can be kept, and loaded in one line
    path = kept.publish(ROWS[0], "smoke")
    card = path.with_suffix(".md").read_text()
    record = records.find(Run(get_row(ROWS[0]), "smoke", 0))
    assert f"{record['metrics']['top1_last']:.2f} %" in card
    loaded = prune_lib.load(ROWS[0], "smoke")
    assert sum(p.numel() for p in loaded.parameters()) == record["metrics"]["params"]
    assert loaded(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    path.unlink()
    again = prune_lib.load(ROWS[0], budget="smoke", protocol="last")  # from runs/
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))
    (Run(get_row(ROWS[0]), "smoke", 0).folder / "last.safetensors").write_bytes(
        (Run(dense, "smoke", 0).folder / "last.safetensors").read_bytes()
    )
    with pytest.raises(InputError, match=r"no record of .* is of these weights"):
        kept.publish(ROWS[0], "smoke")


def test_a_run_under_way_elsewhere_is_left_alone_and_a_failure_is_told(project):
    import fcntl

    job = queue.jobs(ROWS[:1], "smoke", [0])[-1]
    folder = Run(job.row, "smoke", 0).folder
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert queue.work([job], every=0.01)[0].status == "elsewhere"
    job = queue.jobs(ROWS[:1], "smoke", [0])[-1]
    options = ["--weights", str(project / "none.safetensors"), "--device", "cpu"]
    assert queue.work([job], every=0.05, options=options)[0].status == "failed"
    assert "no weights at" in job.last_words()


def test_weights_that_are_not_there_are_named(project):
    with pytest.raises(InputError, match=r"no trained weights of dcff/cifar10/vgg16 \(paper, 7\) here"):
        prune_lib.load("dcff/cifar10/vgg16", "paper", 7)
    with pytest.raises(InputError, match="unknown budget 'long'"):
        prune_lib.load("dcff/cifar10/vgg16", "long")
    with pytest.raises(InputError, match="unknown row"):
        prune_lib.load("x")
    with pytest.raises(InputError, match="unknown protocol 'x'"):
        kept.publish(ROWS[0], "smoke", protocol="x")
    with pytest.raises(InputError, match="no weights last of"):
        kept.publish(ROWS[0], "smoke")


def test_what_cannot_be_run_is_refused_by_name_and_planned_by_nobody(project):
    """A row whose widths are not public, by a method that must be given them; and one with nothing to prune."""
    name, words = "dcff/imagenet/mobilenet_v2", r"cannot be trained: the repository .*; expected own widths"
    for refused in (prune_lib.run, lambda row, budget: queue.jobs([row], budget, [0])):
        with pytest.raises(InputError, match=f"^{name} {words}"):
            refused(name, "short")
    assert not any(row.id == name for row in queue.planned(["*"], "short"))
    alone = dataclasses.replace(get_row("cfdp/imagenet/resnet50"), start="")
    with pytest.raises(InputError, match=f"^{alone.id} prunes a trained resnet50; name its weights with --weights"):
        prune_lib.run(alone, "short")
    assert any(row.id == "cfdp/imagenet/resnet50" for row in queue.planned(["*"], "short", dense=False))
    assert not list(project.rglob("*.json")) + list(project.glob("runs"))
    for row in queue.planned(["*"], "smoke"):
        assert row.finds_widths or row.widths


def test_a_row_that_is_finished_from_other_weights_is_not_skipped_in_silence(project, tmp_path):
    row, paths = get_row(ROWS[0]), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"dense{seed}.safetensors")
        save_file(prune_lib.build("resnet20").state_dict(), paths[-1])
    run = records.Run(row, "smoke", 0)
    made = {"budget": "smoke", "seed": 0, "key": run.key, "status": "finished", "row": row.id}
    made |= {name: {} for name in ("metrics", "curves", "networks", "provenance")}
    start = {"weights": paths[0].name, "sha256": digest(read_weights(paths[0]))}
    records.append(run, made | {"found": {"start": start}})
    assert queue.jobs(ROWS, "smoke", [0], weights=paths[0]) == []
    assert [job.seed for job in queue.jobs(ROWS, "smoke", [0, 1], weights=paths[0])] == [1]
    with pytest.raises(InputError, match=r"s30_cdp, smoke, seed 0 has a record made from other weights \(dense0"):
        queue.jobs(ROWS, "smoke", [0, 1], weights=paths[1])


def test_every_committed_network_is_that_of_its_record_and_loads():
    root = kept.CHECKOUT / "results"
    files = sorted(root.rglob("*.safetensors"))
    assert files
    for path in files:
        stem, protocol = path.name.removesuffix(".safetensors").rsplit(".", 1)
        record = json.loads((path.parent / f"{stem}.json").read_text())
        assert digest(read_weights(path)) == record["networks"][protocol]["sha256"], path
        assert path.stat().st_size <= kept.LARGEST
        said = path.with_suffix(".md").read_text()
        assert said == kept.card(path, record, path.stat().st_size)
        assert f"{record['metrics'][f'top1_{protocol}']:.2f} %" in said
        assert ("Superseded" in said) == bool(records.Run.named(get_row(record["row"]), stem).superseded)
        loaded = prune_lib.load(record["row"], record["budget"], record["seed"], protocol)
        assert sum(p.numel() for p in loaded.parameters()) == record["metrics"]["params"]
