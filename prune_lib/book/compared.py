"""Networks of one task, full and compact, side by side: for the chapters on detection, segmentation and pose."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from ..nets import arch_of
from ..papers import Row, get_row, open_data
from ..runs.runner import network, run
from ..runs.settings import changed_rows
from ..system.errors import InputError
from ..system.words import Given
from .figures import charts
from .tables.table import Grid, side_by_side


@dataclass(frozen=True)
class Compared:
    """Rows by the names they are shown under, and the record of each at one budget and seed."""

    rows: Mapping[str, Row]
    records: Mapping[str, dict]
    budget: str
    seed: int
    data_dir: str | None

    @property
    def metric(self) -> str:
        """What the networks are judged by: ``AP``, ``mIoU``; the same for all of them."""
        return next(iter(self.rows.values())).metric

    def only(self, prefix: str) -> "Compared":
        """Those whose name starts with ``prefix``, under what is left of their names."""
        names = [name for name in self.rows if name.startswith(prefix)]
        return Compared(
            {name.removeprefix(prefix): self.rows[name] for name in names},
            {name.removeprefix(prefix): self.records[name] for name in names},
            self.budget, self.seed, self.data_dir,
        )  # fmt: skip

    def losses(self):
        """Training loss and test metric of each epoch, a line for each network."""
        return charts.losses(self.records, self.metric)

    def table(self) -> Grid:
        """Data, size and metric of each network."""
        return side_by_side(self.records, self.metric)

    @cached_property
    def data(self) -> Any:
        """The set that all of them were trained on."""
        return open_data(next(iter(self.rows.values())).recipes[self.budget], self.data_dir)

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The networks as they were after the last epoch."""
        return {name: network(row, self.budget, self.seed, "last") for name, row in self.rows.items()}

    def predict(self, count: int) -> dict[str, list]:
        """What each network finds in the first ``count`` test images: ``data.predict`` of detection and of pose."""
        import torch

        with torch.inference_mode():
            return {name: self.data.predict(model, self.data.test[:count]) for name, model in self.networks.items()}


def compare(
    names: Mapping[str, str],
    budget: str,
    seed: int = 0,
    *,
    device: str = "auto",
    data_dir: str = "",
    given: Given = None,
) -> Compared:
    """Train the rows ``names`` (shown as -> row), or read their records where there are any.

    Args:
        given: settings, as ``prune run --set`` takes them; each row is changed by those that it has.

    Raises:
        InputError: an unknown row, budget or setting, data that are missing, or a run that came to no end.
    """
    rows = dict(zip(names, changed_rows([get_row(row) for row in names.values()], budget, given), strict=True))
    options: dict[str, Any] = {"device": device, "data_dir": data_dir or None, "progress": budget != "smoke"}
    records = {name: run(row, budget, seed, **options) for name, row in rows.items()}
    for name, record in records.items():
        if record["status"] != "finished":
            raise InputError(f"{rows[name].id}, {budget}, seed {seed}: {record['status']} ({record['error']})")
    return Compared(rows, records, budget, seed, data_dir or None)


def counted_for(row: Row) -> str:
    """For which image a row's network is counted, and what is to be said of the row."""
    _, height, width = arch_of(row.arch).image
    return f"Counted for one image of {width} x {height} pixels. {row.note}"


def fused(row: Row) -> str:
    """How many convs of a row's backbone DCFF fuses."""
    from ..papers.dcff import DCFF

    arch = arch_of(row.arch)
    filters = DCFF.for_arch(arch, shortcuts=True).filters
    return f"{arch.name}: {len(filters)} of its {len(arch.filters)} convs in the backbone are fused"
