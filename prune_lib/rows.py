"""A row: one line of a paper's table, as data. Rows live in ``papers/*.yaml`` and are called ``paper/table/row``."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

import yaml

from .errors import InputError
from .nets import read_spec
from .recipe import Recipe
from .spec import Widths

BUDGETS = ("smoke", "short", "paper")  # from seconds on embedded digits to the whole published recipe
REPORTED = ("flops", "flops_cut", "params", "params_cut", "top1")


@dataclass(frozen=True)
class Row:
    id: str  # paper/table/row
    title: str
    arch: str
    rates: str | None  # as published; None: nothing is pruned
    layout: str  # whose rate layout
    rule: str  # under which the paper's FLOPs are counted
    method: Mapping[str, str]  # name and options
    recipes: Mapping[str, Recipe]  # budget -> recipe
    reported: Mapping[str, str]  # figures as printed
    tolerance: float  # percentage points of top-1, fixed before anything was run
    source: str
    note: str = ""

    @property
    def table(self) -> str:
        return self.id.rsplit("/", 1)[0]

    @property
    def widths(self) -> Widths:
        return read_spec(self.arch, self.rates, self.layout)[1]

    def key(self, budget: str) -> str:
        """Names what is trained, and nothing else: figures, titles and sources can be corrected without retraining."""
        what = [self.arch, self.rates and self.rates.replace(" ", ""), self.layout, dict(self.method)]
        text = json.dumps([*what, self.recipes[budget].not_default()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def to_json(self) -> dict:
        fields = asdict(self)
        fields["recipes"] = {budget: asdict(recipe) for budget, recipe in self.recipes.items()}
        return fields


@cache
def all_rows() -> dict[str, Row]:
    """``{id: row}`` of every table of every paper, in the tables' order."""
    folder = files("prune_lib") / "papers"
    rows: dict[str, Row] = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            paper = file.name.removesuffix(".yaml")
            rows |= read_tables(paper, file.read_text(encoding="utf-8"))
    return rows


def get_row(name: str) -> Row:
    """The row called ``name``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    rows = all_rows()
    if name not in rows:
        raise InputError(f"unknown row {name!r}; expected one of: {' '.join(rows)}")
    return rows[name]


def table_rows(table: str) -> list[Row]:
    """The rows of ``paper/table``."""
    rows = [row for row in all_rows().values() if row.table == table]
    if not rows:
        tables = dict.fromkeys(row.table for row in all_rows().values())
        raise InputError(f"unknown table {table!r}; expected one of: {' '.join(tables)}")
    return rows


def read_tables(paper: str, text: str) -> dict[str, Row]:
    """The rows of one paper's YAML, every field checked by name.

    Raises:
        InputError: what is wrong, and in which table and row.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{paper}.yaml: not YAML ({' '.join(str(error).split())})") from None
    _expect(document, f"{paper}.yaml", {"paper", "tables"})
    rows = {}
    for name, table in document["tables"].items():
        where = f"{paper}/{name}"
        needed = {"title", "source", "rule", "layout", "method", "tolerance", "recipe", "budgets", "rows"}
        _expect(table, where, needed)
        for key, fields in table["rows"].items():
            row = _read_row(f"{where}/{key}", table, fields)
            rows[row.id] = row
    return rows


def _read_row(where: str, table: dict, fields: dict) -> Row:
    _expect(fields, where, {"title", "arch", "rates", "reported"}, {"note", "source", "recipe", *BUDGETS})
    _expect(fields["reported"], f"{where}, reported", set(), set(REPORTED))
    base = {**table["recipe"], **fields.get("recipe", {})}
    recipes = {}
    for budget in BUDGETS:
        try:
            recipes[budget] = Recipe.from_dict(
                {**base, **table["budgets"].get(budget, {}), **fields.get(budget, {})},
            )
        except InputError as error:
            raise InputError(f"{where}, {budget}: {error}") from None
    row = Row(
        id=where, title=fields["title"], arch=fields["arch"], rates=fields["rates"], layout=table["layout"],
        rule=table["rule"], method=table["method"], recipes=recipes, reported=fields["reported"],
        tolerance=float(table["tolerance"]), source=fields.get("source", table["source"]),
        note=fields.get("note", ""),
    )  # fmt: skip
    try:
        read_spec(row.arch, row.rates, row.layout)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return row


def _expect(mapping, where: str, needed: set[str], optional: set[str] | None = None) -> None:
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: found {type(mapping).__name__}; expected a mapping")
    for key in mapping:
        if key not in needed | (optional or set()):
            raise InputError(f"{where}: unknown key {key!r}; expected {' '.join(sorted(needed | (optional or set())))}")
    for key in sorted(needed):
        if key not in mapping:
            raise InputError(f"{where}: {key} is missing")
