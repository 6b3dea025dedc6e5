"""Processes that Slurm started, told what ``torchrun`` would have told them."""

import os
import re
from collections.abc import Mapping

from .errors import InputError, short

NEEDED = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_ID")


def as_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` of one task of an ``srun``.

    All tasks of a step find the same address, the first node's, and the same port, which follows from the job's
    number; ``MASTER_ADDR`` and ``MASTER_PORT`` that are set already stay.

    Raises:
        InputError: these are not the variables of a task that ``srun`` started.
    """
    for name in NEEDED:
        if not environment.get(name, "").isdecimal():
            raise InputError(
                f"launcher slurm: ${name} is {short(environment.get(name))}; expected a number: start it by srun"
            )
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "localhost"
    step = int(environment.get("SLURM_STEP_ID") or 0) if (environment.get("SLURM_STEP_ID") or "0").isdecimal() else 0
    port = 20_000 + (int(environment["SLURM_JOB_ID"]) * 7 + step) % 40_000
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "MASTER_ADDR": environment.get("MASTER_ADDR") or first_of(nodes),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(port),
    }


def first_of(nodes: str) -> str:
    """The first host of a list as Slurm writes it: ``gpu[003-007,12],login1`` -> ``gpu003``."""
    first = re.match(r"([^\[,]*)(?:\[([^\],-]*)[^\]]*\]([^,\[]*))?", nodes.strip())
    return "".join(part or "" for part in first.groups()) if first else nodes


def settle(launcher: str) -> None:
    """Have this process belong to those that ``launcher`` started: ``none``, ``pytorch`` (torchrun) or ``slurm``.

    Empty: what the environment says, which is torchrun's or nothing.

    Raises:
        InputError: it was not started by that one.
    """
    if launcher == "slurm":
        os.environ.update(as_torchrun(os.environ))
    elif launcher == "pytorch" and "RANK" not in os.environ:
        raise InputError("launcher pytorch: $RANK is not set; expected this to be started by torchrun")
    elif launcher == "none":
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            os.environ.pop(name, None)
