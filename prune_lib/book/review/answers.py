"""The reproducibility checklist, answered from a paper's YAML, its rows and their records."""

import ast
from collections.abc import Iterable
from importlib.resources import files
from statistics import mean

from ...papers.checklist import ITEMS
from ...papers.methods import METHODS
from ...papers.rows import TRIALS
from ...system.paths import home
from ..tables.verdict import EXACT

NOT_SAID, NOT_TRIED = "not said by the paper", "not tried here"


def answers(facts) -> dict[str, tuple[str, str]]:
    """``{item: (what the source has, what there is here)}`` for every item, from what ``sheet`` has read."""
    says, known, here = facts.about.get("says") or {}, _source(facts), _here(facts)
    known = {item: "; ".join(_both(says.get(item), known.get(item))) for item in ITEMS}
    return {item: (known.get(item) or NOT_SAID, here.get(item) or NOT_TRIED) for item in ITEMS}


def _both(said: str | None, computed: str | None) -> list[str]:
    """What was read, then what its rows show; an address says no more than a file that was named."""
    computed = None if said and computed and computed.startswith("http") else computed
    return [text for text in (said, computed) if text]


def _number(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(word for word in words if word))


def _source(facts) -> dict[str, str]:
    """What the printed tables and what was read of the code say by themselves."""
    rows = facts.reported
    if not rows:
        return {}
    open_ = [row for row in rows if not row.unknown]
    broken = [claim for claim in facts.stated if str(claim.get("finding", "")).startswith("Cannot run as printed")]
    counted = [row for row in rows if {"flops", "params"} & {*row.reported}]
    found = {
        "complexity": f"FLOPs or params of {len(counted)} of {len(rows)} rows" if counted else "",
        "collection": f"no new data: its rows are of {_listed(row.dataset for row in rows)}",
        "hyperparameters": f"the network of {len(open_)} of {len(rows)} rows"
        + (f"; of the others {_listed(row.unknown for row in rows if row.unknown)}" if len(open_) < len(rows) else ""),
        "variation": f"one figure in each of {len(rows)} rows, none with a deviation",
    }
    if broken:
        found["commands"] = f"{len(broken)} of its commands cannot run as printed (see the errata)"
    if "github.com" in facts.about["link"]:
        found["training"] = facts.about["link"]
    return found


def _here(facts) -> dict[str, str]:
    rows, trained, records = facts.reported, facts.trained, facts.all_records
    recipes = [row.recipes["paper"] for row in trained if "paper" in row.recipes]
    found = {
        "algorithm": _methods(facts),
        "assumptions": _read(facts),
        "complexity": _recounts(facts),
        "statement": f"{_number(len(facts.compared), 'claim')} by comparison, in our words" if facts.compared else "",
        "collection": "none collected",
        "dependencies": "requirements.lock; versions in every record" if records else "requirements.lock",
        "training": f"prune run, for {len(trained)} of {len(rows)} reported rows" if trained else "",
        "evaluation": "prune eval ROW --weights FILE" if trained else "",
        "commands": "prune run ROW --budget paper --seed N, for each of them" if trained else "",
        "hyperparameters": "every field of the recipe by prune show ROW; none was searched" if recipes else "",
    }
    if trained:
        found["measure"] = (
            "test accuracy at the last epoch, at the one selected on held-out images, and at the one best on test"
        )
    if recipes:
        names = sorted({recipe.data for recipe in recipes})
        held = _listed(f"of {recipe.data} {recipe.heldout:,}" for recipe in recipes)
        found["splits"] = f"training images held out to select an epoch: {held}; test images for the figures alone"
        found["download"] = f"prune data {' or '.join(names)}; its sha256 in every record"
        steps = [f"cutout {r.cutout}" if r.cutout else "" for r in recipes]
        steps += [f"mixup {r.mixup:g}" if r.mixup else "" for r in recipes]
        others = "".join(f", {step}" for step in dict.fromkeys(steps) if step)
        found["preprocessing"] = f"the set's own augmentation{others}; at short fewer images"
    if records:
        data = sorted({(r["provenance"]["data"]["name"], *_sizes(r)) for r in records})
        found["statistics"] = "; ".join(
            f"{name}: {train:,} to train, {held:,} held out, {test:,} to test" for name, train, held, test in data
        )
        run_ = sum(bool(of) for of in facts.records.values())
        found["runs"] = f"{_number(len(records), 'finished run')} of {_number(run_, 'row')}"
        several = [of for of in facts.records.values() if len({record["seed"] for _, record in of}) > 1]
        found["variation"] = (
            f"{_number(len(several), 'row')} with more than one seed, mean and deviation" if several else ""
        )
        minutes = [r["provenance"]["wall_seconds"] / 60 for r in records]
        found["runtime"] = f"{mean(minutes):.1f} minutes a run on average, {sum(minutes) / 60:.1f} hours in all"
        found["infrastructure"] = _listed(sorted(_machine(r["provenance"]["hardware"]) for r in records))
    folders = {home() / "results" / row.runs for row in facts.rows}
    kept = sum(
        not path.name.startswith(tuple(f"{budget}-" for budget in TRIALS))
        for folder in folders
        for path in folder.glob("*.safetensors")
    )
    found["models"] = f"{_number(kept, 'network')} beside the records" if kept else ""
    return found


def _sizes(record: dict) -> tuple[int, int, int]:
    data = record["provenance"]["data"]
    return data["train"], data["heldout"], data["test"]


def _machine(hardware: dict) -> str:
    return f"{hardware.get('name') or hardware['device']} ({_number(hardware.get('threads', 1), 'thread')})"


def _methods(facts) -> str:
    """The classes of its methods, each with the first sentence of its docstring."""
    names = dict.fromkeys(row.method["name"] for row in facts.rows if row.method and row.method["name"] != "dense")
    said = []
    for name in names:
        module, cls = METHODS[name].split(":")
        file = f"{module.removeprefix('.')}.py"
        tree = ast.parse((files("prune_lib") / "papers" / file).read_text(encoding="utf-8"))
        node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls)
        first = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
        said.append(f"papers/{file}, {cls}: {first}")
    return "; ".join(said)


def _read(facts) -> str:
    read = [claim for claim in facts.stated if "finding" in claim]
    return f"what reading its text and code showed: {len(read)} of the errata" if read else ""


def _recounts(facts) -> str:
    lines = [facts.line(row) for row in facts.reported if not row.unknown and row.arch]
    if not lines:
        return ""
    rules = _listed(line.row.rule for line in lines)
    exact = sum(line.count_verdict == EXACT for line in lines)
    return f"params and FLOPs of {len(lines)} rows by the rules {rules}; {exact} of them exact"
