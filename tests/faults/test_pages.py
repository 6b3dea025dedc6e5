"""Notebooks and the book: a kernel that is killed, text that would be code on a page, builds that only build."""

import ast
import dataclasses
import json
import re
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import crash
import pytest
import yaml

from prune_lib.book.site import build
from prune_lib.book.site.notebook import execute, failure
from prune_lib.book.tables import errata
from prune_lib.book.tables.table import Grid, load_table
from prune_lib.book.trained import Trained
from prune_lib.cli import parser
from prune_lib.runs import records
from prune_lib.runs.records import Run
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script>"
NOTEBOOK = textwrap.dedent(
    """
    # %% tags=["parameters"]
    killed = True

    # %%
    import sys

    sys.path[:0] = {paths!r}
    import crash
    from prune_lib.runs import history
    from prune_lib.runs import training
    from prune_lib.tasks import registry

    registry.load, history.Saver.share = crash.small_digits, float("inf")
    seen, step = [], training._Loop._step

    # %%
    import os
    import signal


    def one_more(*args):
        seen.append(1)
        if killed and len(seen) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args)


    training._Loop._step = one_more
    record = crash.run("dcff", None)

    # %%
    print(record["status"], len(seen))
    """
)


def test_a_kernel_killed_in_papermill_is_named_and_the_run_goes_on(project, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    row = crash.row_of("dcff")
    monkeypatch.setattr("prune_lib.papers.rows.all_rows", lambda: {})
    source, output = project / "notebooks" / "n.py", project / "book" / "n.ipynb"
    source.write_text(NOTEBOOK.format(paths=[str(ROOT / "tests" / "faults"), str(ROOT / "tests")]))
    with pytest.raises(InputError, match=r"n.py: its kernel died in cell \d.*goes on from its last state"):
        execute(source, output, {})
    assert not output.exists()
    assert failure(output.with_suffix(".failed.ipynb"))
    assert list(records.records(row)) == []
    assert records.unfinished(row) == ["smoke, seed 0: interrupted"]
    execute(source, output, {"killed": False})
    assert failure(output) is None
    assert "finished 5" in output.read_text()  # of nine steps; four were done before
    assert records.find(Run(row, "smoke", 0))["provenance"]["resumed"][0]["changed"] == {}


def test_the_book_names_a_kernel_that_died_and_ends_with_two(project, monkeypatch, capsys):
    (project / "book").mkdir()
    (project / "book" / "_config.yml").touch()
    (project / "notebooks" / "n.py").write_text(
        '# %% tags=["parameters"]\nseed = 0\n\n# %%\nimport os\n\nos.kill(os.getpid(), 9)\n'
    )
    assert parser.main(["book"]) == 2
    assert re.search(r"prune: n.py: its kernel died in cell \d", capsys.readouterr().err)
    assert not list((project / "book" / "notebooks").glob("n.ipynb"))


def test_text_of_rows_and_records_is_no_markup(project):
    """In every cell, caption and heading of what a notebook shows."""
    row = crash.row_of("dcff")
    row = dataclasses.replace(row, title=EVIL, note=EVIL, source=EVIL, reported={"top1": "90.0%"})
    record = {"status": "failed", "budget": "smoke", "key": row.key("smoke"), "seed": 0, "error": EVIL}
    records.append(Run(row, "smoke", 0), record)
    table = load_table("faults/small", {row.id: row})
    assert EVIL in str(table)
    shown = [table._repr_html_(), Grid([[EVIL, "b"], [EVIL, EVIL]], EVIL)._repr_html_()]
    shown.append(Trained([], [], [EVIL])._repr_html_())
    for page in shown:
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;script&gt;" in table.parts[1]._repr_html_().split("</caption>")[0]  # a run that failed, in the caption


def test_whatever_shows_itself_as_markup_does_so_through_one_function():
    """Outside of it no file of the library or notebook makes HTML, and Markdown is given fixed text and titles."""
    for path in [*(ROOT / "prune_lib").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("HTML", "Javascript", "IFrame"), path
            if isinstance(node, ast.FunctionDef) and node.name == "_repr_html_":
                known = (
                    "table.py",
                    "errata.py",
                    "results.py",
                    "claims.py",
                    "trained.py",
                    "captions.py",
                    "openings.py",
                    "made.py",
                )
                assert path.name in known, path  # each escapes, and is tested
    assert hasattr(errata, "Grid")


def test_the_book_executes_nothing_it_was_not_asked_to(project, monkeypatch):
    """Jupyter Book itself runs no code; papermill runs the notebooks of ``notebooks/``, and no others."""
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text())
    assert config["execute"] == {"execute_notebooks": "off"}
    assert set(config["sphinx"]["extra_extensions"]) == {"prune_lib.book.site.build", "sphinxcontrib.bibtex"}
    assert "thebe" not in json.dumps(config)
    (project / "book" / "sub").mkdir(parents=True)
    (project / "book" / "_config.yml").touch()
    for place in ("notebooks/a.py", "notebooks/sub/b.py", "book/c.py", "book/sub/d.py", "results/e.py"):
        (project / place).parent.mkdir(exist_ok=True)
        (project / place).write_text('# %% tags=["parameters"]\nseed = 0\n')
    executed, built = [], []
    monkeypatch.setattr(build, "execute", lambda source, *_, **__: executed.append(source.name))
    monkeypatch.setattr(build, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))  # where the patches are seen

    def run(command, **options):
        built.append([str(word) for word in command])
        assert not options.get("shell")
        (project / "book" / "_build" / "html").mkdir(parents=True)
        (project / "book" / "_build" / "html" / "index.html").touch()
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(build.subprocess, "run", run)
    build.build()
    assert executed == ["a.py"]
    assert [words[1] for words in built] == ["build"]
