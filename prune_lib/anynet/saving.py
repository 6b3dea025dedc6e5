"""A pruned network as a file: its weights, and the widths that its layers declare, without its class."""

import json
from typing import Any

import torch
from torch import nn

from ..nets.reparam import computed, copied, plain
from ..system.errors import InputError

DECLARED = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels",
    "num_groups", "num_parameters", "num_embeddings", "embedding_dim",
)  # fmt: skip


def save(pruned: Any, path: str) -> None:
    """Write ``pruned.model``'s weights to ``path`` as safetensors; what its layers declare is in the header."""
    from pathlib import Path

    from safetensors.torch import save as to_bytes

    from ..system.files import write_bytes

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
def load(path: str, model: nn.Module) -> nn.Module:
    """A copy of ``model``, built at full size by its own constructor, with the widths and weights saved in ``path``.

    Raises:
        InputError: a file that ``Pruned.save`` did not write, or that is of another network.
    """
    from ..nets.weights import metadata, read_weights

    tensors, about = read_weights(path), metadata(path)
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
    for name, declared in json.loads(about["declared"]).items():
        for attribute, value in declared.items():
            setattr(model.get_submodule(name), attribute, value)
    return model


def _own(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights and buffers, those too that a state dict leaves out."""
    return dict(model.named_buffers()) | dict(model.state_dict(keep_vars=True))
