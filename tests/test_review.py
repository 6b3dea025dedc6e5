"""Review sheets: everything on them is from rows, claims and records, as Markdown and as one HTML page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from prune_lib.book.review import Review, review, to_html, to_markdown
from prune_lib.book.review.answers import NOT_SAID, NOT_TRIED
from prune_lib.book.review.page import SPECIAL
from prune_lib.book.review.sheet import Link, Part, Section
from prune_lib.book.site import build
from prune_lib.book.site.publish import problems
from prune_lib.book.tables.errata import errata
from prune_lib.cli.parser import main
from prune_lib.papers.checklist import ITEMS
from prune_lib.papers.rows import TRIALS, all_rows, papers, read_document
from prune_lib.runs.records import records
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
TITLES = ["At a glance", "Claims", "Rows, recounted and judged", "Errata", "Records", "Not tried",
          "Reproducibility checklist"]  # fmt: skip


@pytest.fixture(scope="module")
def sheets():
    """Every paper's sheet, from the records of this checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(ROOT))
        return {paper: review(paper) for paper in papers()}


def _cells(sheet, title):
    (section,) = (section for section in sheet.sections if section.title == title)
    return [line for part in section.parts for line in part.cells[1:]]


@pytest.mark.parametrize("paper", papers())
def test_a_sheet_has_every_section_and_every_item_answered(paper, sheets):
    sheet = sheets[paper]
    assert [section.title for section in sheet.sections] == TITLES
    assert all(part.cells or part.text for section in sheet.sections for part in section.parts)
    for section in sheet.sections:
        for part in section.parts:
            assert len({len(line) for line in part.cells}) <= 1
    items = _cells(sheet, "Reproducibility checklist")
    assert [line[1] for line in items] == [question for _, question in ITEMS.values()]
    assert all(cell for line in items for cell in line[2:])


@pytest.mark.parametrize("paper", papers())
def test_every_reported_row_figure_erratum_and_record_is_on_it(paper, sheets, monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(ROOT))
    sheet = sheets[paper]
    rows = [row for row in all_rows().values() if row.id.startswith(f"{paper}/")]
    shown = " ".join(str(cell) for line in _cells(sheet, "Rows, recounted and judged") for cell in line)
    for row in rows:
        for figure, printed in row.reported.items():
            if figure.removeprefix("base_") not in ("params", "top1"):  # full networks' params and top-1 have no column
                assert printed in shown, (row.id, figure)
    of_rows = {e.where for e in errata().entries if e.where.startswith(f"{paper}/")}
    assert of_rows <= {line[0] for line in _cells(sheet, "Errata")}
    links = {cell.to for line in _cells(sheet, "Records") for cell in line if isinstance(cell, Link)}
    finished = {
        row.runs
        for row in rows
        if row.method and any(r["status"] == "finished" and r["budget"] not in TRIALS for r in records(row))
    }
    assert {link.removeprefix("results/").rsplit("/", 1)[0] for link in links} == finished
    assert all((ROOT / link).is_file() and Path(link).name.split("-")[0] not in TRIALS for link in links)


def test_figures_of_the_sheet_follow_the_rows(sheets):
    glance = {line[0]: line[1] for line in _cells(sheets["hrank"], "At a glance")}
    assert glance["rows that it reports"] == "32"
    assert glance["networks that can be rebuilt from what is published"] == "30 of 32"
    items = {line[1]: line[2:] for line in _cells(sheets["hrank"], "Reproducibility checklist")}
    assert items[ITEMS["proof"][1]] == [NOT_SAID, NOT_TRIED]
    assert items[ITEMS["complexity"][1]][0] == "FLOPs or params of 32 of 32 rows"
    assert "2 of its commands cannot run as printed" in items[ITEMS["commands"][1]][0]


class _Tags(HTMLParser):
    """Counts what is open, and collects links and what would be loaded."""

    VOID = ("meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert tag not in ("script", "img", "link", "iframe")
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("paper", papers())
def test_the_page_is_whole_and_needs_nothing_beside_it(paper, sheets):
    page = to_html(sheets[paper])
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page
    assert "url(" not in page and "@import" not in page  # noqa: PT018
    inside = [link[1:] for link in tags.links if link.startswith("#")]
    assert inside == [i for i in tags.ids if i in inside]
    assert len(inside) == len(TITLES)
    assert all(link.startswith(("#", "https://")) for link in tags.links)


@pytest.mark.parametrize("paper", papers())
def test_markdown_has_the_same_cells(paper, sheets):
    text = to_markdown(sheets[paper])
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == TITLES
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    assert sum(line.startswith("| ") for line in text.splitlines()) == sum(
        len(part.cells) + bool(part.cells) for section in sheets[paper].sections for part in section.parts
    )


def test_what_papers_print_is_escaped():
    nasty = "<script>*a* | `b` _c_ \\"
    about = {"title": nasty, "short": nasty, "authors": nasty, "link": 'https://x.y/"><b>'}
    made = Review("x", about, [Section(nasty, [Part([[nasty], [nasty], [Link(nasty, '"><i>')]], nasty)])])
    page = to_html(made, links="../")
    assert "<script>" not in page and "<b>" not in page and "<i>" not in page  # noqa: PT018
    assert SPECIAL.sub(r"\\\1", "[0.5]*2 a_b _c_") == r"[0.5]\*2 a_b \_c\_"
    assert r"\<script>\*a\* \| \`b\` \_c\_ \\" in to_markdown(made)


def test_the_command_prints_writes_and_refuses(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(ROOT))
    assert main(["review", "cfdp"]) == 0
    assert capsys.readouterr().out.startswith("# Review sheet: CFDP\n")
    assert main(["review", "cfdp", "--format", "html", "--out", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").read_text().startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out == ""
    assert main(["review", "cfdp", "--json"]) == 0
    assert [s["title"] for s in json.loads(capsys.readouterr().out)["sections"]] == TITLES
    for words, said in ((["nobody"], "unknown paper 'nobody'; expected one of: arena cdp"),
                        (["cfdp", "--format", "pdf"], "--format 'pdf'; expected one of: markdown html")):  # fmt: skip
        assert main(["review", *words]) == 2
        assert said in capsys.readouterr().err


def test_a_sheet_is_made_without_torch():
    code = (
        "import sys; from prune_lib.cli.parser import main; main(['review', 'cdp']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT).returncode == 0


def test_a_wrong_item_of_the_checklist_is_named():
    text = "paper: {title: T, says: {colour: red}}\ntables: {}\n"
    with pytest.raises(InputError, match=r"p.yaml, paper, says: unknown key 'colour'; expected algorithm"):
        read_document("p", text)
    with pytest.raises(InputError, match="says, runs: found 3; expected text"):
        read_document("p", text.replace("colour: red", "runs: 3"))


def test_the_book_has_a_page_for_each_paper_with_links_that_lead_somewhere(tmp_path, monkeypatch):
    """As the builder does: records and reviews, and in place of each chapter an empty page."""
    monkeypatch.setenv("PRUNE_HOME", str(ROOT))
    app = SimpleNamespace(outdir=str(tmp_path))
    build._serve_records(app)
    build._write_reviews(app)
    (tmp_path / "notebooks").mkdir()
    for chapter in (ROOT / "notebooks").glob("*.py"):
        (tmp_path / "notebooks" / f"{chapter.stem}.html").touch()
    assert {path.stem for path in (tmp_path / "reviews").glob("*.html")} == set(papers())
    assert problems(tmp_path) == []


def test_each_papers_first_chapter_links_to_its_sheet():
    with_chapter = []
    for paper in papers():
        if chapters := sorted((ROOT / "notebooks").glob(f"{paper}_*.py")):
            assert f'<a href="../reviews/{paper}.html">review sheet</a>' in chapters[0].read_text(), paper
            with_chapter.append(paper)
    assert len(with_chapter) >= 6
