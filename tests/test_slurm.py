"""mmrazor's Slurm commands, with an ``srun`` in Slurm's place that starts the tasks as Slurm would."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prune_lib.system import slurm
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SRUN = """#!{python}
# srun for one node: so many tasks, each told its number; the first that fails ends the others
import os, subprocess, sys
words, tasks = sys.argv[1:], 1
while words and words[0].startswith("-"):
    word = words.pop(0)
    if word == "-p":
        words.pop(0)
    name, _, value = word.partition("=")
    tasks = int(value) if name == "--ntasks" else tasks
about = dict(SLURM_NTASKS=str(tasks), SLURM_JOB_ID=str({job}), SLURM_STEP_ID="0", SLURM_STEP_NODELIST="localhost")
began = [
    subprocess.Popen(words, env=dict(os.environ, **about, SLURM_PROCID=str(n), SLURM_LOCALID=str(n)))
    for n in range(tasks)
]
codes = [process.wait() for process in began]
sys.exit(max(codes))
"""


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[003-007,12],login1", "gpu003"),
        ("a1,a2", "a1"),
        ("n[7,9]-ib", "n7-ib"),
        ("one", "one"),
        ("c[01-04]", "c01"),
    ],
)
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert slurm.first_of(nodes) == first


def test_a_task_is_told_what_torchrun_would_have_told_it():
    about = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "12"}
    told = slurm.as_torchrun({**about, "SLURM_STEP_NODELIST": "n[4-7]"})
    assert (told["RANK"], told["WORLD_SIZE"], told["LOCAL_RANK"], told["MASTER_ADDR"]) == ("3", "8", "1", "n4")
    assert told["MASTER_PORT"] == slurm.as_torchrun({**about, "SLURM_PROCID": "0"})["MASTER_PORT"]
    assert 20_000 <= int(told["MASTER_PORT"]) < 60_000
    assert slurm.as_torchrun({**about, "MASTER_PORT": "29500"})["MASTER_PORT"] == "29500"
    for name in about:
        with pytest.raises(InputError, match=rf"\${name} is .*; expected a number: start it by srun"):
            slurm.as_torchrun({**about, name: "x"})


def test_launchers_that_did_not_start_this(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="RANK is not set"):
        slurm.settle("pytorch")
    with pytest.raises(InputError, match="SLURM_PROCID is None"):
        slurm.settle("slurm")
    monkeypatch.setenv("RANK", "1")
    slurm.settle("pytorch")
    slurm.settle("none")
    assert "RANK" not in os.environ


@pytest.fixture
def called(tmp_path):
    """Calls a script of tools/ with two tasks on the stand-in ``srun``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text(SRUN.format(python=sys.executable, job=os.getpid()))
    (folder / "srun").chmod(stat.S_IRWXU)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "GPUS": "2", "PYTHON": sys.executable}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def call(script, *words):
        command = ["sh", str(ROOT / "tools" / script), "debug", "job", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


def test_classification_is_trained_and_tested_by_mmrazors_commands(called, tmp_path):
    """Two tasks train one network; one of them writes the record. Then its weights are evaluated by two tasks."""
    row, work = "mmrazor/classification/resnet50", tmp_path / "work"
    given = ["--resume", "--device", "cpu", "--cfg-options", "train_cfg.max_epochs=1", "train_dataloader.batch_size=2"]
    done = called("slurm_train.sh", row, work, *given, "heldout=0", "train_images=none", "sample=16")
    assert done.returncode == 0, done.stderr
    (path,) = (work / "results" / "own").rglob("smoke-*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "finished"
    assert record["provenance"]["processes"] == 2
    assert (record["recipe"]["epochs"], record["recipe"]["batch_size"], record["of"]) == (1, 16, row)
    (weights,) = (work / "runs").rglob("last.safetensors")
    done = called("slurm_test.sh", row, weights, "--data", "digits", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("on 300 test images of digits") == 1
    assert called("slurm_train.sh", row).returncode == 2
