"""Where to compute, and with what numbers."""

import ctypes
import os
import platform
from functools import cache

import torch

from . import distributed
from .errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
PRECISIONS = {
    "fp32": "float32",
    "tf32": "float32, of which a CUDA card multiplies 10 bits of the mantissa",
    "bf16": "autocast to bfloat16, float32 weights",
    "fp16": "autocast to float16, float32 weights, the loss scaled",
}
AMPERE = (8, 0)  # the first compute capability that multiplies bf16 and tf32; older cards emulate bf16, far more slowly


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is this process's CUDA device where there is one (the first, if it is alone), else the CPU.

    A CUDA card that is named becomes the current one, so that streams and graphs are made there too.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and distributed.world_size() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not usable here: {str(error).splitlines()[0]}") from None
    return device


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next tensors, as torch does on a card; it stays so for the whole process.

    By default it hands large blocks back, and the system clears every page of them again: a tenth of a training
    step's processor time, half of GoogLeNet's with 256 images. Other libraries' allocators, and what the user set in
    the environment, are left alone.
    """
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not told:
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, 2**30):  # first: older ones refuse it, and the other alone would do harm
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def pick_precision(device: torch.device, wanted: str | None = None) -> str:
    """``wanted``, of ``PRECISIONS``; else ``bf16`` where the device multiplies it natively, and ``fp32`` elsewhere.

    Raises:
        InputError: there is no such precision, or not on this device.
    """
    modern = device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE
    if wanted is not None and wanted not in PRECISIONS:
        raise InputError(f"unknown precision {wanted!r}; expected one of: {' '.join(PRECISIONS)}")
    if wanted == "tf32" and not modern:
        raise InputError(f"precision tf32 is for CUDA cards of compute capability 8 or more; {device} is none")
    if wanted is not None:
        return wanted
    if device.type == "cuda":
        return "bf16" if modern else "fp32"
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if device.type == "cpu" and any(has and has() for has in native) else "fp32"


def allow_tf32(allowed: bool) -> None:
    """Say whether cards may round products to TF32; cudnn does so by default without a word."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def autocast(device: torch.device, precision: str, **options) -> torch.autocast:
    """The context in which a network computes at ``precision``."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision in ("bf16", "fp16"), **options)
