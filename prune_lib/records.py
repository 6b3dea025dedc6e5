"""Run a row once, and keep what was measured: append-only JSON under ``results/``, with its whole provenance."""

import dataclasses
import fcntl
import json
import math
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from . import __version__
from .errors import InputError
from .home import home
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
) -> dict:
    """Train, evaluate and record ``row`` at ``budget``; returns the record. A finished run is not run again.

    The state of a run in progress, and afterwards its compact networks, are under ``runs/``; an interrupted run goes
    on from its last whole epoch.

    Raises:
        InputError: an unknown row, budget, device or seed; data that is missing or wrong; the run is under way in
            another process.
    """
    row = get_row(row) if isinstance(row, str) else row
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed!r}; expected a whole number from 0")
    if done := find(row, budget, seed):
        return done

    if not row.method:
        raise InputError(f"{row.id} is not trained here: {row.unknown or 'its method has no code here yet'}")

    from .train import Diverged, pick_device

    where = pick_device(device)
    with _only_one(run_folder(row, budget, seed)):
        if done := find(row, budget, seed):  # another process finished it while this one waited
            return done
        try:
            return _run(row, budget, seed, where, data_dir, progress)
        except Diverged as error:
            failed = {"status": "diverged", "error": str(error)}
            return _append(row, budget, seed, _describe(row, budget, seed, where) | failed)


def _run(row: Row, budget: str, seed: int, device, data_dir, progress: bool) -> dict:
    import torch
    from safetensors.torch import save_file

    from . import ranks
    from .checkpoint import digest
    from .cost import cost
    from .nets import arch_of, build
    from .papers import make_method
    from .tasks.images import load
    from .train import PROTOCOLS, pick_precision, train

    recipe, folder, started = row.recipes[budget], run_folder(row, budget, seed), _now()
    data = load(recipe.data, data_dir, heldout=recipe.heldout, train_images=recipe.train_images)
    options = {key: value for key, value in row.method.items() if key != "name"}
    method = make_method(row.method["name"], arch_of(row.arch), **options)
    torch.manual_seed(seed)
    model = build(row.arch, row.widths, len(data.classes))
    state, precision = folder / "state.safetensors", pick_precision(device)
    history = train(
        model, data, recipe, method, seed=seed, device=device, precision=precision, state=state,
        identity=f"{row.id} {budget} seed {seed} {row.key(budget)} {precision}", progress=progress,
    )  # fmt: skip
    networks = {}
    for protocol, weights in history.weights.items():
        if ranks.rank() == 0:
            about = {"arch": row.arch, "widths": json.dumps(row.widths), "row": row.id, "protocol": protocol}
            save_file(weights, folder / f"{protocol}.safetensors", metadata=about)
        networks[protocol] = {"sha256": digest(weights)}
    counted = cost(row.arch, row.widths if row.pruned else None, row.rule, row.layout, len(data.classes))
    metrics = {"params": counted.params, "flops": counted.flops, "rule": row.rule}
    for protocol in PROTOCOLS:
        best = history.best(protocol) or {}
        metrics |= {f"top1_{protocol}": best.get("test_top1"), f"epoch_{protocol}": best.get("epoch")}
        if "test_top5" in history.curve[-1]:
            metrics[f"top5_{protocol}"] = best.get("test_top5")
    record = _describe(row, budget, seed, device) | {
        "status": "finished",
        "metrics": metrics,
        "curves": {name: [epoch.get(name) for epoch in history.curve] for name in history.curve[0]},
        "networks": networks,
    }
    record["provenance"] |= {
        "precision": precision,
        "processes": ranks.size(),
        "deterministic": device.type == "cpu",
        "started": started,
        "ended": _now(),
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
        "provenance": {"code": code_version(), "versions": _versions(), "hardware": _hardware(device)},
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
def _only_one(folder: Path):
    """Hold a run's folder. The lock is the kernel's, so a process that dies, however hard, leaves none behind."""
    from . import ranks

    folder.mkdir(parents=True, exist_ok=True)
    if ranks.rank() > 0:  # the first process holds the folder for all
        yield
        return
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder.name} is being run by another process; wait for it or stop it") from None
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def code_version() -> str:
    """The package's version and, in a git checkout, its commit, marked when files differ from it."""
    folder = Path(__file__).resolve().parent
    try:
        git = ["git", "-C", str(folder)]
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        status = ["status", "--porcelain", "--", "."]
        changed = subprocess.run([*git, *status], capture_output=True, text=True, check=True)
        return f"{__version__}+{commit.stdout.strip()}{'.changed' if changed.stdout.strip() else ''}"
    except (OSError, subprocess.CalledProcessError):
        return __version__


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "safetensors")}
    return {"python": platform.python_version(), **packages}


def _hardware(device) -> dict:
    import torch

    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": device.type, "name": kind, "threads": torch.get_num_threads(), "system": sys.platform}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
