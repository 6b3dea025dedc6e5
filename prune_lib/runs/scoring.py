"""Score the filters of a trained network as a row's method does, as a step of its own: CFDP's score generation."""

from pathlib import Path

from ..papers.methods import PRUNES_TRAINED
from ..papers.recipe import open_data
from ..papers.rows import Row
from ..system import checkpoint
from ..system.device import pick_device, pick_precision
from ..system.errors import InputError
from ..system.provenance import now, provenance
from .execution import Execution
from .runner import How, begin, checked
from .scores import KIND, Scores


def score(
    row: Row | str,
    out: str | Path,
    budget: str = "paper",
    seed: int = 0,
    *,
    device: str = "auto",
    data_dir: str | Path | None = None,
    weights: str | Path | None = None,
    precision: str | None = None,
) -> Scores:
    """Score the filters of the trained network that ``row`` prunes, as its method does, and write them to ``out``.

    This is CFDP's score generation, and the first part of CDP's recording and pruning.

    Args:
        weights: the trained network; ``None``: what the row's dense row leaves at this budget, trained first.

    Raises:
        InputError: what ``runs.run`` raises, or a method that scores no trained network.
    """
    this = checked(row, budget, seed)
    if why := this.row.why_not(budget, weights=weights is not None):
        raise InputError(f"{this.row.called} {why}")
    where = pick_device(device)
    how = Execution(precision=pick_precision(where, precision))
    data = open_data(this.row.recipes[budget], data_dir)
    start, _, chosen = begin(this, data, How(where, how, how, data_dir, weights), keep=False)
    if start is None or start.found is None:
        name = this.row.method["name"]
        known = " ".join(PRUNES_TRAINED)
        raise InputError(f"{this.row.called}: {name} scores no trained network; expected a row of one of: {known}")
    tensors, facts = start.found
    about = {
        "kind": KIND, "arch": this.row.arch, "row": this.row.id, "method": dict(this.row.method), "facts": facts,
        "start": chosen["start"], "data": data.name, "made": now(), "provenance": provenance(where),
    }  # fmt: skip
    checkpoint.write(Path(out), tensors, about)
    return Scores(tensors, about)
