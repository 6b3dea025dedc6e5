"""Where the project is on disk: the folder of ``results/``, ``runs/`` and ``data/``; and how many processors it has."""

import os
from pathlib import Path


def home() -> Path:
    """``$PRUNE_HOME``, else the nearest folder upwards that holds ``results/`` and ``notebooks/``, else this one."""
    if os.environ.get("PRUNE_HOME"):
        return Path(os.environ["PRUNE_HOME"]).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "results").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


def shelves() -> list[Path]:
    """Where records are: ``results/`` at home, then those that an installed package brought along (see setup.py)."""
    shipped = Path(__file__).resolve().parent.parent / "results"
    return [home() / "results", *([shipped] if shipped.is_dir() else [])]


def cores() -> int:
    """How many cores this process may use; processes that ``torchrun`` started here share them."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, own // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
