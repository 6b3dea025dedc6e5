"""Where the project is on disk: the folder that ``results/``, ``runs/`` and ``data/`` are kept in."""

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
