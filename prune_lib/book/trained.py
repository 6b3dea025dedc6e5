"""The rows of a table, trained where a notebook is asked to: what the chapters of every paper have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tqdm import tqdm

from ..papers import Row, table_rows
from ..papers.methods import PRUNES_TRAINED
from ..runs.runner import run
from ..runs.settings import changed_rows
from ..system.errors import InputError, short
from ..system.words import Given
from .tables.table import METRIC_NAMES, Grid

NOTHING = (
    "Nothing is trained on this page. To train: -p budget tiny (a few images of the real data, minutes), short or "
    "paper, with -p data_dir, after papermill."
)


@dataclass(frozen=True)
class Trained:
    """Rows and the record of each, at one budget and seed; shown in a notebook as a table."""

    rows: Sequence[Row]
    records: Sequence[dict]
    left_out: Sequence[str]  # rows that cannot be trained, and why

    @property
    def table(self) -> Grid:
        heads = ["Row", "Data", "Images", "Epochs", "Params", "FLOPs", "As pruned", "Best on test", "Last"]
        lines = [heads]
        for row, record in zip(self.rows, self.records, strict=True):
            metrics, data = record["metrics"], record["provenance"]["data"]
            figures = [metrics.get(f"{row.metric}_{when}") for when in ("before", "test_best", "last")]
            lines.append([
                row.called, data["name"], f"{data['train']:,}", str(record["recipe"]["epochs"]),
                f"{metrics['params']:,}", f"{metrics['flops']:,}",
                *("–" if figure is None else f"{figure:.2f}" for figure in figures),
            ])  # fmt: skip
        metric = METRIC_NAMES.get(self.rows[0].metric, self.rows[0].metric)
        told = sorted({f"{record['budget']} budget, seed {record['seed']}" for record in self.records})
        caption = " ".join([f"{metric} on test, in percent; {', '.join(told)}.", *self.left_out])
        return Grid(lines, caption, records=self.records)

    def __str__(self) -> str:
        return str(self.table) if self.rows else " ".join([NOTHING, *self.left_out])

    def _repr_html_(self) -> str:
        return self.table._repr_html_() if self.rows else f"<p>{escape(str(self))}</p>"


def train(
    tables: str | Sequence[str],
    rows: str,
    budget: str,
    seed: int = 0,
    *,
    device: str = "auto",
    data_dir: str = "",
    given: Given = None,
    weights: str = "",
) -> Trained:
    """Train rows of a table, or read their records where there are any.

    Args:
        rows: names of rows with spaces between, or ``all`` that can be trained; empty, as an empty ``budget``: none.
        given: settings, as ``prune run --set`` takes them; each row is changed by those that it has.
        weights: a trained network for the rows that prune one, instead of what their dense rows leave; if there is no
            such row, the table says so.

    Raises:
        InputError: a row that there is not, or that cannot be trained at ``budget``; an unknown budget or setting; data
            that are missing; or a run that came to no end.
    """
    tables = [tables] if isinstance(tables, str) else tables
    chosen, left_out = _chosen([row for table in tables for row in table_rows(table)], rows, budget, bool(weights))
    if weights and chosen and not any(row.method["name"] in PRUNES_TRAINED for row in chosen):
        left_out = [*left_out, f"{weights} is not used: no row here prunes a trained network."]
    chosen = changed_rows(chosen, budget, given) if chosen else []
    records = []
    for row in tqdm(chosen, desc=f"{', '.join(tables)}, {budget}", unit="row", disable=not chosen):
        start = weights if row.method["name"] in PRUNES_TRAINED else ""
        record = run(
            row, budget, seed, device=device, data_dir=data_dir or None, weights=start or None,
            progress=budget != "smoke",
        )  # fmt: skip
        if record["status"] != "finished":
            raise InputError(f"{row.called}, {budget}, seed {seed}: {record['status']} ({record['error']})")
        records.append(record)
    return Trained(chosen, records, left_out)


def _chosen(rows: Sequence[Row], names: str, budget: str, weights: bool) -> tuple[list[Row], list[str]]:
    """The rows of these names, and of ``all`` those that cannot be trained, each with why."""
    if not budget or not names.split():
        return [], []
    if names.split() == ["all"]:
        why = {row.id: row.why_not(budget, weights) for row in rows}
        return [row for row in rows if not why[row.id]], [f"{row} {words}." for row, words in why.items() if words]
    found = []
    for name in names.split():
        mine = [row for row in rows if name in (row.id, row.id.split("/", 1)[1], row.id.rsplit("/", 1)[1])]
        if not mine:
            known = " ".join(dict.fromkeys(row.id.rsplit("/", 1)[1] for row in rows))
            raise InputError(f"rows: no row {short(name)} here; expected all, or some of: {known}")
        for row in mine:
            if why := row.why_not(budget, weights):
                raise InputError(f"rows: {row.id} {why}")
        found += mine
    return list({row.id: row for row in found}.values()), []
