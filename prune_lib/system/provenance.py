"""Where a figure comes from: code, versions, hardware, time."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from .. import __version__

PACKAGE = Path(__file__).resolve().parent.parent


def provenance(device) -> dict:
    """Code version, package versions and hardware of a run on ``device``."""
    return {"code": code_version(), "versions": _versions(), "hardware": _hardware(device)}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def code_version(folder: Path = PACKAGE) -> str:
    """The package's version and, in a git checkout, its commit, marked when files of ``folder`` differ from it.

    What a browser saw does not count: it is about the commit.
    """
    try:
        git = ["git", "-C", str(folder)]
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        status = ["status", "--porcelain", "--", ".", ":(exclude,top)results/browser", ":(exclude,top)results/injected"]
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
