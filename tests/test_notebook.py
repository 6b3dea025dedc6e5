import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from prune_lib.book.figures import gradcam
from prune_lib.book.site.notebook import TextHandler, check_parameters, execute, failure, parameters_of
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))

SMALL = textwrap.dedent(
    """
    # %% tags=["parameters"]
    epochs = 2
    budget = "smoke"

    # %%
    from prune_lib.book.site.notebook import check_parameters

    check_parameters(globals(), epochs=int, budget=("smoke", "short"))

    # %%
    print(10 // epochs, budget)
    """
)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def _printed(path):
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", []))


def test_a_text_notebook_runs_with_its_parameters(small, tmp_path):
    out = tmp_path / "out" / "small.ipynb"
    execute(small, out, {"epochs": 5})
    assert _printed(out).strip() == "2 smoke"
    assert failure(out) is None
    assert str(tmp_path) not in out.read_text(), "a published notebook names no path of the machine it ran on"
    assert [p.name for p in out.parent.iterdir()] == ["small.ipynb"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epoch": 5}, "small.py: unknown parameter 'epoch'; expected one of: epochs budget"),
        ({"epochs": "5"}, "parameter epochs is '5', str; expected int"),
        ({"budget": "large"}, "parameter budget is 'large'; expected one of: smoke short"),
        ({"epochs": 0}, "ZeroDivisionError"),
    ],
)
def test_a_notebook_that_fails_is_not_published(small, tmp_path, parameters, words):
    import papermill

    out = tmp_path / "out" / "small.ipynb"
    with pytest.raises((InputError, papermill.PapermillExecutionError)) as stop:
        execute(small, out, parameters)
    assert words in str(stop.value)
    assert not out.exists()
    failed = out.with_suffix(".failed.ipynb")
    assert not failed.exists() or "exception" in failure(failed)


def test_plain_papermill_reads_text_and_refuses_unknown_parameters(small, tmp_path):
    import papermill

    with pytest.warns(UserWarning, match="does not end in"), pytest.raises(papermill.PapermillExecutionError) as stop:
        papermill.execute_notebook(f"text:{small}", str(tmp_path / "o.ipynb"), {"sed": 1}, kernel_name="python3")
    assert "unknown parameter 'sed'; expected one of: epochs budget" in str(stop.value)


def test_parameters_are_checked_by_name_type_and_choice():
    check_parameters({"a": 1, "_hidden": 2, "In": [], "get_ipython": 3}, a=int)
    for given, words in (({"b": 1}, "unknown parameter 'b'"), ({"a": True}, "a is True, bool; expected int")):
        with pytest.raises(InputError, match=words):
            check_parameters(given, a=int)


def test_a_parameter_may_have_one_of_several_types():
    for value in ("epochs=1", {"epochs": 1}):
        check_parameters({"set": value}, set=(str, dict))
    with pytest.raises(InputError, match="parameter set is 3, int; expected str or dict"):
        check_parameters({"set": 3}, set=(str, dict))


def test_cells_may_be_run_once_more_in_the_same_kernel():
    names = {"a": 1}
    check_parameters(names, a=int)
    names |= {"later": [1], "a": 2}  # what the cells below made, and a parameter that was changed
    check_parameters(names, a=int)
    with pytest.raises(InputError, match="parameter a is 'two'"):
        check_parameters(names | {"a": "two"}, a=int)
    with pytest.raises(InputError, match="unknown parameter 'later'"):
        check_parameters({"a": 1, "later": [1]}, a=int)


SETTING = textwrap.dedent(
    """
    # %% tags=["parameters"]
    set = ""  # otherwise than the rows have it

    # %%
    from prune_lib.book.site.notebook import check_parameters

    check_parameters(globals(), set=(str, dict))

    # %%
    from prune_lib.runs import changed

    print(sorted(changed("dcff/cifar10/vgg16", "smoke", set).settings.items()))
    """
)


@pytest.mark.parametrize("way", ["-p", "-y", "-f"])
def test_papermill_gives_a_notebook_settings_as_a_text_or_as_yaml(way, tmp_path):
    (tmp_path / "setting.py").write_text(SETTING)
    (tmp_path / "given.yaml").write_text("set:\n  epochs: 1\n  lr: 2e-2\n")
    words = {
        "-p": ["-p", "set", "epochs=1 lr=0.02"],
        "-y": ["-y", "set: {epochs: 1, lr: 0.02}"],
        "-f": ["-f", str(tmp_path / "given.yaml")],
    }[way]
    out = tmp_path / "out.ipynb"
    tool = [sys.executable, "-m", "papermill", f"text:{tmp_path / 'setting.py'}", str(out), "--no-progress-bar"]
    done = subprocess.run([*tool, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _printed(out).strip() == "[('epochs', 1), ('lr', 0.02)]"


def _notebook(path, **cell):
    base = {"cell_type": "code", "source": "1", "execution_count": 1, "outputs": [], "metadata": {}}
    path.write_text(json.dumps({"cells": [base | cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_failures_are_found(tmp_path):
    path = tmp_path / "n.ipynb"
    assert failure(_notebook(path)) is None
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}
    assert failure(_notebook(path, outputs=[error])) == "n.ipynb, cell 1: E: v"
    assert failure(_notebook(path, execution_count=None)) == "n.ipynb, cell 1 was never executed"
    path.write_text("{}")
    assert failure(path).startswith("n.ipynb: not a notebook")
    path.write_text(json.dumps({"cells": [], "metadata": {"papermill": {"exception": True}}}))
    assert "exception" in failure(path)


def test_a_failed_notebook_fails_the_book(tmp_path):
    for name in ("_config.yml", "references.bib", "bibliography.md"):
        (tmp_path / name).write_text((ROOT / "book" / name).read_text())
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "book.css").touch()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: bibliography\nchapters:\n  - file: n\n")
    _notebook(tmp_path / "n.ipynb", execution_count=None)
    tool = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run([tool, "build", tmp_path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "n.ipynb, cell 1 was never executed" in done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebooks_are_text_with_parameters_and_nothing_worth_reusing(path):
    notebook = json.loads(TextHandler.read(f"text:{path}"))
    parameters = parameters_of(path)
    assert parameters
    assert ("set" in parameters) == ("budget" in parameters)  # what trains can be told how
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    code = "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    assert not re.search(r"^\s*class \w+", code, re.MULTILINE)
    toc = (ROOT / "book" / "_toc.yml").read_text()
    assert f"notebooks/{path.stem}\n" in toc


def test_maps_that_agree_and_maps_that_do_not():
    import torch

    ramp = torch.arange(100.0).view(1, 10, 10)
    assert gradcam.agreement(ramp, 3 * ramp + 1)[0] == pytest.approx((1, 1))
    assert gradcam.agreement(ramp, -ramp)[0] == pytest.approx((-1, 0))
    assert gradcam.agreement(ramp, torch.ones(1, 10, 10))[0] == (0.0, 0.0)


@pytest.mark.parametrize("arch", ["vgg16", "resnet20", "googlenet"])
def test_grad_cam_looks_at_every_network(arch):
    import torch

    from prune_lib.nets import ARCHS, build

    torch.manual_seed(0)
    maps = gradcam.grad_cam(build(arch), ARCHS[arch].cam_layer, torch.randn(2, 3, 32, 32), [1, 2])
    assert maps.shape == (2, 32, 32)
    assert maps.isfinite().all()
    assert 0 <= maps.min() <= maps.max() <= 1
