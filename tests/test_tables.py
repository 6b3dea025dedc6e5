"""Rows as the papers print them, tables beside what was measured, and the verdicts in between."""

import json
from dataclasses import replace

import pytest

from prune_lib.book.tables.table import load_study, load_table, side_by_side
from prune_lib.book.tables.verdict import Accuracy, judge
from prune_lib.cost.printed import prints_like
from prune_lib.papers import rows
from prune_lib.papers.rows import all_rows, get_row, read_tables, table_rows
from prune_lib.system.errors import InputError


def test_the_rows_of_the_papers_are_whole():
    for row in all_rows().values():
        assert row.unknown or row.widths
        assert not row.method or row.recipes["smoke"].data == "digits" or row.recipes["smoke"].data.startswith("shapes")
        for printed in row.reported.values():
            assert prints_like(1.0, printed)
    paper = get_row("dcff/cifar10/resnet110").recipes["paper"]
    assert (paper.epochs, paper.batch_size, paper.lr, paper.weight_decay) == (300, 256, 0.1, 5e-4)


GOOD = """
paper: {title: T, short: S, authors: A, link: L, cite: c}
tables:
  t:
    {title: T, dataset: D, source: S, rule: macs, layout: dcff, method: {name: dcff}, tolerance: 0.3, recipe: {},
     budgets: {}, rows: {r: {title: R, arch: vgg16, rates: "[0.5]*13", reported: {top1: 90.0%}}}}
"""


def test_a_table_is_read_and_its_mistakes_are_named():
    assert read_tables("p", GOOD)["p/t/r"].reported == {"top1": "90.0%"}
    mistakes = {
        "p/t/r: the spec has 12 rates; expected 13": GOOD.replace("*13", "*12"),
        "p/t/r: unknown architecture 'vgg17'": GOOD.replace("vgg16", "vgg17"),
        "p/t/r, reported: unknown key 'top2'": GOOD.replace("top1", "top2"),
        "p/t: rule is missing": GOOD.replace("rule: macs, ", ""),
        "p/t: unknown key 'rules'": GOOD.replace("rule: macs", "rule: macs, rules: 1"),
        "p/t/r, smoke: recipe: unknown field 'lrs'": GOOD.replace("recipe: {}", "recipe: {lrs: 1}"),
        "p.yaml: not YAML": GOOD.replace("tables:", "tables: ["),
        "p.yaml: found list": "- 1",
        "not YAML": "paper: !!python/object/apply:os.getcwd []",
    }
    for words, text in mistakes.items():
        with pytest.raises(InputError) as refusal:
            read_tables("p", text)
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)


def _record(top1, budget="paper", seed=0, images=10_000):
    metrics = dict.fromkeys(("top1_last", "top1_selected"), 0.0) | {"top1_test_best": top1}
    told = {"data": {"test": images}}
    return {"status": "finished", "budget": budget, "seed": seed, "metrics": metrics, "provenance": told}


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        ([], "not attempted"),
        ([_record(99.0, "short")], "not attempted"),
        ([_record(93.2)], "reproduced"),  # 0.27 below
        ([_record(95.0)], "reproduced"),
        ([_record(93.1)], "within noise"),  # 0.37 below; two standard errors are 0.51
        ([_record(92.9)], "not reproduced"),  # 0.57 below
        ([_record(93.0, seed=0), _record(93.1, seed=1)], "within noise"),
        ([_record(92.0, seed=0), _record(92.1, seed=1)], "not reproduced"),
        ([_record(93.4, "paper"), _record(10.0, "short", 1)], "reproduced"),
    ],
)
def test_verdicts(runs, verdict):
    assert judge("93.47%", 0.3, runs).verdict == verdict


def test_figures_are_printed_as_the_paper_prints_them():
    cases = {"72.77M": 72_771_956, "0.96B": 960_000_001, "0.38M": 384_316, "1490M": 1_489_999_999, "76.83%": 76.82655}
    for printed, value in cases.items():
        assert prints_like(value, printed) == printed
    assert prints_like(1_071_248, "1.06M") == "1.07M"
    assert prints_like(958_066_431, "960M") == "960M"  # a whole number that ends in zeros was rounded there
    assert prints_like(958_066_431, "961M") == "958M"
    assert prints_like(50.4, "50%") == "50%"
    assert prints_like(0.125, "0.12%") == "0.13%"  # halves go up
    for bad in ("72.77 MB", "", "-1M", "1e3", "nan"):
        with pytest.raises(InputError, match="expected such as"):
            prints_like(1, bad)


def test_the_table_says_which_counts_do_not_follow(project):
    table = load_table("dcff/cifar10")
    verdicts = {line.row.title: (line.count_verdict, line.disagreements) for line in table.lines}
    assert verdicts.pop("VGG-16") == ("source inconsistent", ["params", "params_cut"])
    assert set(map(str, verdicts.values())) == {"('exact', [])"}
    assert all(line.accuracy == Accuracy("not attempted", None) for line in table.lines)
    assert "72.77M (76.83%)" in str(table)
    assert json.loads(json.dumps(table.to_json()))["rows"][0]["recounted"]["flops"] == 72_771_956
    with pytest.raises(InputError, match="unknown table 'x/y'"):
        table_rows("x/y")


def test_a_table_escapes_what_it_shows(project, monkeypatch):
    nasty = replace(get_row("dcff/cifar10/vgg16"), title="<script>alert(1)</script>")
    monkeypatch.setattr(rows, "all_rows", lambda: {nasty.id: nasty})
    page = load_table(nasty.table)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_rows_that_are_read_against_each_other_were_trained_at_one_budget(project, monkeypatch):
    """Two rows at `fast` stand in no line with four at `short`; when all four are at `fast`, that is shown."""
    known = {f"r18_{name}": [_record(60.0, "short")] for name in ("l1", "cfdp", "random", "authors")}
    known["r18_l1"].append(_record(90.0, "fast"))
    known["r18_cfdp"] = [_record(91.0, "fast"), *known["r18_cfdp"], _record(99.0, "smoke")]
    monkeypatch.setattr(
        "prune_lib.book.tables.table.records",
        lambda row, budget=None: [r for r in known.get(row.id.rpartition("/")[2], []) if budget in (None, r["budget"])],
    )

    def shown():
        return {
            line.row.id.rpartition("/")[2]: line.accuracy.mean["test_best"]
            for line in load_study("cfdp/resnet56-study")
        }

    assert shown() == dict.fromkeys(known, 60.0)
    known["r18_random"] = known["r18_authors"] = [_record(89.0, "fast"), _record(60.0, "short")]
    assert shown() == {"r18_l1": 90.0, "r18_cfdp": 91.0, "r18_random": 89.0, "r18_authors": 89.0}
    known.clear()
    assert load_study("cfdp/resnet56-study") == []


def test_records_stand_side_by_side():
    def record(row, best, selected):
        metrics = {"params": 1234, "flops": 5_000_000, "AP_test_best": best, "AP_selected": selected, "AP_last": 1.0}
        data = {"name": "shapes", "train": 1400, "test": 40}
        return {"row": row, "budget": "smoke", "seed": 3, "metrics": metrics, "provenance": {"data": data}}

    grid = side_by_side({"full": record("a/b", 12.345, None), "<b>": record("a/c", 2.0, 1.5)}, "AP")
    assert grid.cells[1] == ["full", "a/b", "shapes", "1,400", "40", "1,234", "5,000,000", "12.35", "–", "1.00"]
    assert grid.cells[2][-3:] == ["2.00", "1.50", "1.00"]
    assert grid.caption == "In percent; smoke budget, seed 3."
    assert "&lt;b&gt;" in grid._repr_html_()
    assert "<b>" not in grid._repr_html_()


def test_a_table_says_which_of_its_figures_are_of_weights_from_elsewhere(monkeypatch):
    started = {"found": {"start": {"weights": "cifar10-resnet20.safetensors", "sha256": "0"}}}
    ours = {"found": {"start": {"row": "cdp/cifar10-dense/resnet56", "budget": "short", "sha256": "0"}}}
    runs = {
        "cdp/cifar10/resnet20": [_record(91.0, "fast", seed) | started for seed in (0, 1)],
        "cdp/cifar10/resnet56_a": [_record(91.0, "fast") | ours, _record(60.0, "short") | started],
    }
    monkeypatch.setattr("prune_lib.book.tables.table.records", lambda row, budget=None: runs.get(row.id, []))
    table = load_table("cdp/cifar10")
    said = "trained weights that no row here made: ResNet20, cifar10-resnet20.safetensors. Whoever trained these may"
    assert said in table.parts[1].caption
    found = [row["weights_from_elsewhere"] for row in table.to_json()["rows"]]
    assert found == [[], ["cifar10-resnet20.safetensors"], [], []]


def test_beside_a_reported_figure_stands_how_far_fast_came(project, monkeypatch):
    """93.47 is reported: two seeds of 24 of its 300 epochs, best on test, come to 92.75."""
    runs = [_record(92.5, "fast", 0), _record(93.0, "fast", 1), _record(99.0, "short")]
    monkeypatch.setattr(
        "prune_lib.book.tables.table.records", lambda row, budget=None: runs if row.id == "dcff/cifar10/vgg16" else []
    )
    table = load_table("dcff/cifar10")
    heads, line, *rest = table.accuracies()
    found = dict(zip(heads, line, strict=True))
    assert found["Budget"] == "fast: 24 of 300 epochs"
    assert (found["Best on test"], found["Above reported"], found["Verdict"]) == (
        "92.75 ± 0.35",
        "-0.72",
        "not attempted",
    )
    assert {dict(zip(heads, other, strict=True))["Above reported"] for other in rest} == {"–"}
    assert "the whole recipe ends no further below it than that" in table.parts[1].caption
    assert table.to_json()["rows"][0]["above_reported"] == pytest.approx(-0.72)
    runs[:] = [_record(93.2)]
    heads, line, *_ = load_table("dcff/cifar10").accuracies()
    assert "Above reported" not in heads
    assert line[heads.index("Budget")] == "paper"
