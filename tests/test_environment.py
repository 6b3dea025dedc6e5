"""``environment.yml`` is ``requirements.lock`` for conda: the same pins, and no address to fetch them from."""

import re
import runpy
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK, ENVIRONMENT = ROOT / "requirements.lock", ROOT / "environment.yml"
PIN = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^;]+)?")
ADDRESS = re.compile(r"://| @ |--?(extra-)?index|--find-links|\.(org|com|net|io)\b")


def test_environment_is_what_make_lock_writes():
    environment = runpy.run_path(str(ROOT / "tools" / "environment.py"))["environment"]
    assert ENVIRONMENT.read_text(encoding="utf-8") == environment(LOCK.read_text(encoding="utf-8")), "run 'make lock'"


def test_conda_reads_the_lock_line_for_line_markers_included():
    found = yaml.safe_load(ENVIRONMENT.read_text(encoding="utf-8"))
    python, pip, pins = found["dependencies"]
    assert (found["name"], python, pip) == ("prune-book", "python>=3.11", "pip")
    assert pins == {"pip": LOCK.read_text(encoding="utf-8").splitlines()}


def test_every_line_of_the_lock_is_an_exact_pin():
    assert [line for line in LOCK.read_text(encoding="utf-8").splitlines() if not PIN.fullmatch(line)] == []


def test_the_lock_pins_all_that_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [Requirement(line) for line in LOCK.read_text(encoding="utf-8").splitlines()]
    del project["optional-dependencies"]["counters"]  # other people's, beside which ours are tested where they are
    asked = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    for wanted in map(Requirement, asked):
        if wanted.name != project["name"]:
            versions = [pin.specifier for pin in pins if canonicalize_name(wanted.name) == pin.name]
            assert versions, f"{wanted} is not in requirements.lock; run 'make lock'"
            assert all(wanted.specifier.contains(str(pin).removeprefix("==")) for pin in versions), wanted


@pytest.mark.parametrize("path", [LOCK, ENVIRONMENT], ids=lambda path: path.name)
def test_no_address_of_a_registry(path):
    assert ADDRESS.search(path.read_text(encoding="utf-8")) is None


@pytest.mark.parametrize(
    "line", ["--index-url x", "--extra-index-url x", "--find-links x", "a @ b", "https://a", "a.org/b"]
)
def test_an_address_would_be_seen(line):
    assert ADDRESS.search(line)
