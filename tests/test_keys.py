"""A run's key names what is trained. No change of the house may give a row another key and so orphan its records."""

import json
from pathlib import Path

from prune_lib.papers.rows import all_rows
from prune_lib.runs.records import Run, records, superseded, superseded_lines

HERE = Path(__file__).resolve().parent
FROZEN = json.loads((HERE / "keys.json").read_text(encoding="utf-8"))
SUPERSEDED = {  # their networks began from other weights than published: `Arch.draws`
    "dcff/cifar10/resnet56": {"8510b1f608"},
    "dcff/cifar10/resnet110": {"68a8e30465"},
    "dcff/imagenet/r50_1.49b": {"780443e876"},
}
RECORDS = [
    path for path in sorted((HERE.parent / "results").rglob("*-seed*.json")) if not path.stem.startswith("smoke")
]


def test_every_row_has_the_key_that_it_always_had():
    keys = {name: {budget: row.key(budget) for budget in row.recipes} for name, row in all_rows().items()}
    for name, budgets in FROZEN.items():
        assert {budget: keys[name][budget] for budget in budgets} == budgets, name


def test_every_record_belongs_to_its_row():
    rows = all_rows()
    assert RECORDS
    for path in RECORDS:
        record = json.loads(path.read_text(encoding="utf-8"))
        keys = {rows[record["row"]].key(record["budget"]), *SUPERSEDED.get(record["row"], ())}
        assert path.stem.startswith(f"{record['budget']}-seed{record['seed']}-{record['key']}"), path
        assert record["key"] in keys, path


def test_a_superseded_record_is_found_with_its_reason_and_is_in_no_other_list(monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(HERE.parent))
    found = {row.id: superseded(row) for row in all_rows().values() if not row.runs_of}
    keys = {name: {r["key"] for of in by.values() for r in of} for name, by in found.items() if by}
    assert keys == SUPERSEDED
    assert [len(of) for by in found.values() for of in by.values()] == [2, 2, 1]
    row = all_rows()["dcff/cifar10/resnet56"]
    assert not {r["key"] for r in records(row, "short")} & SUPERSEDED[row.id]
    (line,) = superseded_lines(row)
    assert line.startswith("superseded: 2 records, from before 2026-11-27, when the ResNets' linear layer began")


def test_the_name_of_a_folder_or_file_gives_its_run_back():
    for row in all_rows().values():
        for budget in row.recipes:
            run = Run(row, budget, 17)
            assert Run.named(row, run.folder.name) == run
            assert Run.named(row, f"{run.stem}-2.json") == run
            assert Run.named(row, run.kept("test_best").name) == run
            assert not run.superseded
    row = all_rows()["dcff/cifar10/resnet56"]
    old = Run.named(row, "short-seed1-8510b1f608.last.safetensors")
    assert (old.budget, old.seed, old.key, "linear layer" in old.superseded) == ("short", 1, "8510b1f608", True)
    for other in ("short-seed1-8510b1f609", "short-seed1-8510b1f6080", "long-seed1-8510b1f608",
                  "short-seedx-8510b1f608", "short-seed1", "", "smoke-seed1-8510b1f608"):  # fmt: skip
        assert Run.named(row, other) is None
