"""Run a row once, and keep what was measured: append-only JSON under ``results/``, with its whole provenance."""

import dataclasses
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ..cost.counting import cost
from ..nets import arch_of, build, load_network
from ..nets.pretrained import Found, open_weights
from ..nets.weights import fit
from ..papers import make_method
from ..papers.method import Method, Start
from ..papers.recipe import open_data
from ..papers.rows import BUDGETS, Row, get_row
from ..system import distributed, lock
from ..system.checkpoint import digest
from ..system.device import allow_tf32, pick_device, pick_precision
from ..system.errors import InputError, one_line, short
from ..system.files import discard, sweep, write_bytes
from ..system.paths import check_writable, home
from ..system.provenance import now, provenance
from ..system.reading import check_name
from . import training
from .execution import Execution
from .history import PROTOCOLS, Diverged, History, circumstances, exactness
from .records import Run, append, find, rounded, tidy
from .scores import read_scores
from .settings import execution as execution_of

SCHEMA = 1


@dataclass(frozen=True)
class How:
    """How a run is carried out: nothing of it changes what is trained."""

    device: torch.device
    execution: Execution  # whose precision is the one that is used
    elsewhere: Execution  # how the dense network that is pruned is trained: without the settings of this row
    data_dir: str | Path | None = None
    weights: str | Path | None = None  # the trained network that is pruned, where the method prunes one
    scores: str | Path | None = None  # of that network's filters, from ``scores.score``, instead of scoring again
    progress: bool = True
    save_every: float = 300.0


def run(
    row: Row | str,
    budget: str = "smoke",
    seed: int = 0,
    *,
    device: str = "auto",
    data_dir: str | Path | None = None,
    progress: bool = True,
    save_every: float = 300.0,
    weights: str | Path | None = None,
    scores: str | Path | None = None,
    again: bool = False,
    **execution: Any,
) -> dict:
    """Train, evaluate and record ``row`` at ``budget``; returns the record. A finished run is not run again.

    A run that is under way in another process is waited for. The state of a run in progress, and afterwards its
    compact networks, are under ``runs/``; an interrupted run goes on from its last state. A method that prunes a
    trained network begins with ``weights``, or else with the network that the row's dense row left here, which is
    trained first at the same budget if it has not been.

    Args:
        execution: fields of ``Execution``: ``engine``, ``precision``, ``micro_batch`` …
        scores: of the trained network's filters, as ``runs.scores.score`` wrote them under the same facts.
        again: also if there is a record, for the sake of the weights; the new record stands beside the old one.

    A run that ends badly leaves a record that says so: ``diverged`` (the loss is no number) or ``failed`` (an error,
    such as no memory left on the device); its last state is kept. One that was killed says nothing: ``unfinished``
    finds it.

    Raises:
        InputError: an unknown row, budget, device or seed; a row that cannot be trained; data that is missing or wrong;
            a record of this run from other ``weights``.
    """
    this = checked(row, budget, seed)
    if not save_every >= 0:
        raise InputError(f"save_every is {save_every}; expected seconds, from 0")
    asked, plain = Execution(**execution_of(this.row, execution)), Execution(**execution)
    if distributed.world_size() == 1 and not again and (record := _done(this, weights)):
        return record
    if why := this.row.why_not(budget, weights=weights is not None):
        raise InputError(f"{this.row.called} {why}")
    if weights is None and this.row.start and "data" in this.row.settings:
        raise InputError(f"{this.row.called}: the network that it prunes is trained on other data; name its --weights")
    where = pick_device(device)
    asked = dataclasses.replace(asked, precision=pick_precision(where, asked.precision))
    how = How(where, asked, plain, data_dir, weights, scores, progress, save_every)
    check_writable(home() / "results" / this.row.runs, "the run's record")
    distributed.init_process_group(where)
    allow_tf32(asked.precision == "tf32")
    with lock.only_one(this.folder) as waited:

        def done_meanwhile() -> dict | None:
            """By another process that this one waited for, and which has left its weights."""
            sweep(this.folder)
            return _done(this, weights) if waited or not again else None

        if record := distributed.on_first(done_meanwhile):
            return record
        try:
            return _run(this, how)
        except Diverged as error:
            return _ended(this, where, "diverged", str(error))
        except (InputError, OSError):  # nothing was run, or nothing can be written
            raise
        except Exception as error:
            record = _ended(this, where, "failed", _reason(error, this.row.recipes[budget].batch_size))
            if _no_memory(error):
                return record
            raise


def checked(row: Row | str, budget: str, seed: int) -> Run:
    """The run that these name, under the row whose runs it shares."""
    row = get_row(row) if isinstance(row, str) else row
    row = get_row(row.runs_of) if row.runs_of else row
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    if budget not in row.recipes:
        raise InputError(f"{row.id} {row.why_not(budget)}")
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed is {short(seed)}; expected a whole number from 0")
    for part in row.id.split("/"):
        check_name(part, "row")
    return Run(row, budget, seed)


def _done(this: Run, weights: str | Path | None) -> dict | None:
    """The finished record of this run, whose state is then no longer needed.

    Raises:
        InputError: it was made from other weights.
    """
    if (record := find(this)) is None:
        return None
    if weights is not None and (other := from_others(this, record, weights)):
        raise InputError(other)
    if distributed.rank() == 0:
        tidy(this.row)
        if this.state.exists() and not lock.held(this.folder):
            discard(this.state)
    return record


def from_others(this: Run, record: dict, weights: str | Path) -> str:
    """What is wrong with taking this record for one that begins from these ``weights``, or nothing."""
    start = (record.get("found") or {}).get("start")
    if start is None or start.get("sha256") == (mine := digest(_given(this.row, weights)[0].state_dict())):
        return ""
    made = start.get("weights") or start.get("row")
    return (
        f"{this} has a record made from other weights ({made}, sha256 {str(start.get('sha256'))[:12]}) than {weights} "
        f"({mine[:12]}); expected those, or another --seed"
    )


def _ended(this: Run, device: torch.device, status: str, error: str) -> dict:
    """The record of a run that did not finish; the first process writes it."""
    record = _describe(this, device) | {"status": status, "error": error}
    return append(this, record) if distributed.rank() == 0 else record


def _no_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _reason(error: Exception, batch: int) -> str:
    if _no_memory(error):
        return (
            f"no memory left for batches of {batch} ({one_line(str(error))[:200]}); the last state is kept: "
            f"free memory or take a larger device, and the same command goes on"
        )
    return f"{type(error).__name__}: {one_line(str(error))[:500]}"


def _run(this: Run, how: How) -> dict:
    """From the data to the record, step by step."""
    started = now()
    data = open_data(this.row.recipes[this.budget], how.data_dir)
    _, method, chosen = begin(this, data, how)
    history = _train(this, data, method, chosen, how)
    chosen |= method.found()
    networks = _export(this, history)
    metrics = _count(this, history, chosen, data)
    record = _describe(this, how.device) | {
        "status": "finished",
        "metrics": metrics,
        "curves": {name: [epoch.get(name) for epoch in history.curve] for name in dict.fromkeys(chain(*history.curve))},
        "networks": networks,
        **({"found": chosen} if chosen else {}),
    }
    record["provenance"] |= _circumstances(history, data, how, started)
    if distributed.rank() > 0:  # the first process writes
        return rounded(record)
    record = append(this, record)
    discard(this.state)
    return record


def begin(this: Run, data, how: How, keep: bool = True) -> tuple[Start | None, Method, dict]:
    """The row's method, which has looked at the trained network if it prunes one; from what; and what it chose by that.

    Args:
        keep: whether scores are kept in the run's folder until it has ended.
    """
    options = {name: value for name, value in this.row.method.items() if name != "name"}
    method = make_method(this.row.method["name"], arch_of(this.row.arch), **options)
    if not method.prunes_trained:
        if how.scores is not None:
            raise InputError(f"{this.row.called} scores no trained network; expected no scores")
        return None, method, {}
    dense, origin = _dense(this, data, how)
    precision = str(how.execution.precision)
    folder = this.folder if keep else None
    start = Start(dense.to(how.device).eval(), data.to(how.device), this.seed, precision, folder)
    if how.scores is not None:
        given = read_scores(how.scores)
        start.given = given.tensors, given.about["facts"]
        origin["scores"] = {"file": Path(how.scores).name, "sha256": digest(given.tensors), "made": given.about["made"]}
    return start, method, {"start": origin, **method.begin(start)}


def _train(this: Run, data, method: Method, chosen: dict, how: How) -> History:
    """Train a network drawn from the run's seed, of the row's widths or, where the method finds them, of full width."""
    row = this.row
    torch.manual_seed(this.seed)
    model = build(row.arch, None if row.unknown else row.widths, len(data.classes))
    identity = f"{row.id} {this.budget} seed {this.seed} {this.key} {how.execution.precision}{how.execution.identity()}"
    if "start" in chosen:
        identity += f" from {chosen['start']['sha256'][:12]}"
    return training.train(
        model, data, row.recipes[this.budget], method, seed=this.seed, device=how.device, state=this.state,
        identity=identity, progress=how.progress, save_every=how.save_every, **vars(how.execution),
    )  # fmt: skip


def _export(this: Run, history: History) -> dict[str, dict]:
    """Write the compact network of each protocol into the run's folder; ``{protocol: its sha256}`` for the record."""
    row = this.row
    if distributed.rank() == 0:
        for protocol, weights in history.weights.items():
            widths = {conv: len(weights[f"{conv}.weight"]) for conv in arch_of(row.arch).filters}
            about = {"arch": row.arch, "widths": json.dumps(widths), "row": row.id, "protocol": protocol}
            write_bytes(this.network(protocol), save(weights, about))
    return {protocol: {"sha256": digest(weights)} for protocol, weights in history.weights.items()}


def _count(this: Run, history: History, chosen: dict, data) -> dict:
    """What the compact network costs, and its figures on the test images at the epoch of each protocol."""
    row, classes = this.row, len(data.classes)
    widths = chosen.get("widths") or (row.widths if row.pruned else None)
    counted = cost(row.arch, widths, row.rule, row.layout, classes)
    metrics = {"params": counted.params, "flops": chosen.get("flops", counted.flops), "rule": row.rule}
    if chosen:
        metrics |= {f"{name}_before": value for name, value in history.before.items()}
        metrics |= {f"{name}_recalibrated": value for name, value in history.recalibrated.items()}
        metrics["macs_slim"] = cost(row.arch, widths, "macs", row.layout, classes).flops
    main = f"test_{data.metric}"
    others = [figure for figure in history.curve[-1] if figure.startswith("test_") and figure != main]
    for protocol in PROTOCOLS:
        best = history.best(protocol) or {}
        metrics |= {f"{data.metric}_{protocol}": best.get(main), f"epoch_{protocol}": best.get("epoch")}
        metrics |= {f"{figure.removeprefix('test_')}_{protocol}": best.get(figure) for figure in others}
    return metrics


def _circumstances(history: History, data, how: How, started: str) -> dict:
    """What a record's provenance says beyond code, versions and hardware."""
    return {
        "precision": how.execution.precision,
        "engine": how.execution.engine,
        "processes": distributed.world_size(),
        "deterministic": how.device.type == "cpu",
        **how.execution.facts(),
        "started": started,
        "ended": now(),
        "wall_seconds": round(sum(epoch["seconds"] for epoch in history.curve), 1),
        "data": {
            "name": data.name, "sha256": data.fingerprint,
            "train": len(data.train), "heldout": len(data.heldout), "test": len(data.test),
        },
        **exactness(history, circumstances(how.device, str(how.execution.precision), how.execution.engine)),
    }  # fmt: skip


def _dense(this: Run, data, how: How):
    """The trained full network that a row's method prunes, and where it is from."""
    classes = len(data.classes)
    if how.weights is not None:
        dense, found = _given(this.row, how.weights, classes)
        origin: dict[str, Any] = {"weights": found.origin, "sha256": digest(dense.state_dict())}
        if found.constants and found.constants != (tuple(data.mean), tuple(data.std)):
            origin["normalised_by"] = found.constants  # otherwise than this run's images are
        return dense, origin
    source = Run(get_row(this.row.start), this.budget, this.seed)
    run(
        source.row, source.budget, source.seed, device=str(how.device), data_dir=how.data_dir, progress=how.progress,
        again=distributed.on_first(lambda: source.weights("selected") is None), **vars(how.elsewhere),
    )  # fmt: skip
    distributed.barrier()  # the first process has written it
    dense = network(source.row, source.budget, source.seed, "selected")
    return dense, {"row": source.row.id, "budget": source.budget, "sha256": digest(dense.state_dict())}


def _given(row: Row, weights: str | Path, classes: int | None = None) -> tuple[torch.nn.Module, Found]:
    """The full network of a row with given weights, for as many classes as these are, or as is said."""
    found = open_weights(weights, row.arch)
    heads = [len(tensor) for tensor in found.tensors.values() if tensor.dim() == 2]
    dense = build(row.arch, None, classes or (heads[-1] if heads else None))
    fit(dense, found.tensors, weights)
    return dense, found


def network(row: Row, budget: str, seed: int = 0, protocol: str = "last") -> torch.nn.Module:
    """The compact network that a finished run left under ``runs/``, or that is committed beside its record.

    Args:
        protocol: which epoch's: ``last``, ``selected`` or ``test_best``.

    Raises:
        InputError: its weights are not here; the message says how to have them.
    """
    this = Run(row, budget, seed)
    if path := this.weights(protocol):
        return load_network(path)
    how = this.command
    if record := find(this):  # the record came from elsewhere, and the weights did not
        start = (record.get("found") or {}).get("start") or {}
        how += " --again" + (f" --weights FILE (its were {start['weights']})" if start.get("weights") else "")
    raise InputError(f"no weights {protocol} of {this} here; to have them run it on this machine: {how}")


def _describe(this: Run, device: torch.device) -> dict:
    row = this.row
    return {
        "schema": SCHEMA,
        "row": row.id,
        "budget": this.budget,
        "seed": this.seed,
        "key": this.key,
        **({"of": row.of, "set": dict(row.settings)} if row.of else {}),
        "arch": row.arch,
        "rates": row.rates,
        "method": dict(row.method),
        "recipe": dataclasses.asdict(row.recipes[this.budget]),
        "provenance": provenance(device),
    }
