"""Where to compute, and with what numbers."""

import ctypes
import os
import platform
from functools import cache

import torch

from . import distributed as ranks
from .errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is this process's CUDA device where there is one (the first, if it is alone), else the CPU.

    For a CPU, this process is also told to keep the memory that tensors give back.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.size() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not usable here: {str(error).splitlines()[0]}") from None
    if device.type == "cpu":
        _keep_freed()
    return device


@cache
def _keep_freed() -> None:
    """Have glibc keep freed memory for the next tensors, as torch does on a card.

    By default it hands large blocks back, and the system clears every page of them again: a tenth of a training
    step's processor time, half of GoogLeNet's with 256 images. Other libraries' allocators, and what the user set in
    the environment, are left alone.
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not told:
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, 2**30):  # first: older ones refuse it, and the other alone would do harm
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def pick_precision(device: torch.device) -> str:
    """``bf16`` (autocast, float32 master weights) where the device multiplies it natively, else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if device.type == "cpu" and any(has and has() for has in native) else "fp32"
