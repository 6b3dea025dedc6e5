"""Where to compute, and with what numbers."""

import os

import torch

from . import ranks
from .errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is this process's CUDA device where there is one (the first, if it is alone), else the CPU.

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
    return device


def pick_precision(device: torch.device) -> str:
    """``bf16`` (autocast, float32 master weights) where the device multiplies it natively, else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if device.type == "cpu" and any(has and has() for has in native) else "fp32"
