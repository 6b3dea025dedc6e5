"""Run a row once, and keep what was measured: append-only JSON under ``results/``, with its whole provenance."""

import dataclasses
import fcntl
import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from .errors import InputError
from .home import home
from .provenance import now, provenance
from .rows import BUDGETS, Row, get_row

SCHEMA = 1


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
    engine: str = "eager",
    again: bool = False,
) -> dict:
    """Train, evaluate and record ``row`` at ``budget``; returns the record. A finished run is not run again.

    A run that is under way in another process is waited for. The state of a run in progress, and afterwards its
    compact networks, are under ``runs/``; an interrupted run goes on from its last state. A method that prunes a
    trained network begins with ``weights``, or else with the network that the row's dense row left here, which is
    trained first at the same budget if it has not been.

    Args:
        engine: see ``train``.
        again: also if there is a record, for the sake of the weights.

    Raises:
        InputError: an unknown row, budget, device or seed; data that is missing or wrong.
    """
    row = get_row(row) if isinstance(row, str) else row
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed!r}; expected a whole number from 0")
    if not again and (done := find(row, budget, seed)):
        return done

    if not row.method:
        raise InputError(f"{row.id} is not trained here: {row.unknown or 'its method has no code here yet'}")

    from .device import pick_device
    from .history import Diverged

    where = pick_device(device)
    with _only_one(run_folder(row, budget, seed)) as waited:
        # another process may have finished it while this one waited, and left its weights
        if (waited or not again) and (done := find(row, budget, seed)):
            return done
        try:
            return _run(row, budget, seed, where, data_dir, progress, save_every, weights, engine)
        except Diverged as error:
            failed = {"status": "diverged", "error": str(error)}
            return _append(row, budget, seed, _describe(row, budget, seed, where) | failed)


def _run(row: Row, budget: str, seed: int, device, data_dir, progress: bool, save_every, weights, engine: str):
    import torch
    from safetensors.torch import save_file

    from . import ranks
    from .checkpoint import digest
    from .cost import cost
    from .device import pick_precision
    from .history import PROTOCOLS
    from .method import Start
    from .nets import arch_of, build
    from .papers import make_method
    from .recipe import normalised
    from .tasks.images import load
    from .train import train

    recipe, folder, started = row.recipes[budget], run_folder(row, budget, seed), now()
    data = load(recipe.data, data_dir, heldout=recipe.heldout, train_images=recipe.train_images)
    data = normalised(data, recipe)
    options = {key: value for key, value in row.method.items() if key != "name"}
    method = make_method(row.method["name"], arch_of(row.arch), **options)
    state, precision = folder / "state.safetensors", pick_precision(device)
    found: dict = {}
    if method.prunes_trained:
        dense, start = _dense(row, budget, seed, weights, len(data.classes), device, data_dir, progress)
        begin = Start(dense.to(device).eval(), data.to(device), seed, precision, folder)
        found = {"start": start, **method.begin(begin)}
    torch.manual_seed(seed)
    model = build(row.arch, None if row.unknown else row.widths, len(data.classes))
    history = train(
        model, data, recipe, method, seed=seed, device=device, precision=precision, state=state,
        identity=f"{row.id} {budget} seed {seed} {row.key(budget)} {precision}", progress=progress,
        save_every=save_every, engine=engine,
    )  # fmt: skip
    found |= method.found()
    networks = {}
    for protocol, weights in history.weights.items():
        if ranks.rank() == 0:
            kept = {conv: len(weights[f"{conv}.weight"]) for conv in arch_of(row.arch).filters}
            about = {"arch": row.arch, "widths": json.dumps(kept), "row": row.id, "protocol": protocol}
            save_file(weights, folder / f"{protocol}.safetensors", metadata=about)
        networks[protocol] = {"sha256": digest(weights)}
    widths = found.get("widths") or (row.widths if row.pruned else None)
    counted = cost(row.arch, widths, row.rule, row.layout, len(data.classes))
    metrics = {"params": counted.params, "flops": found.get("flops", counted.flops), "rule": row.rule}
    if found:
        metrics |= {f"{name}_before": value for name, value in history.before.items()}
        metrics["macs_slim"] = cost(row.arch, widths, "macs", row.layout, len(data.classes)).flops
    for protocol in PROTOCOLS:
        best = history.best(protocol) or {}
        metrics |= {f"{data.score}_{protocol}": best.get(f"test_{data.score}"), f"epoch_{protocol}": best.get("epoch")}
        others = [figure for figure in history.curve[-1] if figure.startswith("test_") and figure[5:] != data.score]
        metrics |= {f"{figure[5:]}_{protocol}": best.get(figure) for figure in others}
    record = _describe(row, budget, seed, device) | {
        "status": "finished",
        "metrics": metrics,
        "curves": {name: [epoch.get(name) for epoch in history.curve] for name in dict.fromkeys(chain(*history.curve))},
        "networks": networks,
        **({"found": found} if found else {}),
    }
    record["provenance"] |= {
        "precision": precision,
        "engine": engine,
        "processes": ranks.size(),
        "deterministic": device.type == "cpu",
        "started": started,
        "ended": now(),
        "wall_seconds": round(sum(epoch["seconds"] for epoch in history.curve), 1),
        "data": {
            "name": data.name, "sha256": data.fingerprint,
            "train": len(data.train), "heldout": len(data.heldout), "test": len(data.test),
        },
    }  # fmt: skip
    if ranks.rank() > 0:  # the first process writes
        return _rounded(record)
    record = _append(row, budget, seed, record)
    for leftover in (state, state.with_name(f"{state.name}.previous")):
        leftover.unlink(missing_ok=True)
    return record


def _dense(row: Row, budget: str, seed: int, weights, classes: int, device, data_dir, progress: bool):
    """The trained full network that a row's method prunes, and where it is from."""
    from .checkpoint import digest
    from .nets import build
    from .weights import fit, read_weights

    if weights is not None:
        dense = build(row.arch, None, classes)
        fit(dense, read_weights(weights), weights)
        return dense, {"weights": Path(weights).name, "sha256": digest(dense.state_dict())}
    if not row.start:
        raise InputError(f"{row.id} prunes a trained {row.arch}; name its weights with --weights")
    source = get_row(row.start)
    here = run_folder(source, budget, seed) / "selected.safetensors"
    run(source, budget, seed, device=str(device), data_dir=data_dir, progress=progress, again=not here.is_file())
    dense = network(source, budget, seed, "selected")
    return dense, {"row": source.id, "budget": budget, "sha256": digest(dense.state_dict())}


def records(row: Row | None = None, budget: str | None = None) -> Iterator[dict]:
    """The records under ``results/``, in the order of their names: of ``row`` or of all, at ``budget`` or at any.

    Records of a row that has since changed what it trains are left out: they belong to another key.
    """
    folder = home() / "results" / (row.id if row else "")
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            named = {name: record[name] for name in ("status", "budget", "key", "seed")}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{path}: not a record ({type(error).__name__}: {error})") from None
        if named["budget"] not in BUDGETS:
            raise InputError(f"{path}: not a record (its budget is {named['budget']!r})")
        if budget in (None, named["budget"]) and (row is None or named["key"] == row.key(named["budget"])):
            yield record


def find(row: Row, budget: str, seed: int) -> dict | None:
    """The finished record of this run, if there is one."""
    return next((r for r in records(row, budget) if r["seed"] == seed and r["status"] == "finished"), None)


def best_record(row: Row) -> dict | None:
    """The finished record of the highest budget there is, of its lowest seed."""
    finished = [r for r in records(row) if r["status"] == "finished"]
    return min(finished, key=lambda r: (-BUDGETS.index(r["budget"]), r["seed"]), default=None)


def network(row: Row, budget: str, seed: int = 0, protocol: str = "last"):
    """The compact network that a finished run left under ``runs/``, of the epoch that ``protocol`` names.

    Raises:
        InputError: its weights are not here (they are not committed with the record).
    """
    from .nets import load_network

    path = run_folder(row, budget, seed) / f"{protocol}.safetensors"
    if not path.is_file():
        raise InputError(f"no weights {protocol} of {row.id}, {budget}, seed {seed} here; run it on this machine first")
    return load_network(path)


def run_folder(row: Row, budget: str, seed: int) -> Path:
    """Where a run keeps its state while it runs, and its compact networks afterwards."""
    return home() / "runs" / row.id / f"{budget}-seed{seed}-{row.key(budget)}"


def _append(row: Row, budget: str, seed: int, record: dict) -> dict:
    """Write a record under a name of its own and return what was written.

    An existing file is never touched: linking to its name fails.
    """
    from .checkpoint import write_text

    folder = home() / "results" / row.id
    stem = f"{budget}-seed{seed}-{row.key(budget)}"
    new = folder / f".{stem}.{uuid.uuid4().hex}"
    record = _rounded(record)
    write_text(new, json.dumps(record, indent=1, allow_nan=False) + "\n")
    try:
        for attempt in range(1, 1000):
            path = folder / (f"{stem}.json" if attempt == 1 else f"{stem}-{attempt}.json")
            try:
                os.link(new, path)
                return record
            except FileExistsError:
                continue
        raise InputError(f"{folder}: a thousand records of {stem}; expected one")
    finally:
        new.unlink()


def _describe(row: Row, budget: str, seed: int, device) -> dict:
    return {
        "schema": SCHEMA,
        "row": row.id,
        "budget": budget,
        "seed": seed,
        "key": row.key(budget),
        "arch": row.arch,
        "rates": row.rates,
        "method": dict(row.method),
        "recipe": dataclasses.asdict(row.recipes[budget]),
        "provenance": provenance(device),
    }


def _rounded(value):
    """Seven significant digits are all that float32 gives; NaN and infinities become null, which JSON has."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


@contextmanager
def _only_one(folder: Path) -> Iterator[bool]:
    """Hold a run's folder; waits for another process that has it, and gives whether it did. The lock is the kernel's,
    so a process that dies, however hard, leaves none behind.
    """
    from . import ranks

    folder.mkdir(parents=True, exist_ok=True)
    if ranks.rank() > 0:  # the first process holds the folder for all
        yield False
        return
    with open(folder / "lock", "w") as lock:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"{folder.parent.name}/{folder.name} is being run by another process; waiting for it", flush=True)
            waited = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited
