"""Training state on disk: one safetensors file, replaced atomically, with the generation before it kept beside it."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import one_line
from .files import previous, replace

Tensors = dict[str, Tensor]


def write(path: Path, tensors: Tensors, state: dict) -> None:
    """Replace ``path`` by a file with these tensors and this JSON-able state. The old file becomes ``*.previous``.

    At every moment ``path`` or its ``.previous`` is whole, even if the old file was damaged: the new one is synced and
    in place before the generation before the old one is touched.

    Raises:
        OSError: a full or failing disk; both files are then as they were, and nothing is left beside them.
    """
    host = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    data = save(host, metadata={"state": text, "sha256": _digest(host, text)})
    replace(path, data, keep_previous=True)


def read(path: Path) -> tuple[Tensors, dict] | None:
    """The newest whole state at ``path``: itself, else its ``.previous``, else ``None``.

    A file that is cut short, or does not match its SHA-256, is skipped, with a line that says so.

    Raises:
        OSError: a file exists and cannot be read, so nothing is known about it.
    """
    for candidate, then in ((path, "trying the one before it"), (previous(path), "no state is left to go on from")):
        if not candidate.exists():
            continue
        with open(candidate, "rb") as file:
            file.read(1)
        try:
            with safe_open(candidate, framework="pt") as archive:
                meta = archive.metadata() or {}
                tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
            if meta.get("sha256") == _digest(tensors, meta.get("state", "")):
                return tensors, json.loads(meta["state"])
            reason = "its contents do not match their checksum"
        except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
            reason = str(error)
        print(f"{candidate}: damaged ({one_line(reason)[:200]}); {then}", flush=True)
    return None


def _digest(tensors: Tensors, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest(tensors: Tensors) -> str:
    """SHA-256 of a state dict: names, dtypes, shapes and every byte."""
    return _digest({name: tensor.detach().cpu() for name, tensor in tensors.items()}, "")
