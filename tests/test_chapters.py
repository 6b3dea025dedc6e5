"""What a page is made of: its opening, captions, numbers, downloads, the reference, and the book on paper."""

import ast
import csv
import html
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from prune_lib.book.captions import captioned
from prune_lib.book.site import pages, pdf
from prune_lib.book.site.reference import modules, reference
from prune_lib.book.tables import Grid, load_table, opening
from prune_lib.book.tables.claims import load_claims
from prune_lib.book.tables.downloads import DOWNLOADS, write_downloads
from prune_lib.book.tables.openings import LINES, _measured
from prune_lib.book.tables.verdict import EXACT, NOT_ATTEMPTED, Accuracy
from prune_lib.papers.rows import all_rows, get_row, papers
from prune_lib.runs.records import Run, records
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = [path for path in sorted((ROOT / "notebooks").glob("*.py")) if path.stem.partition("_")[0] in papers()]
ROOMS = ("system", "nets", "cost", "tasks", "papers", "anynet", "runs", "book", "cli")


def _openings(chapter):
    """The calls of ``opening`` in a notebook, as they would be made."""
    calls = [node for node in ast.walk(ast.parse(chapter.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == "opening":
            yield [ast.literal_eval(a) for a in call.args], {k.arg: ast.literal_eval(k.value) for k in call.keywords}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_opens_with_what_was_claimed_found_and_judged(chapter):
    (((*tables,), options),) = _openings(chapter)
    shown = opening(*tables, **options)
    assert list(shown.parts) == ["Claimed", "Found", "Verdict"]
    assert all(shown.parts.values())
    assert sum(map(len, shown.parts.values())) <= LINES
    lines = [line for table in tables for line in load_table(table).lines]
    exact = sum(line.count_verdict == EXACT for line in lines)
    assert any(f"{exact} of " in text for text in shown.found)
    assert lines[0].row.title in shown.claimed[0]
    assert html.unescape(re.sub("<[^>]+>", "", shown._repr_html_())).count(lines[0].row.title) >= 1
    cells = re.split(r"^# %%", chapter.read_text(), flags=re.MULTILINE)
    first = next(cell for cell in cells if "remove-input" in cell and "check_" not in cell)
    assert "opening(" in first, "it comes before everything else that the page shows"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_picture_of_a_chapter_has_a_caption(chapter):
    cells = re.split(r"^# %%", chapter.read_text(), flags=re.MULTILINE)
    pictures = [cell for cell in cells if '"alt"' in cell.partition("\n")[0]]
    assert all("captioned(" in cell for cell in pictures)
    assert sum("captioned(" in cell for cell in cells) == len(pictures), "each with words for who cannot see it"


def test_an_opening_says_what_was_trained_and_that_a_short_training_is_no_verdict():
    lines = load_table("dcff/cifar10").lines
    measured = {"last": 90.0, "selected": 90.0, "test_best": 90.0}
    found = {"short": ["VGG-16", "ResNet-110"], "paper": ["ResNet-56"], "fast": ["GoogLeNet"]}
    budgets = {title: budget for budget, titles in found.items() for title in titles}
    said = _measured(
        replace(line, accuracy=Accuracy(NOT_ATTEMPTED, budgets[line.row.title], (0,), measured)) for line in lines
    )
    assert [text.partition(",")[0] for text in said] == ["Trained at paper", "Trained at fast", "Trained at short"]
    assert [", which is no basis for a verdict" in text for text in said] == [False, True, True]
    assert [[line.row.title for line in lines if f"{line.row.title} " in text] for text in said] == [
        ["ResNet-56"], ["GoogLeNet"], ["VGG-16", "ResNet-110"],
    ]  # fmt: skip
    shown = [text for text in opening("dcff/cifar10").found if text.startswith("Trained at")]
    assert shown == _measured(lines)


def _record(row, budget="short"):
    return next(record for record in records(get_row(row), budget) if record["status"] == "finished")


def test_a_caption_links_the_records_that_the_book_serves():
    record = _record("dcff/cifar10/vgg16")
    trial = record | {"budget": "smoke"}
    shown = captioned("picture", "Widths & <more>", [record, trial], table="dcff/cifar10")
    said = shown.caption._repr_html_()
    assert "Widths &amp; &lt;more&gt;" in said
    (link, rows) = re.findall(r'href="([^"]+)"', said)
    assert (ROOT / "results" / link.removeprefix("../results/")).is_file()
    assert rows == "results.html#find=dcff%2Fcifar10%2F"
    assert captioned(None, "nothing") is None
    grid = Grid([["a"], ["1"]], "Counts", records=[record] * 2)
    assert grid._repr_html_().count("../results/") == 1, "a record is linked once"


def test_many_records_are_folded():
    found = [run for row in ("dcff/cifar10/vgg16", "dcff/cifar10/googlenet") for run in records(get_row(row), "short")]
    others = list(records(budget="fast"))[:6]
    page = Grid([["a"], ["1"]], "Counts", records=[*found, *others])._repr_html_()
    assert re.search(r"<details><summary>\d+ records</summary>", page)
    assert Run(get_row("dcff/cifar10/vgg16"), "short", 0).files[0].name in page


def _cell(tags=(), hide="", code="x = 1", outputs=()):
    cell = nodes.container(nb_element="cell_code", classes=["cell", *(f"tag_{tag}" for tag in tags)])
    if hide:
        cell["hide_mode"] = hide
    cell += nodes.container("", nodes.literal_block(code, code), nb_element="cell_code_source")
    if outputs:
        cell += nodes.container("", *outputs, nb_element="cell_code_output")
    return cell


def _bundle(node):
    return nodes.container("", nodes.container("", node), nb_element="mime_bundle")


def _html(text):
    return _bundle(nodes.raw("", text, format="html"))


@pytest.fixture
def page():
    """A page as it is read: parameters, a cell that prepares, a table, a picture, code that is shown."""
    document = new_document("page")
    document.settings.env = SimpleNamespace(docname="notebooks/some")
    two = Grid([["a"], ["1"]], "First & <b>"), Grid([["b"], ["2"]], "Second")
    section = nodes.section("", nodes.title("", "Some"), ids=["some"])
    section += [
        _cell(["parameters", "hide-input"], "input", 'budget = "smoke"  # which'),
        _cell(["injected-parameters"], "input", '# Parameters\nbudget = "tiny"\ndata_dir = ""'),
        _cell(["hide-input"], "input", "import os"),
        _cell(["hide-input"], "input", "load()", [_html("".join(grid._repr_html_() for grid in two))]),
        _cell(["hide-input"], "input", "draw()", [
            _bundle(nodes.image(uri="a.png", alt="words")), _html(captioned("", "What & how").caption._repr_html_()),
        ]),
        _cell(["hide-input"], "input", "again()", [_bundle(nodes.image(uri="b.png", alt="other words"))]),
        _cell(code="shown()"),
    ]  # fmt: skip
    document += section
    pages._arrange(None, document)
    return document


def test_tables_and_pictures_of_a_notebook_become_numbered_nodes(page):
    tables = list(page.findall(pages.numbered_table))
    assert [table["ids"] for table in tables] == [["table-1"], ["table-2"]]
    assert pages._title(tables[0]) == "First &amp; &lt;b&gt;"
    figures = list(page.findall(nodes.figure))
    assert [figure["ids"] for figure in figures] == [["figure-1"], ["figure-2"]]
    captions = [next(figure.findall(nodes.caption)) for figure in figures]
    assert [caption[0].astext() for caption in captions] == ["What & how", "other words"]
    assert all(f'href="#{pages.RUN}"' in caption.children[-1].astext() for caption in captions)


def test_code_that_only_prepares_leaves_the_page_and_folded_code_stands_below_what_it_draws(page):
    text = page.astext()
    assert "import os" not in text
    for cell in [node for node in page.findall(nodes.container) if node.get("nb_element") == "cell_code"]:
        kinds = [child.get("nb_element", child.__class__.__name__) for child in cell.children]
        assert kinds in (["cell_code_output", "raw", "cell_code_source", "raw"], ["cell_code_source"])
        assert "hide_mode" not in cell.attributes
    assert text.index("draw()") < text.index("shown()")


def test_a_page_ends_with_how_to_run_it(page):
    last = page[0].children[-1]
    assert last["ids"] == [pages.RUN]
    assert "papermill text:notebooks/some.py out.ipynb -p budget tiny" in last.astext()
    assert "data_dir" not in last.astext()
    assert last.children[-1].astext() == 'budget = "smoke"  # which'
    assert page[0].children[1].get("nb_element") == "cell_code"


def test_the_front_tables_are_files_too(tmp_path):
    files = {path.name: path.read_text() for path in write_downloads(tmp_path / "downloads")}
    assert set(files) == {f"{name}.{kind}" for name in DOWNLOADS for kind in ("csv", "json")}
    lines = {name: list(csv.DictReader(StringIO(files[f"{name}.csv"]))) for name in DOWNLOADS}
    assert {line["row"] for line in lines["results"]} == {entry["row"] for entry in json.loads(files["results.json"])}
    assert {line["row"] for line in lines["results"]} <= set(all_rows())
    assert len(lines["claims"]) == len(load_claims().contrasts)
    vgg = next(line for line in lines["results"] if line["row"] == "dcff/cifar10/vgg16")
    assert (vgg["flops_reported"], vgg["flops_recounted"]) == ("72.77M", "72771956")
    assert all((ROOT / "results" / record).is_file() for line in lines["results"] for record in line["records"].split())


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_has_every_public_name_of_a_room(room):
    lines = list(reference(room))
    for path in modules(room):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert any(re.match(rf"\.\. py:(function|class):: {node.name}\b", line) for line in lines), node.name
    assert (ROOT / "book" / "api" / f"{room}.rst").is_file()


def test_the_reference_reads_docstrings():
    text = "\n".join(reference("nets"))
    assert r"max \|expected - found\| / max \|expected\|" in text
    assert re.search(r":raises InputError", text)
    assert "::\n\n    found = check(" in "\n".join(reference("cost"))
    with pytest.raises(InputError, match="no room 'attic'"):
        list(reference("attic"))


def test_the_book_on_paper_needs_a_browser_and_says_so(monkeypatch, project):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="no browser to print with; expected one of chromium"):
        pdf.pdf()
    monkeypatch.setattr(pdf.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(InputError, match="no executed notebooks"):
        pdf.pdf()


def test_on_paper_no_link_leads_to_a_file():
    page = '<a class="x" href="../results/a.json">a</a> <a href="#b">b</a> <a href="https://c.org">c</a>'
    assert pdf.to_print(page) == '<a class="x">a</a> <a href="#b">b</a> <a href="https://c.org">c</a>'


TEXTS = [path for path in sorted((ROOT / "book").rglob("*.md")) if "_build" not in path.parts]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_table_of_a_text_has_a_caption(text):
    lines = text.read_text().splitlines()
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"\|[-: |]+\|", line)]
    for rule in rules:
        assert "<!-- caption: " in "".join(lines[max(0, rule - 3) : rule]), f"{text.name}, line {rule + 1}"


def test_a_table_of_a_text_gets_the_caption_above_it():
    document = new_document("page")
    document.settings.env = SimpleNamespace(docname="measured")
    document += [
        nodes.raw("", "<!-- caption: What it shows. -->\n", format="html"),
        nodes.raw("", "<!-- table: some -->\n", format="html"),
        nodes.table("", nodes.tgroup("")),
        nodes.table("", nodes.tgroup("")),
    ]
    pages._arrange(None, document)
    first, second = document.findall(nodes.table)
    assert (first[0].astext(), first["ids"]) == ("What it shows.", ["table-1"])
    assert isinstance(second[0], nodes.tgroup)
