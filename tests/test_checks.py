"""What a browser saw of the book is kept, shown as it is, and is no record of a run."""

import json
from pathlib import Path

import pytest

from prune_lib.book.site.checks import PAGE, checks_file, load_checks, save_checks
from prune_lib.book.tables.faults import faults, faults_file, save_faults
from prune_lib.runs.records import records
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
WELL = dict.fromkeys(PAGE, 0) | {"page": "index", "pictures": 2, "formulas": 1234}


def test_what_was_seen_is_shown_with_its_provenance(project):
    poor = WELL | {"page": "notebooks/<b>", "overflow": 7}
    save_checks([WELL, poor], {"sparsity": 0.125}, "Chromium 1.2")
    pages, explorer = load_checks()
    assert pages.cells[1] == ["index", "yes", "2", "1,234", *["0"] * 7]
    assert pages.cells[2][:2] == ["<b>", "no"]
    assert pages.cells[2][-3:] == ["7", "0", "0"]
    assert "&lt;b&gt;" in pages._repr_html_()
    assert "<b>" not in pages._repr_html_()
    assert pages.caption.startswith("make test-browser, Chromium 1.2, 20")
    assert explorer.cells[1] == ["sparsity", "0.12"]
    assert list(records()) == []


def test_a_record_from_before_a_check_was_added_is_shown_without_it(project):
    save_checks([{name: value for name, value in WELL.items() if name != "faults"}], {}, "Chromium")
    pages, _ = load_checks()
    assert pages.cells[1][1] == "yes"
    assert pages.cells[1][-1] == "–"


def test_before_a_browser_saw_anything_the_book_says_so(project):
    pages, _ = load_checks()
    assert "make test-browser" in pages.caption
    assert len(pages.cells) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pages": {}}, "pages: expected list"),
        ({"pages": [WELL | {"page": 1}]}, "a page without a name"),
        ({"pages": [WELL | {"errors": -1}]}, "index: expected whole numbers from 0"),
        ({"explorer": {"sparsity": "fast"}}, "explorer: expected seconds"),
        ({"browser": None}, "browser: expected str"),
    ],
)
def test_a_damaged_record_is_named(project, change, words):
    save_checks([WELL], {}, "Chromium")
    path = checks_file()
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        load_checks()


def test_the_record_of_faults_that_the_book_shows_is_of_a_run_in_which_all_tests_passed():
    assert json.loads((ROOT / "results" / "injected" / "checks.json").read_text())["broken"] == 0


def test_faults_that_were_injected_are_counted_by_kind(project):
    assert len(faults()) == 1
    save_faults({"kills": 1200, "generated inputs": 7}, 1, "make faults")
    assert [cells[1] for cells in faults()] == ["Times", "1,200", "7", "1,207"]
    assert faults()[-1][2] == "failed tests: 1"
    assert list(records()) == []
    faults_file().write_text('{"injected": {"kills": "many"}}')
    with pytest.raises(InputError, match="expected whole numbers"):
        faults()
