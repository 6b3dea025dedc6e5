"""``prune doctor`` says what is well, what is not, and what to do about it."""

import json
import sys

from prune_lib.cli import doctor
from prune_lib.cli.parser import main


def test_a_machine_on_which_runs_work(project, monkeypatch, capsys):
    monkeypatch.delenv("PRUNE_DATA", raising=False)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert by_name["training"]["says"] == "10 steps; killed, resumed at step 6, bit for bit the same"
    assert by_name["locks"]["ok"]
    assert by_name["data imagenet"]["says"] == f"not there: looked for {project}/data/imagenet/train"
    assert {f"extra {name}" for name in ("book", "lab", "export", "tasks", "batch")} <= set(by_name)
    assert {path.name for path in project.rglob("*")} == {"results", "notebooks"}


def test_what_keeps_runs_from_working_is_named_and_ends_with_one(project, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_training", lambda: doctor.Finding("training", False, "it stopped: x", needed=True))
    (project / "results").rmdir()
    (project / "results").symlink_to("/proc")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"WRONG results/         {project}/results cannot be written" in said
    assert "WRONG training         it stopped: x" in said
    assert said.rstrip().endswith("'prune run' does not work here: see what is WRONG above")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor, "_installed", lambda name: name != "onnx")
    (export,) = [finding for finding in doctor._extras() if finding.name == "extra export"]
    assert (export.ok, export.says) == (False, "missing: onnx")
    assert export.mend == f"{sys.executable} -m pip install 'onnx>=1.17'"
