"""Trained compact networks that are committed beside their records, each with a card; loaded in one line."""

import json
from pathlib import Path

from ..nets import load_network
from ..nets.weights import read_weights
from ..papers.rows import BUDGETS, get_row
from ..system.checkpoint import digest
from ..system.errors import InputError
from ..system.files import write_bytes, write_text
from ..system.paths import home
from ..system.reading import from_json, read_text
from .history import PROTOCOLS
from .records import Run, records

CHECKOUT = Path(__file__).resolve().parent.parent.parent  # where torch.hub puts the project
LARGEST = 4 * 2**20  # bytes of a file that is committed


def publish(name: str, budget: str, seed: int = 0, protocol: str = "last") -> Path:
    """Put the network that a finished run left under ``runs/`` beside its record, with a card; returns its file.

    Raises:
        InputError: no such run, its weights are not on this machine or not those of the record, or they are too large.
    """
    row = get_row(name)
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}; expected one of: {' '.join(PROTOCOLS)}")
    if why := row.why_not(budget, weights=True):
        raise InputError(f"{name} {why}")
    run = Run(row, budget, seed)
    finished = [r for r in records(row, budget) if r["seed"] == seed and r["status"] == "finished"]
    source = run.network(protocol)
    if not finished or not source.is_file():
        command = f"{run.command} --again" if finished else run.command
        raise InputError(f"no weights {protocol} of {run} here; '{command}' leaves them")
    sha = digest(read_weights(source))
    record = next((r for r in finished if r["networks"].get(protocol, {}).get("sha256") == sha), None)
    if record is None:
        raise InputError(f"{source}: no record of {name} is of these weights; run it again")
    data = source.read_bytes()
    if len(data) > LARGEST:
        raise InputError(f"{source} has {len(data):,} bytes; expected at most {LARGEST:,} to commit")
    target = run.kept(protocol)
    write_text(target.with_suffix(".md"), card(target, record, len(data)))
    write_bytes(target, data, load_network)
    return target


def renew_cards(root: Path | None = None) -> list[Path]:
    """Write the card of every committed network anew, from its record; returns those that changed."""
    changed = []
    for weights in sorted(((root or home()) / "results").rglob("*.safetensors")):
        record = from_json(read_text(weights.with_name(f"{weights.stem.rpartition('.')[0]}.json")), str(weights))
        text = card(weights, record, weights.stat().st_size)  # type: ignore[arg-type]
        if read_text(weights.with_suffix(".md")) != text:
            write_text(weights.with_suffix(".md"), text)
            changed.append(weights.with_suffix(".md"))
    return changed


def load(name: str, budget: str | None = None, seed: int | None = None, protocol: str | None = None):
    """The trained compact network of the row ``name``, in evaluation mode.

    Without more, the one of the highest budget there is, its lowest seed, the last epoch before others. What is
    committed beside the records comes first, then what runs left on this machine; what is superseded, as its card then
    says, comes last.

    Raises:
        InputError: an unknown row, or no weights of it.
    """
    row, choice = get_row(name), []
    if budget is not None and budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    protocols = tuple(PROTOCOLS) if protocol is None else (protocol,)
    roots = dict.fromkeys((home(), CHECKOUT))
    committed = [path for root in roots for path in sorted((root / "results" / row.runs).glob("*.safetensors"))]
    here = sorted((home() / "runs" / row.runs).glob("*/*.safetensors"))
    for place, path in enumerate((*committed, *here)):
        stem, _, of = path.stem.rpartition(".") if path in committed else (path.parent.name, "", path.stem)
        run = Run.named(row, stem)
        if run and of in protocols and budget in (None, run.budget) and seed in (None, run.seed):
            rank = (bool(run.superseded), -BUDGETS.index(run.budget), run.seed, protocols.index(of), place)
            choice.append((rank, path))
    if not choice:
        wanted = ", ".join(str(word) for word in (budget, seed, protocol) if word is not None)
        raise InputError(
            f"no trained weights of {name}{f' ({wanted})' if wanted else ''} here; 'prune run {name}' makes them"
        )
    return load_network(min(choice)[1])


def card(weights: Path, record: dict, size: int) -> str:
    """What is said of kept ``weights`` of so many bytes: all of it from their record, and whether that still counts."""
    row, metrics, origin = get_row(record["row"]), record["metrics"], record["provenance"]
    run, protocol = Run(row, record["budget"], record["seed"], record["key"]), weights.stem.rpartition(".")[2]
    lines = [
        f"| {text} | {metrics[f'{row.metric}_{name}']:.2f} % | {metrics[f'epoch_{name}'] + 1} |"
        for name, text in PROTOCOLS.items()
        if metrics.get(f"{row.metric}_{name}") is not None
    ]
    superseded = [f"**Superseded**: {run.superseded}. It is in no figure of the book.", ""] if run.superseded else []
    return "\n".join([
        f"# {run}",
        "",
        *superseded,
        f"`{weights.name}` ({size:,} bytes) holds the weights of {PROTOCOLS[protocol]}. One line loads it: "
        f'`prune_lib.load("{row.id}")`.',
        "",
        f"| Epoch chosen by | Test {row.metric} | Epoch |",
        "|---|---|---|",
        *lines,
        "",
        f"- Network: {record['arch']}, {metrics['params']:,} params, {metrics['flops']:,} FLOPs ({metrics['rule']})",
        f"- Method: {json.dumps(record['method'])}",
        f"- Budget: `{record['budget']}`, {record['recipe']['epochs']} epochs of {origin['data']['train']:,} images of "
        f"{origin['data']['name']}; reported: {row.printed or 'nothing'}",
        f"- Run: {origin['hardware']['name']}, {origin['precision']}, torch {origin['versions']['torch']}, "
        f"code {origin['code']}",
        "- The record beside this file has the whole of it. Test images chose nothing but the epoch of the third line.",
        "",
    ])  # fmt: skip
