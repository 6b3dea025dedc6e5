"""What a run leaves behind, what it refuses, and whom it waits for, one record field at a time."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from prune_lib.cli import parser
from prune_lib.cost.counting import cost, masked_flops
from prune_lib.nets import build
from prune_lib.nets.units import to_yaml
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import BUDGETS, all_rows, get_row
from prune_lib.runs import records, runner
from prune_lib.runs.history import Diverged
from prune_lib.runs.records import Run
from prune_lib.system.checkpoint import digest
from prune_lib.system.errors import InputError

SMOKE = Recipe(data="digits", epochs=2, batch_size=40, lr=0.05, heldout=20, train_images=80)
PAPER = get_row("dcff/cifar10/resnet56")
ROW = dataclasses.replace(
    PAPER, id="dcff/test/resnet20", arch="resnet20", rates="[0.8]*9+[0.5]*3", recipes=dict.fromkeys(BUDGETS, SMOKE)
)


def _run(row=ROW, budget="smoke", seed=0, **options):
    return runner.run(row, budget, seed, **{"device": "cpu", "progress": False} | options)


def _refuses(*_, **__):
    raise AssertionError("trained again")


def _files(project):
    return sorted(path.relative_to(project / "results").as_posix() for path in (project / "results").rglob("*.json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in which ROW has been run once, and the record that the run returned."""
    with pytest.MonkeyPatch.context() as patch:
        project = tmp_path_factory.mktemp("project")
        patch.setenv("PRUNE_HOME", str(project))
        return project, _run()


def test_a_run_leaves_one_record_with_all_that_it_came_from(finished):
    project, _ = finished
    assert _files(project) == [f"dcff/test/resnet20/smoke-seed0-{ROW.key('smoke')}.json"]
    record = json.loads((project / "results" / _files(project)[0]).read_text())
    facts = {name: record[name] for name in ("schema", "row", "budget", "seed", "key", "status", "arch", "rates")}
    assert facts == {
        "schema": 1, "row": ROW.id, "budget": "smoke", "seed": 0, "key": ROW.key("smoke"), "status": "finished",
        "arch": "resnet20", "rates": "[0.8]*9+[0.5]*3",
    }  # fmt: skip
    assert record["method"] == {"name": "dcff", "variant": "authors"}
    assert Recipe.from_dict(record["recipe"]) == SMOKE
    for name in ("heldout_top1", "test_top1", "loss", "temperature"):
        assert len(record["curves"][name]) == 2
    metrics, curves = record["metrics"], record["curves"]
    for protocol, epoch in (("last", 1), ("selected", metrics["epoch_selected"])):
        assert metrics[f"top1_{protocol}"] == curves["test_top1"][epoch]
    assert metrics["top1_test_best"] == max(curves["test_top1"])
    assert metrics["rule"] == "thop-0.0.31"
    assert set(record["networks"]) == {"last", "selected", "test_best"}


def test_the_record_names_code_versions_machine_data_and_times(finished):
    provenance = finished[1]["provenance"]
    assert provenance["code"].startswith("0.1.0")
    assert {"python", "torch", "numpy"} <= set(provenance["versions"])
    assert provenance["hardware"]["device"] == "cpu"
    assert provenance["deterministic"] is True
    assert len(provenance["data"].pop("sha256")) == 64
    assert provenance["data"] == {"name": "digits", "train": 80, "heldout": 20, "test": 300}
    assert provenance["wall_seconds"] > 0
    assert provenance["started"] <= provenance["ended"]
    assert provenance["started"].endswith("+00:00")


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
    project, record = finished
    monkeypatch.setenv("PRUNE_HOME", str(project))
    monkeypatch.setattr("prune_lib.runs.training.train", _refuses)
    files = {name: (project / "results" / name).read_bytes() for name in _files(project)}
    again = _run()
    assert again["networks"] == record["networks"]
    assert again == json.loads(next(iter(files.values())))
    assert {name: (project / "results" / name).read_bytes() for name in _files(project)} == files


def test_run_again_leaves_a_second_record_beside_the_first(tmp_path, monkeypatch, finished, capsys):
    """And a run that was not made says so, with the day, the code and the file of its record."""
    project, first = finished
    shutil.copytree(project, tmp_path / "copy")
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path / "copy"))
    monkeypatch.setattr("prune_lib.papers.rows.all_rows", lambda: {ROW.id: ROW})
    assert parser.main(["run", ROW.id, "--device", "cpu", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["networks"] == first["networks"]
    file = tmp_path / "copy" / "results" / _files(project)[0]
    day, code = first["provenance"]["ended"][:10], first["provenance"]["code"]
    assert said.err == f"nothing was run: {file} is of {day}, code {code}; --again runs it once more\n"
    assert parser.main(["run", ROW.id, "--device", "cpu", "--again"]) == 0
    said = capsys.readouterr()
    assert "nothing was run" not in said.err
    assert _files(tmp_path / "copy") == sorted([*_files(project), _files(project)[0].replace(".json", "-2.json")])
    old, new = (json.loads(path.read_text()) for path in Run(ROW, "smoke", 0).files)
    assert old["networks"] == new["networks"] == first["networks"]
    assert new["provenance"]["started"] >= old["provenance"]["ended"]
    assert records.find(Run(ROW, "smoke", 0)) == old  # the first that ended counts
    for path, record in zip(Run(ROW, "smoke", 0).files, (old, new), strict=True):  # within one second too
        same = record["provenance"] | {"ended": "2026-01-01T00:00:00+00:00"}
        path.write_text(json.dumps(record | {"provenance": same}))
    assert records.find_file(Run(ROW, "smoke", 0))[0] == Run(ROW, "smoke", 0).files[0]


def test_a_record_without_weights_says_how_to_have_them(tmp_path, monkeypatch, finished):
    shutil.copytree(finished[0] / "results", tmp_path / "results")
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    words = r"no weights last of .*, smoke, seed 0 here; .*: prune run .* --budget smoke --seed 0 --again$"
    with pytest.raises(InputError, match=words):
        runner.network(ROW, "smoke")
    kept = Run(ROW, "smoke", 0).kept("last")
    shutil.copy(finished[0] / "runs" / ROW.id / Run(ROW, "smoke", 0).stem / "last.safetensors", kept)
    assert digest(runner.network(ROW, "smoke").state_dict()) == finished[1]["networks"]["last"]["sha256"]


def test_a_dense_network_that_is_committed_is_pruned_and_not_trained_again(project, monkeypatch):
    """On another machine, where its run has left nothing but the record and the kept weights."""
    row = all_rows()["cfdp/resnet20-study/r20_cfdp"]
    trained = runner.run(row.start, "smoke", device="cpu", progress=False)
    dense = Run(all_rows()[row.start], "smoke", 0)
    shutil.copy(dense.network("selected"), dense.kept("selected"))
    shutil.rmtree(project / "runs")
    pruned = runner.run(row, "smoke", device="cpu", progress=False)
    assert pruned["found"]["start"]["sha256"] == trained["networks"]["selected"]["sha256"]
    assert dense.files == [dense.files[0]]
    assert not (project / "runs" / row.start).exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("cdp/resnet20-study/s30_cdp", "cdp finds the widths itself, so it takes no --units; expected a row of one of"),
        ("filterexpo/resnet20-study/explore", "filterexpo finds the widths itself, so it takes no --units"),
        ("filterexpo/imagenet/resnet18_1g", "it is not trained here, so it takes no --units"),
    ],
)
def test_own_widths_are_for_methods_that_are_given_widths(project, tmp_path, row, words, capsys):
    path = tmp_path / "units.yaml"
    path.write_text(to_yaml(get_row(row).arch))
    assert parser.main(["run", row, "--units", str(path), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith(f"prune: {row}: {words}")


def test_own_widths_are_pruned_by_a_method_that_is_given_widths(project, tmp_path):
    """CFDP chooses the filters of a trained network, not how many they are."""
    row = get_row("cfdp/resnet20-study/r50_cfdp")
    row = dataclasses.replace(row, recipes={"smoke": dataclasses.replace(SMOKE, epochs=1)})
    own = row.with_widths({"layer1.0.conv1": 3})
    torch.manual_seed(0)
    save_file(build("resnet20").state_dict(), tmp_path / "dense.safetensors")
    record = _run(own, weights=tmp_path / "dense.safetensors")
    assert (record["row"], record["status"]) == (own.id, "finished")
    assert record["metrics"]["params"] == cost("resnet20", own.widths, "macs").params


def test_its_networks_are_kept_and_its_state_is_not(finished, monkeypatch):
    project, record = finished
    monkeypatch.setenv("PRUNE_HOME", str(project))
    folder = Run(ROW, "smoke", 0).folder
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".safetensors", ".safetensors", ".safetensors"]
    for protocol, about in record["networks"].items():
        network = runner.network(ROW, "smoke", 0, protocol)
        assert digest(network.state_dict()) == about["sha256"]
    with pytest.raises(InputError, match="no weights last of dcff/test/resnet20, smoke, seed 5 here"):
        runner.network(ROW, "smoke", 5)


def test_a_record_is_never_overwritten_and_a_diverged_run_is_no_result(project, monkeypatch):
    def diverge(*_, **__):
        raise Diverged("epoch 2: the training loss is nan; expected a number")

    monkeypatch.setattr("prune_lib.runs.training.train", diverge)
    first = _run()
    assert (first["status"], first["error"]) == ("diverged", "epoch 2: the training loss is nan; expected a number")
    path = project / "results" / _files(project)[0]
    before = path.read_bytes()
    _run()
    stem = f"dcff/test/resnet20/smoke-seed0-{ROW.key('smoke')}"
    assert _files(project) == [f"{stem}-2.json", f"{stem}.json"]
    assert path.read_bytes() == before
    assert records.find(Run(ROW, "smoke", 0)) is None
    assert records.best_record(ROW) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"row": "dcff/cifar10/vgg19"}, r"unknown row 'dcff/cifar10/vgg19'; expected such as dcff/cifar10/vgg16 "),
        ({"budget": "long"}, "unknown budget 'long'; expected one of: smoke tiny short fast paper"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"seed": 2**31}, "seed is 2147483648; expected"),
        ({"seed": 1.0}, "seed is 1.0; expected"),
        ({"seed": "0"}, "seed is '0'; expected"),
        ({"seed": True}, "seed is True; expected"),
        ({"device": "tpu"}, "device 'tpu' is not usable here"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_begins(project, options, words):
    with pytest.raises(InputError, match=words) as refusal:
        _run(**options)
    assert "\n" not in str(refusal.value)
    assert sorted(path.name for path in project.iterdir()) == ["notebooks", "results"]


def test_the_key_names_what_is_trained_and_nothing_else():
    key = ROW.key("smoke")
    for same in (
        {"reported": {"top1": "99.9%"}}, {"title": "another"}, {"source": "elsewhere"}, {"note": "a note"},
        {"tolerance": 9.0}, {"rates": " [0.8] * 9 + [0.5] * 3 "}, {"rule": "macs"},
        {"recipes": ROW.recipes | {"paper": Recipe()}},
    ):  # fmt: skip
        assert dataclasses.replace(ROW, **same).key("smoke") == key
    others = [
        dataclasses.replace(ROW, **other).key("smoke")
        for other in (
            {"rates": "[0.7]*9+[0.5]*3"}, {"rates": None}, {"arch": "resnet56"},
            {"method": {"name": "dcff", "variant": "paper"}}, {"method": {"name": "dense"}},
            {"recipes": {"smoke": dataclasses.replace(SMOKE, epochs=3)}},
            {"recipes": {"smoke": dataclasses.replace(SMOKE, lr=0.1)}},
        )
    ]  # fmt: skip
    assert len({key, *others}) == 8


def test_the_key_of_a_row_that_changed_finds_no_old_record(finished, monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(finished[0]))
    assert records.find(Run(ROW, "smoke", 0)) is not None
    assert records.find(Run(dataclasses.replace(ROW, title="another"), "smoke", 0)) is not None
    assert records.find(Run(dataclasses.replace(ROW, rates="[0.7]*9+[0.5]*3"), "smoke", 0)) is None
    assert records.find(Run(ROW, "smoke", 1)) is None
    assert records.find(Run(ROW, "short", 0)) is None
    assert records.best_record(ROW)["seed"] == 0


HOLD = """
import sys
from pathlib import Path
from prune_lib.system.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_under_way_elsewhere_is_waited_for_until_its_process_is_gone(project, monkeypatch, capsys):
    monkeypatch.setattr("prune_lib.runs.runner._run", lambda *_: {"status": "ran"})
    folder = Run(ROW, "smoke", 0).folder
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert _run(seed=1) == {"status": "ran"}  # another run is another folder
        assert "waiting" not in capsys.readouterr().out
        end = threading.Timer(1.0, lambda: other.send_signal(signal.SIGKILL))
        end.start()
        assert _run() == {"status": "ran"}
        assert other.wait() == -signal.SIGKILL
        end.join()
    assert "is being run by another process; waiting for it" in capsys.readouterr().out


def _damaged(project, text):
    path = project / "results" / ROW.id / "smoke-seed0-x.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


WHOLE = {"status": "finished", "budget": "smoke", "key": ROW.key("smoke"), "seed": 0}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', json.dumps({"status": "finished"}), json.dumps(WHOLE)[:-9], "\x00" * 40],
)
def test_a_damaged_record_is_named(project, text):
    path = _damaged(project, text)
    with pytest.raises(InputError, match="not a record") as refusal:
        _run()
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("change", [{"seed": ...}, {"budget": "long"}, {"budget": 3}, {"budget": ["smoke"]}])
def test_a_record_that_lacks_what_names_a_run_is_named(project, change):
    fields = {name: value for name, value in (WHOLE | change).items() if value is not ...}
    path = _damaged(project, json.dumps(fields))
    with pytest.raises(InputError, match="not a record") as refusal:
        list(records.records(ROW)), records.find(Run(ROW, "smoke", 0))
    assert str(refusal.value).startswith(str(path))


def test_figures_are_kept_to_seven_digits_and_what_is_no_number_as_null():
    assert records.rounded({"a": [1.23456789, float("nan")], "b": (7, "x", float("inf"))}) == {
        "a": [1.234568, None], "b": [7, "x", None],
    }  # fmt: skip


def test_rows_share_a_key_only_if_they_train_the_same():
    what = {}
    for row in (row for row in all_rows().values() if row.method):
        for budget in row.recipes:
            same = (row.arch, row.rates, row.layout, row.method, row.recipes[budget])
            assert what.setdefault(row.key(budget), same) == same, (row.id, budget)
    assert len(what) > 200


def test_a_row_without_a_method_is_not_trained(project):
    with pytest.raises(InputError, match="filterexpo/imagenet/resnet18_1g is not trained here: "):
        _run(row="filterexpo/imagenet/resnet18_1g")


def test_an_interrupted_run_goes_on_to_the_same_end(finished, project, monkeypatch):
    from prune_lib.papers.dcff import DCFF

    on_epoch = DCFF.on_epoch

    def interrupted(self, model, epoch, epochs):
        if epoch == 1:
            raise KeyboardInterrupt
        return on_epoch(self, model, epoch, epochs)

    monkeypatch.setattr(DCFF, "on_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run()
    assert records.find(Run(ROW, "smoke", 0)) is None
    assert list((project / "runs").rglob("state.safetensors"))
    monkeypatch.setattr(DCFF, "on_epoch", on_epoch)
    again = _run()
    assert (again["networks"], again["metrics"]) == (finished[1]["networks"], finished[1]["metrics"])


def test_records_written_at_once_are_all_kept_whole(project):
    record = {"status": "finished", "budget": "smoke", "seed": 0, "key": ROW.key("smoke"), "text": "x" * 50_000}
    record |= {name: {} for name in ("metrics", "curves", "networks", "provenance")}
    together = [
        threading.Thread(target=records.append, args=(Run(ROW, "smoke", 0), {**record, "n": n})) for n in range(12)
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert sorted(found["n"] for found in records.records(ROW)) == list(range(12))


def test_a_trained_network_is_pruned_and_the_record_says_which(project, tmp_path):
    torch.manual_seed(0)
    dense, path = build("resnet20"), tmp_path / "dense.safetensors"
    save_file(dense.state_dict(), path)
    row = get_row("cdp/resnet20-study/s30_cdp")
    short = dataclasses.replace(row.recipes["smoke"], epochs=1, train_images=80, heldout=20)
    row = dataclasses.replace(row, recipes={**row.recipes, "smoke": short})
    record = runner.run(row, "smoke", device="cpu", progress=False, weights=path)
    found, metrics = record["found"], record["metrics"]
    assert found["start"] == {"weights": "dense.safetensors", "sha256": digest(dense.state_dict())}
    assert metrics["flops"] == masked_flops("resnet20", found["kept"])
    assert metrics["macs_slim"] == cost("resnet20", found["widths"], "macs").flops
    assert 0 <= metrics["top1_before"] <= 100
    compact = runner.network(row, "smoke")
    assert {c: compact.get_submodule(c).out_channels for c in found["widths"]} == found["widths"]
    with pytest.raises(InputError, match="prunes a trained resnet20; name its weights with --weights"):
        runner.run(dataclasses.replace(row, start=""), "smoke", seed=1, device="cpu", progress=False)
