"""The results page, and the front page's figures."""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from prune_lib.book.site.build import _serve_records
from prune_lib.book.tables import load_table
from prune_lib.book.tables.claims import load_claims
from prune_lib.book.tables.errata import errata
from prune_lib.book.tables.leagues import league
from prune_lib.book.tables.results import HEADS, NONE, load_results, record_files
from prune_lib.book.tables.table import load_study
from prune_lib.book.tables.verdict import CONTRADICTED, NOT_ATTEMPTED, SUPPORTED
from prune_lib.papers.rows import COUNTS, RULE_NAMES, all_rows, read_tables

ROOT = Path(__file__).resolve().parent.parent

PAPER = """
paper: {short: DCFF}
tables:
  t:
    title: T
    dataset: CIFAR-10
    source: s
    rule: macs
    recipe: {data: cifar10}
    method: {name: dcff}
    rows:
      a: {title: "<b>& 'x'", arch: resnet20, rates: "[0.5]*12", reported: {flops: 20M, flops_cut: 50%, top1: 90.00%}}
      b: {title: own, arch: resnet20, rates: "[0.5]*12", reported: {}}
"""


def _record(home, row, budget, seed, top1, **more):
    """A record with all that the page reads."""
    metrics = {"flops": 5_000_000, "params": 70_000}
    metrics |= {f"top1_{protocol}": top1 for protocol in ("last", "selected", "test_best")}
    record = {
        "row": row.id, "budget": budget, "seed": seed, "key": row.key(budget), "status": "finished", "metrics": metrics,
        "recipe": {"epochs": 3}, "provenance": {"data": {"name": "cifar10", "train": 100, "test": 10_000}},
        "curves": {}, "networks": {}, **more,
    }  # fmt: skip
    path = home / "results" / row.id / f"{budget}-seed{seed}-{record['key']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


@pytest.fixture
def rows():
    return read_tables("dcff", PAPER)


def test_a_row_shows_its_highest_budget_its_seeds_and_links_to_their_records(project, rows):
    row = rows["dcff/t/a"]
    _record(project, row, "smoke", 0, 99.0)
    _record(project, row, "paper", 7, 0.0, status="diverged")
    files = [_record(project, row, "short", seed, top1) for seed, top1 in ((0, 80.0), (1, 82.0))]
    result = load_results(among=rows).results[0]
    named = {f"{group} {head}".strip(): cell for (group, head, _), cell in zip(HEADS, result.cells(), strict=False)}
    assert named["Accuracy, % best on test"].value == pytest.approx(81)
    assert named["Accuracy, % best on test"].small == "± 1.41"
    assert (named["Accuracy, % budget"].text, named["Accuracy, % budget"].small) == ("short", "3 epochs × 100 images")
    assert (named["Accuracy, % seeds"].text, named["Accuracy, % verdict"].text) == ("2", "not attempted")
    assert (named["FLOPs reported"].text, named["FLOPs reported"].small) == ("20M", "-50%")
    assert named["FLOPs recounted"].small == "macs"
    assert [project / "results" / file for file in result.files] == files
    assert record_files() == sorted(files + list(project.rglob("paper-*.json")))


def test_smoke_is_no_result_and_a_row_of_ours_has_no_verdict(project, rows):
    _record(project, rows["dcff/t/a"], "smoke", 0, 99.0)
    _record(project, rows["dcff/t/b"], "short", 0, 60.0)
    reported, own = load_results(among=rows).results
    assert not reported.files
    assert reported.cells()[-3].text == NONE
    assert own.cells()[-1].text == own.cells()[7].text == NONE
    assert own.cells()[4].text == "5,000,000"  # of the network that was run


def test_superseded_records_are_told_and_are_in_no_mean(project, rows):
    row = rows["dcff/t/a"]
    (old,) = row.earlier_keys("short")
    for seed, top1 in ((0, 99.0), (1, 98.0)):
        _record(project, row, "short", seed, top1, key=old)
    result = load_results(among=rows).results[0]
    (words,) = result.line.superseded
    assert words.startswith("superseded: 2 records, from before 2026-11-27, when the ResNets' linear layer")
    assert [cell.text for cell in result.cells()[9:14]] == [NONE] * 5
    page = load_results(among=rows)._repr_html_()
    assert page.count("superseded: 2 records") == 1
    table = load_table("dcff/t", rows)
    assert f"In no figure either: {row.title}, {words}." in str(table)
    assert table.to_json()["rows"][0]["superseded"] == [words]
    _record(project, row, "short", 0, 80.0)
    assert load_results(among=rows).results[0].line.accuracy.mean["last"] == 80.0


def test_the_page_escapes_its_texts_and_says_what_sorts_and_filters(project, rows):
    _record(project, rows["dcff/t/a"], "short", 0, 80.0)
    page = load_results(among=rows)._repr_html_()
    assert "&lt;b&gt;&amp; &#x27;x&#x27;" in page
    assert "<b>" not in page
    assert 'data-value="80.0"' in page
    counts = set(re.findall(r'data-value="(\d+)"[^<]*<', page))
    assert any(len(count) > 7 for count in counts), "counts are sorted by every digit"
    assert re.findall(r'data-filter="(\w+)"', page) == ["Paper", "Counts", "Budget", "Accuracy"]
    assert any(link.startswith("../results/dcff/t/a/short-seed0-") for link in re.findall(r'href="([^"]+)"', page))
    assert '<tr id="dcff/t/a"' in page
    assert 'href="#dcff/t/a"' in page
    assert ">seed 0<" in page
    assert page.count("<tr") == 2 + len(rows)


def test_the_book_lays_the_records_beside_its_pages(project, rows):
    _record(project, rows["dcff/t/a"], "smoke", 0, 99.0)
    record = _record(project, rows["dcff/t/a"], "short", 0, 80.0)
    stale = project / "html" / "results" / "gone" / "short-seed0-x.json"
    stale.parent.mkdir(parents=True)
    stale.touch()
    _serve_records(SimpleNamespace(outdir=project / "html"))
    served = [path for path in (project / "html").rglob("*") if path.is_file()]
    assert served == [project / "html" / record.relative_to(project)]
    assert served[0].read_text() == record.read_text()


def test_every_row_is_on_the_page_once_and_its_records_are_there():
    results = load_results()
    assert sorted(result.line.row.id for result in results.results) == sorted(all_rows())
    linked = [ROOT / "results" / file for result in results.results for file in result.files]
    assert all(path.is_file() for path in linked)
    assert all(len(result.cells()) == len(HEADS) - 1 for result in results.results)


def test_the_front_page_says_what_is_computed():
    text = " ".join((ROOT / "book" / "index.md").read_text(encoding="utf-8").replace("\u00a0", " ").split())
    found, entries = load_results().results, errata().entries
    lines = [result.line for result in found if set(COUNTS) & set(result.line.row.reported)]
    rebuilt = [line for line in lines if not line.row.unknown]
    exact = [line for line in rebuilt if not line.disagreements]
    assert f"{len(exact)} of {len(rebuilt)} : rows" in text
    assert f"{len(rebuilt) - len(exact)} do not. The other {len(lines) - len(rebuilt)} of the {len(lines)}" in text
    computed = sum(entry.kind != "Read, not computed" for entry in entries)
    assert f"{len(entries)} : contradictions in what is printed, {computed} of them found" in text
    assert f"{len(RULE_NAMES)} counts : of one ResNet-50" in text
    judged = sum(line.accuracy.verdict != NOT_ATTEMPTED for line in lines)
    assert f"{judged or 'none yet'} : of the reported accuracies" in text
    top1 = {line.row.id: line.accuracy.mean["last"] for line in load_study("cfdp/resnet56-study")}
    authors, corrected = (top1[f"cfdp/resnet56-study/r18_{row}"] for row in ("authors", "cfdp"))
    assert f"{authors:.2f} % after one short epoch of one seed, where the corrected code has {corrected:.2f} %" in text
    hidden = [line for line in lines if line.row.unknown and line.disagreements]
    assert f"are not public; of {len(hidden)} of these the printed figures contradict each other" in text


def test_the_front_page_says_what_the_claims_came_to():
    text = " ".join((ROOT / "book" / "index.md").read_text(encoding="utf-8").split()).replace("−", "-")
    claims = load_claims().claims
    told = [claim for claim in claims if claim.verdict in (SUPPORTED, CONTRADICTED)]
    assert f"{len(told)} of {len(claims)} : claims by comparison can be told at one recipe of our own" in text
    both = [sum(claim.verdict == verdict for claim in claims) for verdict in (SUPPORTED, CONTRADICTED)]
    assert "{} supported and {} contradicted".format(*both) in text
    cut = {place.row.id: place.mean for place in league("arena/uniform50") if max(place.macs) < 0.51}
    chance = cut.pop("arena/uniform50/random")
    assert f"{max(cut.values()) - chance:.1f} points : of top-1 lie between the best of {len(cut)} criteria" in text
    (regrowing,) = next(claim.contrasts for claim in claims if claim.id == "regrowing")
    assert f"{regrowing.mean:+z.2f}".removeprefix("+") + " points : are what FilterExpo's regrowth adds" in text
    assert f"(± {regrowing.half:.2f} over {len(regrowing.seeds)} seeds)" in text
    cdp = next(claim.contrasts for claim in claims if claim.id == "cdp_criterion")
    (own,) = [c for c in cdp if (c.of, c.than) == ("arena/own50/cdp", "arena/own50/random")]
    assert f"{own.mean:+z.2f}".removeprefix("+") + " points : are what CDP's scores, left to choose widths" in text
    assert f"give beyond chance (± {own.half:.2f} over {len(own.seeds)} seeds)" in text


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f"Version {project['version']}" in (ROOT / "book" / "cite.md").read_text(encoding="utf-8")
