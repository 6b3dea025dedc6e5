"""Run a row once, and keep what was measured: append-only JSON under ``results/``, with its whole provenance."""

import dataclasses
import json
from itertools import chain
from pathlib import Path

from ..papers.rows import BUDGETS, Row, get_row
from ..system import lock
from ..system.errors import InputError, one_line, short
from ..system.provenance import now, provenance
from ..system.reading import check_name
from .records import append as _append
from .records import best_record, find, records, run_folder, tidy, unfinished
from .records import rounded as _rounded

__all__ = ["best_record", "find", "network", "records", "run", "run_folder", "unfinished"]

SCHEMA = 1
STATE = "state.safetensors"  # in the run's folder, while it runs


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

    A run that ends badly leaves a record that says so: ``diverged`` (the loss is no number) or ``failed`` (an error,
    such as no memory left on the device); its last state is kept. One that was killed says nothing: ``unfinished``
    finds it.

    Raises:
        InputError: an unknown row, budget, device or seed; data that is missing or wrong; a record of this run from
            other ``weights``.
    """
    row = get_row(row) if isinstance(row, str) else row
    row = get_row(row.runs_of) if row.runs_of else row
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    if row.method and budget not in row.recipes:
        raise InputError(f"{row.id} has no budget {budget}; expected one of: {' '.join(row.recipes)}")
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed is {short(seed)}; expected a whole number from 0")
    if not save_every >= 0:
        raise InputError(f"save_every is {save_every}; expected seconds, from 0")
    for part in row.id.split("/"):
        check_name(part, "row")
    if not again and (done := _done(row, budget, seed, weights)):
        return done

    if not row.method:
        raise InputError(f"{row.id} is not trained here: {row.unknown or 'its method has no code here yet'}")

    from ..system import distributed as ranks
    from ..system.checkpoint import sweep
    from ..system.device import pick_device
    from .history import Diverged

    where, folder = pick_device(device), run_folder(row, budget, seed)
    with lock.only_one(folder) as waited:
        if ranks.rank() == 0:
            sweep(folder)
        # another process may have finished it while this one waited, and left its weights
        if (waited or not again) and (done := _done(row, budget, seed, weights)):
            return done
        try:
            return _run(row, budget, seed, where, data_dir, progress, save_every, weights, engine)
        except Diverged as error:
            return _ended(row, budget, seed, where, "diverged", str(error))
        except (InputError, OSError):  # nothing was run, or nothing can be written
            raise
        except Exception as error:
            record = _ended(row, budget, seed, where, "failed", _reason(error, row.recipes[budget].batch_size))
            if _no_memory(error):
                return record
            raise


def _done(row: Row, budget: str, seed: int, weights) -> dict | None:
    """The finished record of this run, whose state is then no longer needed.

    Raises:
        InputError: it was made from other weights.
    """
    from ..system import distributed as ranks
    from ..system.checkpoint import digest, discard

    if (done := find(row, budget, seed)) is None:
        return None
    start = (done.get("found") or {}).get("start")
    if weights is not None and start is not None:
        mine = digest(_given(row, weights).state_dict())
        if start.get("sha256") != mine:
            made = start.get("weights") or start.get("row")
            raise InputError(
                f"{row.id}, {budget}, seed {seed} has a record made from other weights ({made}, sha256 "
                f"{str(start.get('sha256'))[:12]}) than {weights} ({mine[:12]}); expected those, or another --seed"
            )
    folder = run_folder(row, budget, seed)
    if ranks.rank() == 0:
        tidy(row)
    if ranks.rank() == 0 and (folder / STATE).exists() and not lock.held(folder):
        discard(folder / STATE)
    return done


def _ended(row: Row, budget: str, seed: int, where, status: str, error: str) -> dict:
    """The record of a run that did not finish; the first process writes it."""
    from ..system import distributed as ranks

    record = _describe(row, budget, seed, where) | {"status": status, "error": error}
    return _append(row, budget, seed, record) if ranks.rank() == 0 else record


def _no_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _reason(error: Exception, batch: int) -> str:
    if _no_memory(error):
        return (
            f"no memory left for batches of {batch} ({one_line(str(error))[:200]}); the last state is kept: "
            f"free memory or take a larger device, and the same command goes on"
        )
    return f"{type(error).__name__}: {one_line(str(error))[:500]}"


def _run(row: Row, budget: str, seed: int, device, data_dir, progress: bool, save_every, weights, engine: str):
    import torch
    from safetensors.torch import save

    from ..cost.counting import cost
    from ..nets import arch_of, build
    from ..papers import make_method
    from ..papers.method import Start
    from ..papers.recipe import normalised
    from ..system import distributed as ranks
    from ..system.checkpoint import digest, discard, write_bytes
    from ..system.device import pick_precision
    from ..tasks.images import load
    from .history import PROTOCOLS, circumstances, exactness
    from .training import train

    recipe, folder, started = row.recipes[budget], run_folder(row, budget, seed), now()
    data = load(recipe.data, data_dir, heldout=recipe.heldout, train_images=recipe.train_images)
    data = normalised(data, recipe)
    options = {key: value for key, value in row.method.items() if key != "name"}
    method = make_method(row.method["name"], arch_of(row.arch), **options)
    state, precision = folder / STATE, pick_precision(device)
    found: dict = {}
    if method.prunes_trained:
        dense, start = _dense(row, budget, seed, weights, len(data.classes), device, data_dir, progress)
        begin = Start(dense.to(device).eval(), data.to(device), seed, precision, folder)
        found = {"start": start, **method.begin(begin)}
    torch.manual_seed(seed)
    model = build(row.arch, None if row.unknown else row.widths, len(data.classes))
    identity = f"{row.id} {budget} seed {seed} {row.key(budget)} {precision}"
    if "start" in found:
        identity += f" from {found['start']['sha256'][:12]}"
    history = train(
        model, data, recipe, method, seed=seed, device=device, precision=precision, state=state, identity=identity,
        progress=progress, save_every=save_every, engine=engine,
    )  # fmt: skip
    found |= method.found()
    networks = {}
    for protocol, weights in history.weights.items():
        if ranks.rank() == 0:
            kept = {conv: len(weights[f"{conv}.weight"]) for conv in arch_of(row.arch).filters}
            about = {"arch": row.arch, "widths": json.dumps(kept), "row": row.id, "protocol": protocol}
            write_bytes(folder / f"{protocol}.safetensors", save(weights, about))
        networks[protocol] = {"sha256": digest(weights)}
    widths = found.get("widths") or (row.widths if row.pruned else None)
    counted = cost(row.arch, widths, row.rule, row.layout, len(data.classes))
    metrics = {"params": counted.params, "flops": found.get("flops", counted.flops), "rule": row.rule}
    if found:
        metrics |= {f"{name}_before": value for name, value in history.before.items()}
        metrics |= {f"{name}_recalibrated": value for name, value in history.recalibrated.items()}
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
        **exactness(history, circumstances(device, precision, engine)),
    }  # fmt: skip
    if ranks.rank() > 0:  # the first process writes
        return _rounded(record)
    record = _append(row, budget, seed, record)
    discard(state)
    return record


def _dense(row: Row, budget: str, seed: int, weights, classes: int, device, data_dir, progress: bool):
    """The trained full network that a row's method prunes, and where it is from."""
    from ..system.checkpoint import digest

    if weights is not None:
        dense = _given(row, weights, classes)
        return dense, {"weights": Path(weights).name, "sha256": digest(dense.state_dict())}
    if not row.start:
        raise InputError(f"{row.id} prunes a trained {row.arch}; name its weights with --weights")
    source = get_row(row.start)
    here = run_folder(source, budget, seed) / "selected.safetensors"
    run(source, budget, seed, device=str(device), data_dir=data_dir, progress=progress, again=not here.is_file())
    dense = network(source, budget, seed, "selected")
    return dense, {"row": source.id, "budget": budget, "sha256": digest(dense.state_dict())}


def _given(row: Row, weights, classes: int | None = None):
    """The full network of a row with the weights of a file, for as many classes as these are, or as is said."""
    from ..nets import build
    from ..nets.weights import fit, read_weights

    tensors = read_weights(weights)
    heads = [len(tensor) for tensor in tensors.values() if tensor.dim() == 2]
    dense = build(row.arch, None, classes or (heads[-1] if heads else None))
    fit(dense, tensors, weights)
    return dense


def network(row: Row, budget: str, seed: int = 0, protocol: str = "last"):
    """The compact network that a finished run left under ``runs/``, of the epoch that ``protocol`` names.

    Raises:
        InputError: its weights are not here (they are not committed with the record).
    """
    from ..nets import load_network

    path = run_folder(row, budget, seed) / f"{protocol}.safetensors"
    if not path.is_file():
        raise InputError(f"no weights {protocol} of {row.id}, {budget}, seed {seed} here; run it on this machine first")
    return load_network(path)


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
