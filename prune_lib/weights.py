"""Weights from a file into a network: safetensors or a torch state dict, whatever its modules are called."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep a state dict
LEFTOVERS = ("total_ops", "total_params")  # buffers that thop leaves behind


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a torch file (``.pt``, ``.pth``, ``.tar``).

    A torch file is read as tensors only: one that holds anything else is refused, and nothing in it is run.

    Raises:
        InputError: no such file, not weights, or a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and safetensors each have their own kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = "safetensors" if isinstance(error, SafetensorError) else "a file of tensors only"
        raise InputError(f"{path}: not {kind} ({reason[:200]})") from None
    while isinstance(found, dict) and (
        inner := next((key for key in WRAPPERS if isinstance(found.get(key), dict)), "")
    ):
        found = found[inner]
    if not isinstance(found, dict) or not found or not all(isinstance(t, Tensor) for t in found.values()):
        raise InputError(f"{path}: not a state dict; expected names with a tensor each")
    tensors = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return {name: tensor for name, tensor in tensors.items() if name.rsplit(".", 1)[-1] not in LEFTOVERS}


def fit(model: nn.Module, weights: dict[str, Tensor], path: str | Path) -> str:
    """Load ``weights`` into ``model``, by name where the names agree, else by position; returns which, in words.

    By position, every tensor must have the same shape and the same last name (weight, bias, running_mean …) as the
    model's tensor at its place, as the published compact networks have, whose modules are called otherwise.

    Raises:
        InputError: the keys or shapes that don't fit; the model is then as it was.
    """
    wanted = model.state_dict()
    if not any(name.endswith("num_batches_tracked") for name in weights):  # older torch wrote none
        wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}
    missing, extra = [n for n in wanted if n not in weights], [n for n in weights if n not in wanted]
    shaped = [f"{n} {_shape(weights[n])} for {_shape(t)}" for n, t in wanted.items()
              if n in weights and weights[n].shape != t.shape]  # fmt: skip
    if not (missing or extra or shaped):
        model.load_state_dict(weights, strict=False)
        return "by name"
    pairs = list(zip(wanted.items(), weights.items(), strict=False))
    alike = [
        name.rsplit(".", 1)[-1] == other.rsplit(".", 1)[-1] and mine.shape == theirs.shape
        for (name, mine), (other, theirs) in pairs
    ]
    if missing and len(wanted) == len(weights) and all(alike):
        model.load_state_dict({name: tensor for (name, _), (_, tensor) in pairs}, strict=False)
        first, other = next(iter(wanted)), next(iter(weights))
        return f"by position, since the names differ ({other} went to {first}; all {len(wanted)} shapes fit)"
    problems = [("missing", missing), ("unexpected", extra), ("of another shape", shaped)]
    told = "; ".join(f"{len(names)} {what} ({_few(names)})" for what, names in problems if names)
    raise InputError(f"{path}: does not fit this network: {told}; expected {len(wanted)} tensors, found {len(weights)}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
