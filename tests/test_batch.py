"""The Snakefile: what it plans, and that what is done is not done again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prune_lib.papers.rows import get_row

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def snakemake(project):
    """Run the Snakefile in an empty project; its whole output."""

    def run(*words, config):
        command = [Path(sys.executable).with_name("snakemake"), "-s", ROOT / "Snakefile", *words, "--config", *config]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(project)}
        done = subprocess.run(
            command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return done.returncode, done.stdout

    return run


def _jobs(text):
    """``{rule: jobs}`` of a plan."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def test_the_plan_is_a_job_for_each_notebook_and_for_each_row_and_seed(snakemake, project):
    code, text = snakemake("-n", config=["rows=cdp/resnet20-study/s30_*", "seeds=2"])
    assert code == 0, text
    rows = 2 * (5 + 1)  # the dense network that the five prune comes first
    assert _jobs(text) == {"row": rows, "notebook": len(list((ROOT / "notebooks").glob("*.py"))), "all": 1}
    key = get_row("cdp/cifar10-dense/resnet20").key("smoke")
    mark = f"runs/batch/rows/cdp/cifar10-dense/resnet20/smoke-seed1-{key}.done"
    assert re.search(rf"rule row:\n    input: {mark}\n    output: \S+resnet20-study/s30_cdp/smoke-seed1", text)
    assert not (project / "runs").exists()


def test_words_that_mean_nothing_are_refused(snakemake):
    code, text = snakemake("-n", config=["row=x"])
    assert code != 0
    assert "unknown config row; expected one of: budget" in text


def test_a_notebook_is_run_once_and_again_when_a_parameter_changes(snakemake, project):
    config = ["notebooks=small"]
    (project / "notebooks" / "small.py").write_text(
        '# %% tags=["parameters"]\nbudget = "smoke"\nseed = 0\n\n# %%\nprint(budget, seed)\n'
    )
    code, text = snakemake("-c1", config=[*config, f"source={project}/notebooks"])
    assert code == 0, text
    out = project / "runs" / "batch" / "smoke" / "small.ipynb"
    assert "smoke 0" in out.read_text()
    code, text = snakemake("-n", config=[*config, f"source={project}/notebooks"])
    assert "Nothing to be done" in text
    code, text = snakemake("-n", config=[*config, f"source={project}/notebooks", "seed=1"])
    assert _jobs(text) == {"notebook": 1, "all": 1}
