"""README and how-to pages: their code runs, their commands exist, their tables are those of the records."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from prune_lib.book.tables.markdown import MARKED, TABLES, accuracies, markdown, rewritten
from prune_lib.cli.parser import _parser
from prune_lib.papers.rows import TRIALS, all_rows
from prune_lib.runs.records import Run, append, records
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "book" / "index.md", *sorted((ROOT / "book" / "howto").glob("*.md"))]


def _blocks(page, *languages):
    text = page.read_text(encoding="utf-8")
    return [
        code for name, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if name in languages
    ]


CODE = [(page, code) for page in PAGES for code in _blocks(page, "python")]
LINES = [
    line.removeprefix("$ ")
    for page in PAGES
    for code in _blocks(page, "console", "bash")
    for line in code.splitlines()
    if line.startswith(("$ ", "prune "))
]


@pytest.mark.parametrize(("page", "code"), CODE, ids=lambda value: getattr(value, "name", ""))
def test_what_a_page_shows_runs_and_prints_what_it_promises(page, code, tmp_path):
    """In a process of its own: an export leaves threads behind, and tests after this one fork."""
    for package in re.findall(r"^(?:import|from) (lightning|transformers)\b", code, re.MULTILINE):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    code = code.replace(".onnx", ".pt2")  # which takes less time
    (tmp_path / "shown.py").write_text(code)
    (tmp_path / "work").mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "ignore", str(tmp_path / "shown.py")]
    done = subprocess.run(words, cwd=tmp_path / "work", env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"# (cdp: .*?), …", code)
    assert all(text in done.stdout for text in printed)
    written = set(re.findall(r'(?:export|save|plot)\(.*?"([\w.]+)"\)', code))
    assert {file.name for file in (tmp_path / "work").iterdir()} == written


def _words(line):
    """A shell line of a page without comment, redirection and background sign, as words."""
    return [word for word in shlex.split(re.split(r"[>&]", line)[0], comments=True) if "/…/" not in word]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("prune ")])
def test_every_command_of_a_page_is_understood(line):
    args = _parser().parse_args(
        [word.replace("$PWD", str(ROOT)) for word in _words(line)[1:]] + ["x"] * ("/…/" in line)
    )
    assert callable(args.command)


def test_the_rows_that_pages_name_are_there():
    from prune_lib.papers import all_rows

    named = {
        row for line in LINES for row in re.findall(r"\b(?:dcff|cdp|cfdp|filterexpo|mmrazor)/[\w.-]+/[\w.]+", line)
    }
    assert len(named) > 4
    assert named <= set(all_rows())


def test_make_has_the_targets_that_pages_name():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = [word for line in LINES for word in re.findall(r"^make ([a-z-]+)", line)]
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / link).exists(), link
    for link in re.findall(r"\{doc\}`(?:[^`<]*<)?([\w./]+)>?`", text):
        assert any(
            (page.parent / link.replace("notebooks/", f"{ROOT}/notebooks/").removeprefix("../"))
            .with_suffix(kind)
            .exists()
            for kind in (".md", ".py")
        ), link


def test_every_page_is_in_the_book():
    parts = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = {chapter["file"] for part in parts for chapter in part["chapters"]} | {"index"}
    pages = {
        path.relative_to(ROOT / "book").with_suffix("").as_posix()
        for path in (ROOT / "book").glob("**/*.md")
        if "_build" not in path.parts
    }
    assert pages <= files
    assert {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.py")} <= files


WITH_TABLES = ["README.md", "book/index.md", "book/measured.md", "book/reliability.md", "book/howto/counters.md"]


@pytest.mark.parametrize("name", WITH_TABLES)
def test_tables_are_those_of_the_records(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert MARKED.search(text)
    assert rewritten(text, name) == text, f"run: python -m prune_lib.book.tables.markdown {name}"


def test_the_readme_is_read_to_its_end():
    """Its tables, which grow with the records, aside."""
    assert len(MARKED.sub("", (ROOT / "README.md").read_text(encoding="utf-8")).splitlines()) <= 100


def test_a_table_is_made_anew_between_its_markers(monkeypatch):
    monkeypatch.setitem(TABLES, "two", lambda: [["a", "b"], ["1", "x|y"]])
    table = "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n"
    assert markdown(TABLES["two"]()) == table
    marked = "before\n<!-- table: two -->\nold\n<!-- end -->\nafter\n"
    assert rewritten(marked) == f"before\n<!-- table: two -->\n{table}<!-- end -->\nafter\n"
    assert rewritten(rewritten(marked)) == rewritten(marked)
    with pytest.raises(InputError, match="unknown table three"):
        rewritten(marked.replace("two", "three"), "x.md")
    with pytest.raises(InputError, match=r"x\.md: a marked table has no end"):
        rewritten(marked.replace("<!-- end -->", ""), "x.md")


def test_what_a_trial_trained_here_stands_in_no_table_of_the_text(tmp_path, monkeypatch):
    """``make`` leaves such records on the machine that builds the book."""
    record = next(r for r in records(all_rows()["dcff/cifar10/vgg16"]) if r["status"] == "finished")
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    row = all_rows()["dcff/cifar10/resnet56"]
    for budget in (*TRIALS, "short"):
        append(Run(row, budget, 0), {**record, "row": row.id, "budget": budget, "key": row.key(budget)})
        named = [cells[0] for cells in accuracies("dcff/cifar10", "last")]
        assert (row.title in named) == (budget == "short")
