import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch

from prune_lib import records, rows
from prune_lib.errors import InputError
from prune_lib.recipe import Recipe
from prune_lib.records import _append, best_record, find, network, run, run_folder
from prune_lib.rows import all_rows, get_row, read_tables, table_rows
from prune_lib.tables import load_table
from prune_lib.verdict import Accuracy, judge, prints_like

TINY = Recipe(data="digits", epochs=2, batch_size=40, lr=0.05, heldout=20, train_images=80)


@pytest.fixture
def row(project, monkeypatch):
    """A row of DCFF's table whose runs take a second, in a project of its own."""
    tiny = replace(get_row("dcff/cifar10/resnet56"), recipes=dict.fromkeys(rows.BUDGETS, TINY))
    tiny = replace(tiny, arch="resnet20", rates="[0.8]*9+[0.5]*3")
    monkeypatch.setattr(rows, "all_rows", lambda: {tiny.id: tiny})
    return tiny


def test_a_run_is_recorded_once_with_its_provenance(row, project):
    record = run(row, "smoke", 3, progress=False)
    files = list((project / "results").rglob("*.json"))
    assert [f.relative_to(project / "results" / row.id).name for f in files] == [f"smoke-seed3-{row.key('smoke')}.json"]
    stored = json.loads(files[0].read_text())
    assert (stored["row"], stored["budget"], stored["seed"], stored["status"]) == (row.id, "smoke", 3, "finished")
    assert set(stored["metrics"]) >= {"params", "flops", "rule", "top1_last", "top1_selected", "top1_test_best"}
    assert {len(values) for values in stored["curves"].values()} == {2}
    told = stored["provenance"]
    assert {"code", "versions", "hardware", "precision", "started", "ended", "wall_seconds", "data"} <= set(told)
    assert told["started"].endswith("+00:00")
    assert len(told["data"]["sha256"]) == 64
    before = files[0].stat().st_mtime_ns
    assert run(row, "smoke", 3, progress=False)["networks"] == record["networks"]
    assert (len(list((project / "results").rglob("*.json"))), files[0].stat().st_mtime_ns) == (1, before)
    assert not list((project / "runs").rglob("state*"))
    assert network(row, "smoke", 3)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert best_record(row)["seed"] == 3


def test_an_interrupted_run_goes_on(row, project, monkeypatch):
    from prune_lib.papers.dcff import DCFF

    untouched = run(row, "smoke", 0, progress=False)
    (project / "results").rename(project / "elsewhere")
    (project / "results").mkdir()
    on_epoch = DCFF.on_epoch

    def interrupted(self, model, epoch, epochs):
        if epoch == 1:
            raise KeyboardInterrupt
        return on_epoch(self, model, epoch, epochs)

    monkeypatch.setattr(DCFF, "on_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(row, "smoke", 0, progress=False)
    assert find(row, "smoke", 0) is None
    assert list((project / "runs").rglob("state.safetensors"))
    monkeypatch.setattr(DCFF, "on_epoch", on_epoch)
    again = run(row, "smoke", 0, progress=False)
    assert again["networks"] == untouched["networks"]
    assert again["metrics"] == untouched["metrics"]


def test_a_diverged_run_is_kept_and_judged_by_nobody(row, project, monkeypatch):
    from prune_lib.papers.dcff import DCFF

    def poison(self, model, epoch, epochs):
        with torch.no_grad():
            model.linear.weight.fill_(float("nan"))
        return {}

    monkeypatch.setattr(DCFF, "on_epoch", poison)
    record = run(row, "paper", 0, progress=False)
    assert (record["status"], len(list((project / "results").rglob("*.json")))) == ("diverged", 1)
    assert find(row, "paper", 0) is None
    assert judge("93.26%", 0.3, [record]).verdict == "not attempted"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dcff/cifar10/vgg19",), "unknown row 'dcff/cifar10/vgg19'; expected one of"),
        (("dcff/cifar10/vgg16", "large"), "unknown budget 'large'; expected one of: smoke short paper"),
        (("dcff/cifar10/vgg16", "smoke", -1), "seed is -1"),
        (("dcff/cifar10/vgg16", "smoke", 1.5), "seed is 1.5"),
        (("../../etc", "smoke"), "unknown row"),
    ],
)
def test_what_cannot_be_run_is_refused_and_nothing_written(project, arguments, words):
    with pytest.raises(InputError, match=words):
        run(*arguments)
    assert not any(path.is_file() for path in project.rglob("*"))


def test_the_key_names_what_is_trained_and_nothing_else():
    row = get_row("dcff/cifar10/vgg16")
    same = replace(row, title="x", source="y", note="z", reported={}, tolerance=9.0, rule="macs")
    assert same.key("paper") == row.key("paper")
    others = [
        replace(row, rates="[0.5]*13"),
        replace(row, method={"name": "dcff", "variant": "paper"}),
        replace(row, recipes={**row.recipes, "paper": replace(row.recipes["paper"], lr=0.2)}),
    ]
    assert len({row.key("paper"), *(other.key("paper") for other in others)}) == 4
    assert row.key("paper") != row.key("short")


def test_records_are_never_overwritten_or_torn(row, project):
    record = {"status": "finished", "budget": "smoke", "seed": 0, "key": row.key("smoke"), "text": "x" * 50_000}
    together = [threading.Thread(target=_append, args=(row, "smoke", 0, {**record, "n": n})) for n in range(12)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    found = [json.loads(path.read_text())["n"] for path in (project / "results").rglob("*.json")]
    assert sorted(found) == list(range(12)) == sorted(r["n"] for r in records.records(row))


def test_a_run_under_way_elsewhere_is_not_joined(row, project):
    folder = run_folder(row, "smoke", 0)
    folder.mkdir(parents=True)
    script = "import fcntl,sys;f=open(sys.argv[1],'w');fcntl.flock(f,2);print(1,flush=True);input()"
    command = [sys.executable, "-c", script, str(folder / "lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(InputError, match="being run by another process"):
            run(row, "smoke", 0, progress=False)
    finally:
        holder.kill()
        holder.communicate()
    assert run(row, "smoke", 0, progress=False)["status"] == "finished"  # a dead process leaves no lock behind


def test_a_damaged_record_is_named(row, project):
    path = project / "results" / row.id / "smoke-seed0-x.json"
    path.parent.mkdir(parents=True)
    for text in ('{"status": "fin', "[]", "{}"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"smoke-seed0-x.json: not a record"):
            list(records.records(row))


def test_the_rows_of_the_papers_are_whole():
    for row in all_rows().values():
        assert row.recipes["smoke"].data == "digits"
        assert row.widths
        for printed in row.reported.values():
            assert prints_like(1.0, printed)
    paper = get_row("dcff/cifar10/resnet110").recipes["paper"]
    assert (paper.epochs, paper.batch_size, paper.lr, paper.weight_decay) == (300, 256, 0.1, 5e-4)


GOOD = """
paper: {title: T, short: S, authors: A, link: L, cite: c}
tables:
  t:
    {title: T, source: S, rule: macs, layout: dcff, method: {name: dcff}, tolerance: 0.3, recipe: {}, budgets: {},
     rows: {r: {title: R, arch: vgg16, rates: "[0.5]*13", reported: {top1: 90.0%}}}}
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


def test_a_table_escapes_what_it_shows(row, monkeypatch):
    nasty = replace(row, title="<script>alert(1)</script>")
    monkeypatch.setattr(rows, "all_rows", lambda: {nasty.id: nasty})
    page = load_table(nasty.table)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
