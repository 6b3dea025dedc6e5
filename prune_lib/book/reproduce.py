"""The whole book by one command: what has no record is run, paper by paper, and then the book is built."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..papers.rows import BUDGETS, all_rows, papers
from ..runs.estimate import Estimate, estimate
from ..runs.queue import Job, jobs
from ..system.errors import InputError, short
from ..tasks.registry import is_there

TESTS = ("arena",)  # no paper: claims of all of them, at equal recipe


@dataclass(frozen=True)
class Plan:
    """What is to be run, in order, and what cannot be: ``{image set: rows}`` whose data are not here."""

    jobs: Sequence[Job]
    without_data: dict[str, list[str]]

    def estimates(self, device: str, seconds: float) -> tuple[list[Estimate], dict[str, str]]:
        """What each of the runs will take on ``device``, where each row is tried once, for so many ``seconds``.

        And ``{row: why}`` of those whose time is not known: on drawn images, or of other tasks on this machine.
        """
        tried, unknown = {}, {}
        for job in {job.row.id: job for job in self.jobs}.values():
            try:
                tried[job.row.id] = estimate(job.row, job.budget, device, seconds)
            except InputError as error:
                unknown[job.row.id] = str(error)
        return [tried[job.row.id] for job in self.jobs if job.row.id in tried], unknown

    def __str__(self) -> str:
        said = [f"{len(self.jobs)} runs have no record yet"]
        said += [f"{name} is not here, so {len(rows)} rows are left out" for name, rows in self.without_data.items()]
        return "; ".join(said)


def plan(names: Sequence[str], budget: str, seeds: Iterable[int], data_dir: str | None = None) -> Plan:
    """The runs of these papers' rows, and of the dense networks that they prune, that have no record yet.

    Args:
        names: of papers, as ``prune rows`` begins each row; empty: all of them.

    Raises:
        InputError: no such paper, or an unknown budget.
    """
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {short(budget)}; expected one of: {' '.join(BUDGETS)}")
    known = [name for name in papers() if name not in TESTS]
    for name in names:
        if name not in papers():
            raise InputError(f"no paper {short(name)}; expected some of: {' '.join(known)}")
    chosen = [
        row.id for row in all_rows().values() if row.id.split("/")[0] in (names or known) and not row.why_not(budget)
    ]
    if not chosen:
        raise InputError(f"no row of {' '.join(names or known)} can be trained at {budget}; 'prune rows' lists rows")
    todo: list[Job] = []
    without: dict[str, dict[str, None]] = {}
    for job in jobs(chosen, budget, seeds):
        data = job.row.recipes[budget].data
        if is_there(data, data_dir):
            todo.append(job)
        else:
            without.setdefault(data, {})[job.row.id] = None
    return Plan(todo, {data: list(rows) for data, rows in without.items()})
