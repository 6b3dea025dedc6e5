# Every notebook by papermill, and rows as jobs of their own, one row and seed each:
#
#   snakemake -c2                                              every notebook, at smoke
#   snakemake -c2 --config budget=short rows='cdp/resnet20-study/*' seeds=3 weights=resnet20.safetensors
#   snakemake --profile tools/slurm --config budget=paper rows='dcff/cifar10/*'
#
# What a job makes is under runs/batch/; records are where they always are, under results/. A row's mark carries the key
# of what it trains, and whoever has a record is not run again; a notebook is run again when its text, a parameter, the
# library or a row before it has changed. A path may be relative to the folder that snakemake works in.
import sys
from pathlib import Path

from prune_lib.book.site.notebook import parameters_for
from prune_lib.runs.queue import planned
from prune_lib.runs.records import Run, find
from prune_lib.papers.rows import all_rows
from prune_lib.system.paths import absolute, settle_environment

HERE = Path(workflow.basedir)
BUDGET, SEED = str(config.get("budget", "smoke")), int(config.get("seed", 0))
SEEDS = range(SEED, SEED + int(config.get("seeds", 1)))
PATTERNS = str(config.get("rows", "")).split()
settle_environment()


def place(name):
    """A path among the config, absolute: notebooks run in another folder than rows. Snakemake reads 007 as 7."""
    path = absolute(str(config[name]))
    if not isinstance(config[name], str) and not Path(path).exists():
        raise WorkflowError(f"{name} was read as {config[name]!r}, and {path} is not there; write it as {name}=./…")
    return path


GIVEN = {"device": str(config["device"])} if config.get("device") else {}
GIVEN |= {name: place(name) for name in ("data_dir", "weights") if config.get(name) not in (None, "")}
SOURCE = Path(place("source")) if config.get("source") else HERE / "notebooks"
NAMES = str(config.get("notebooks", "")).split() or sorted(file.stem for file in SOURCE.glob("[!.]*.py"))
LIBRARY = sorted(str(file) for kind in ("*.py", "*.yaml") for file in (HERE / "prune_lib").rglob(kind))
KNOWN = ("budget", "seed", "seeds", "rows", "notebooks", "source", "device", "data_dir", "weights")
if unknown := sorted(set(config) - set(KNOWN)):
    raise WorkflowError(f"unknown config {' '.join(unknown)}; expected one of: {' '.join(KNOWN)}")


ROWS = {row.id: row for row in planned(PATTERNS, BUDGET, dense="weights" not in GIVEN)} if PATTERNS else {}


def mark(name, seed):
    """What stands for a finished run of a row: its key is part of the name."""
    return f"runs/batch/rows/{name}/{Run(all_rows()[name], BUDGET, seed).stem}.done"


MARKS = {mark(name, seed): (name, seed) for name in ROWS for seed in SEEDS}
for path, (name, seed) in MARKS.items():  # a run that has a record needs no job
    if not Path(path).exists() and find(Run(ROWS[name], BUDGET, seed)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def seed_of(w):
    return Run.named(all_rows()[w.row], w.stem).seed


def given(name):
    """A notebook's parameters among those that are set, as words for papermill."""
    values = {"budget": BUDGET, "seed": SEED, "interactive": "no", **GIVEN}
    told = parameters_for(SOURCE / f"{name}.py", values)
    return [word for key, value in told.items()
            for word in ("-r" if isinstance(value, str) else "-p", key, str(value))]  # -r: text stays text


wildcard_constraints:
    name=r"\w+",
    row=r"[\w./-]+",
    stem=r"[\w-]+",


rule all:
    input:
        list(MARKS),
        expand("runs/batch/{budget}/{name}.ipynb", budget=BUDGET, name=NAMES),
    default_target: True


rule rows:
    input:
        list(MARKS),


rule row:
    input:
        # the dense network that the row prunes is trained before it
        lambda w: [mark(start, seed_of(w))] if (start := all_rows()[w.row].start) in ROWS else [],
    output:
        touch("runs/batch/rows/{row}/{stem}.done"),
    log:
        "runs/batch/rows/{row}/{stem}.log",
    params:
        python=sys.executable,
        words=lambda w: ["--budget", BUDGET, "--seed", str(seed_of(w))]
        + [word for key, value in GIVEN.items() for word in (f"--{key.replace('_', '-')}", value)],
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} {params.python:q} -m prune_lib run {wildcards.row:q} {params.words:q} > {log:q} 2>&1"


rule notebook:
    input:
        source=f"{SOURCE}/{{name}}.py",
        library=LIBRARY,
        rows=list(MARKS),
    output:
        f"runs/batch/{BUDGET}/{{name}}.ipynb",
    log:
        # the notebook as far as it came: a failed job's outputs are deleted, its log is not
        notebook=f"runs/batch/{BUDGET}/log/{{name}}.ipynb",
        text=f"runs/batch/{BUDGET}/log/{{name}}.txt",
    params:
        python=sys.executable,
        words=lambda w: given(w.name),
        cwd=str(SOURCE),
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} {params.python:q} -m papermill text:{input.source:q} {log.notebook:q} --cwd {params.cwd:q} "
        "--no-progress-bar {params.words:q} > {log.text:q} 2>&1 && mv {log.notebook:q} {output:q}"
