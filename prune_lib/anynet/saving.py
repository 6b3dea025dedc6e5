"""A pruned network as a file: its weights, and the widths that its layers declare, without its class."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..nets.reparam import computed, copied, plain
from ..system.errors import InputError

DECLARED = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels",
    "num_groups", "num_parameters", "num_embeddings", "embedding_dim", "input_size", "hidden_size",
)  # fmt: skip


def save(pruned: Any, path: str | Path) -> None:
    """Write ``pruned.model``'s weights to ``path`` as safetensors; what its layers declare is in the header.

    Raises:
        InputError: a name that does not end in ``.safetensors``.
    """
    _check_path(path)
    from safetensors.torch import save as to_bytes

    from ..system.files import write_bytes

    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path}: expected a name that ends in .safetensors")
    model = copied(pruned.model)
    declared = {
        name: own for name, module in model.named_modules()
        if (own := {k: v for k in DECLARED if type(v := getattr(module, k, None)) is int})
    }  # fmt: skip
    tensors: dict[str, torch.Tensor] = {}
    seen: dict[int, str] = {}
    for name, tensor in _own(model).items():
        if seen.setdefault(tensor.data_ptr(), name) == name or not tensor.numel():
            tensors[name] = tensor.detach().cpu().contiguous()
    about = {"declared": json.dumps(declared), "criterion": pruned.criterion, "format": "prune_lib.anynet"}
    write_bytes(Path(path), to_bytes(tensors, about))


@torch.no_grad()
def load(path: str | Path, model: nn.Module) -> nn.Module:
    """A copy of ``model``, built at full size by its own constructor, with the widths and weights saved in ``path``.

    Raises:
        InputError: a file that ``Pruned.save`` did not write, or that is of another network.
    """
    _check_path(path)
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {_kind(model)}; expected a torch.nn.Module, the network at full size")
    from safetensors.torch import load_file

    from ..nets.weights import metadata, read_weights

    read_weights(path)  # which refuses what is no weights; it names them without the modules around
    tensors, about = load_file(path), metadata(path)
    if about.get("format") != "prune_lib.anynet":
        raise InputError(f"{path}: not written by Pruned.save; expected such a file")
    model = plain(model) if computed(model) else copied(model)
    own = _own(model)
    odd = sorted(tensors.keys() - own.keys())
    if odd:
        raise InputError(f"{path}: has {odd[0]}, which {type(model).__name__} has not; expected the same network")
    given = {id(own[name]) for name in tensors}
    missing = [name for name, tensor in own.items() if id(tensor) not in given and tensor.numel()]
    if missing:
        raise InputError(
            f"{path}: {type(model).__name__} has {missing[0]}, which it has not; expected the same network"
        )
    widths = _widths(path, about.get("declared", ""), model)
    instead = {}
    for name, tensor in tensors.items():
        mine = own[name]
        if mine.shape != tensor.shape:
            if mine.dim() != tensor.dim() or any(n > m for n, m in zip(tensor.shape, mine.shape, strict=True)):
                raise InputError(
                    f"{path}: {name} is {tuple(tensor.shape)}, and {type(model).__name__} has {tuple(mine.shape)}; "
                    "expected the network that was pruned, at full size"
                )
            new = tensor.to(mine.device, mine.dtype)
            instead[id(mine)] = nn.Parameter(new, mine.requires_grad) if isinstance(mine, nn.Parameter) else new
    model = copied(model, instead)
    model.load_state_dict(tensors, strict=False)
    for name, declared in widths.items():
        for attribute, value in declared.items():
            setattr(model.get_submodule(name), attribute, value)
    return model


def _check_path(path: Any) -> None:
    if not isinstance(path, str | Path):
        raise InputError(f"path is {_kind(path)}; expected the name of a file that ends in .safetensors")


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _widths(path: str | Path, text: str, model: nn.Module) -> dict[str, dict[str, int]]:
    """What a file says that the layers of ``model`` declare, none of it believed before it was looked at."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    modules = dict(model.named_modules())
    fine = isinstance(found, dict) and all(
        name in modules and isinstance(declared, dict) and declared.keys() <= {*DECLARED}
        and all(type(value) is int and type(getattr(modules[name], key, None)) is int
                for key, value in declared.items())
        for name, declared in found.items()
    )  # fmt: skip
    if not fine:
        raise InputError(f"{path}: its header does not say how wide the layers of {type(model).__name__} are")
    return found  # type: ignore[return-value]


def _own(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights and buffers, those too that a state dict leaves out."""
    return dict(model.named_buffers()) | dict(model.state_dict(keep_vars=True))
