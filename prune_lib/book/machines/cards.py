"""A folder for each kept network, as Hugging Face's Hub takes a model: card, ``.eval_results``, weights, record.

The card's head and ``.eval_results/*.yaml`` say the same figure, that of the epoch whose weights these are. The Hub
shows an evaluation where its data set is registered there as a benchmark; elsewhere whoever fetches the file reads it.
"""

from pathlib import Path

from ...papers.rows import get_row
from ...runs.history import PROTOCOLS
from ...runs.kept import card
from ...runs.records import Run
from ...system.errors import InputError
from ...system.reading import from_json, read_text
from .project import Project

HUB = {  # image set -> its name on the Hub, and in words
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10"),
    "imagenet": ("ILSVRC/imagenet-1k", "ImageNet"),
}
TASK = "default"  # of the benchmark; these sets have one task each


def model_folders(project: Project, results: Path) -> dict[str, str | Path]:
    """``{path below models/: its text, or the file to copy}`` for every network kept under ``results``.

    Raises:
        InputError: weights without their record.
    """
    found: dict[str, str | Path] = {}
    for weights in sorted(results.rglob("*.safetensors")):
        stem, _, protocol = weights.stem.rpartition(".")
        source = weights.with_name(f"{stem}.json")
        record = from_json(read_text(source), str(source))
        if protocol not in PROTOCOLS or not isinstance(record, dict) or record.get("status") != "finished":
            raise InputError(f"{weights}: expected STEM.PROTOCOL.safetensors, and the record of its run as STEM.json")
        row = get_row(record["row"])
        run = Run(row, record["budget"], record["seed"], record["key"])
        folder = f"{row.id.replace('/', '--')}--{run.stem}--{protocol}"
        value = record["metrics"].get(f"{row.metric}_{protocol}")
        path = weights.relative_to(results).with_suffix("").as_posix().removesuffix(f".{protocol}")
        body = card(weights, record, weights.stat().st_size)
        found[f"{folder}/README.md"] = f"---\n{_yaml(_head(project, run, record, value))}---\n\n{body}"
        found[f"{folder}/{weights.name}"] = weights
        found[f"{folder}/{source.name}"] = source
        data = record["provenance"]["data"]["name"]
        if data in HUB and row.metric == "top1" and value is not None:
            entry = _evaluation(project, run, record, protocol, f"results/{path}.json", value)
            found[f"{folder}/.eval_results/{data}.yaml"] = _yaml([entry])
    return found


def _head(project: Project, run: Run, record: dict, value: float | None) -> dict:
    """What stands between the lines at the top of a card."""
    data = record["provenance"]["data"]["name"]
    head: dict = {
        "license": project.license.lower(), "library_name": project.name, "pipeline_tag": "image-classification",
        "tags": ["filter-pruning", record["arch"], record["method"]["name"], f"budget-{run.budget}"],
    }  # fmt: skip
    if data not in HUB or run.row.metric != "top1":
        del head["pipeline_tag"]
        return head
    name, words = HUB[data]
    head |= {"datasets": [name], "metrics": ["accuracy"]}
    if value is not None:
        result = {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {"type": name, "name": words, "split": "test"},
            "metrics": [{"type": "accuracy", "name": "Top-1, percent", "value": value}],
        }
        head["model-index"] = [{"name": str(run), "results": [result]}]
    return head


def _evaluation(project: Project, run: Run, record: dict, protocol: str, path: str, value: float) -> dict:
    """One entry of ``.eval_results``."""
    origin, recipe = record["provenance"], record["recipe"]
    images = f"{recipe['epochs']} epochs of {origin['data']['train']:,} images"
    notes = f"top-1 in percent at {PROTOCOLS[protocol]}; budget {run.budget}, {images}, seed {run.seed}"
    if run.budget != "paper":
        notes += "; not the paper's recipe"
    if run.superseded:
        notes += f"; superseded, {run.superseded}"
    entry: dict = {"dataset": {"id": HUB[origin["data"]["name"]][0], "task_id": TASK}, "value": value}
    if origin.get("ended"):
        entry["date"] = origin["ended"]
    if project.address:
        entry["source"] = {"url": project.at(path), "name": "The record of the run"}
    return entry | {"notes": notes}


def _yaml(document: object) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
