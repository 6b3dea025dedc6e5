"""A run's key names what is trained. No change of the house may give a row another key and so orphan its records."""

import json
from pathlib import Path

from prune_lib.papers.rows import all_rows

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
