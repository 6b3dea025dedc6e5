"""A wheel, unpacked in an empty folder with what it depends on and nothing else: what needs no notebook works."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from prune_lib.book.tables.table import load_table
from prune_lib.system.errors import InputError, needs

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMITTED = {  # what of results/ a wheel has to hold
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "results").rglob("*.json")
    if path.parent.name != "browser" and not path.name.startswith("smoke-")
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built in a copy of what it is built from."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("prune_lib", "results"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    (copy / "results" / "smoke-seed0-0000000000.json").write_text("{}", encoding="utf-8")  # never committed
    script = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    built = subprocess.run([sys.executable, "-c", script], cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Runs commands of the wheel in an empty folder, in a Python that sees no extra: ``bare([words, …])``."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PRUNE_", "PYTHON", "COV"))}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(commands):
        words = [sys.executable, str(ROOT / "tests" / "bare.py"), json.dumps(commands)]
        done = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert Path(found["from"]).is_relative_to(site)
        assert found["hidden"] == []
        return found["done"]

    run.folder = empty
    return run


def test_the_wheel_holds_tables_digits_and_committed_records_and_no_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.removeprefix("prune_lib/") for name in names if name.startswith("prune_lib/results/")} == COMMITTED
    assert len(COMMITTED) > 50
    for name in (*(f"papers/{path.name}" for path in (ROOT / "prune_lib/papers").glob("*.yaml")), "tasks/digits.npz"):
        assert f"prune_lib/{name}" in names
    assert not [name for name in names if name.endswith((".safetensors", ".pt"))]
    assert wheel.stat().st_size < 2 * 2**20


def test_a_base_install_does_all_that_needs_no_notebook(bare, monkeypatch):
    row, table = "arena/tries/b", "filterexpo/resnet20-study"
    cost, rows, shown, digits, made = bare([
        ["cost", "vgg16", "--rates", "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6", "--rule", "all", "--json"],
        ["rows", "--json"],
        ["table", table, "--json"],
        ["data", "digits", "--json"],
        ["run", row, "--quiet", "--json"],
    ])  # fmt: skip
    assert [each["code"] for each in (cost, rows, shown, digits, made)] == [0] * 5, (cost, rows, shown, digits, made)
    assert {each["rule"]: each["flops"] for each in json.loads(cost["out"])}["thop-0.0.31"] == 72_771_956
    assert len(json.loads(rows["out"])) > 100
    monkeypatch.setenv("PRUNE_HOME", str(ROOT))
    assert json.loads(shown["out"]) == json.loads(json.dumps(load_table(table).to_json()))
    assert "top1" in shown["out"]
    assert json.loads(digits["out"])["train"] == 1497
    assert json.loads(made["out"])["status"] == "finished"
    [weights] = bare.folder.glob(f"runs/{row}/smoke-*/last.safetensors")
    there = sorted(bare.folder.glob(f"results/{row}/*.json"))
    exported, counted, onnx, book, boxes, again = bare([
        ["export", str(weights), "--to", "safetensors", "--out", "out.safetensors"],
        ["cost", "--weights", str(weights), "--json"],
        ["export", str(weights), "--to", "onnx", "--out", "out.onnx"],
        ["book"],
        ["run", "mmrazor/detection-small/dcff", "--quiet"],
        ["run", row, "--quiet", "--json"],
    ])  # fmt: skip
    assert (exported["code"], counted["code"], again["code"]) == (0, 0, 0), (exported, counted, again)
    assert (bare.folder / "out.safetensors").stat().st_size > 2**20
    assert sorted(bare.folder.glob(f"results/{row}/*.json")) == there
    for refused, line in (
        (onnx, "it comes with the extra export: pip install 'prune_lib[export]'"),
        (book, "no book in"),
        (boxes, "pycocotools is not installed; it comes with the extra tasks: pip install 'prune_lib[tasks]'"),
    ):
        assert refused["code"] == 2, refused
        assert line in refused["err"]
        assert refused["err"].count("\n") == 1
    assert not list(bare.folder.glob("out.onnx*"))


def test_what_is_missing_is_named_with_the_command_that_installs_it():
    with pytest.raises(InputError) as caught, needs("tasks"):
        import no_such_package_of_anybody  # noqa: F401
    assert str(caught.value) == (
        "no_such_package_of_anybody is not installed; it comes with the extra tasks: pip install 'prune_lib[tasks]'"
    )


def test_every_extra_that_the_library_asks_for_is_one_of_the_projects():
    import ast

    asked = {
        node.args[0].value
        for path in (ROOT / "prune_lib").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "needs"
    }
    assert {"book", "export", "lab", "tasks"} <= asked <= set(PROJECT["optional-dependencies"])


def test_the_digits_are_scikit_learns():
    import numpy as np
    from sklearn.datasets import load_digits

    theirs = load_digits()
    with np.load(ROOT / "prune_lib/tasks/digits.npz", allow_pickle=False) as ours:
        assert np.array_equal(ours["images"], theirs.images)
        assert np.array_equal(ours["labels"], theirs.target)
