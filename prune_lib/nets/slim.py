"""Masks on filters, and the smaller network with the same outputs.

A mask takes a filter out of the computation; the network keeps its shape. ``slim`` leaves the filter out. The two agree
only if a masked filter puts *nothing* into what reads it, so a mask here covers the norms too: a BatchNorm of zeros
still gives its beta.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..system.errors import InputError
from .compare import difference
from .hooks import tensors
from .networks import Arch, build
from .reparam import hide, plain
from .resnet_cifar import Block as PaddingBlock
from .spec import Widths

LARGEST = 320  # pixels of a side of the images that a masked and its smaller network are compared on: 32 divide it
Keep = dict[str, Tensor]  # conv name -> (C_out,) bool: the filters that stay


def mask(model: nn.Module, arch: Arch, keep: Keep, norms: bool = True) -> nn.Module:
    """Mask the filters that ``keep`` leaves out, in place; convs it does not name keep all of theirs.

    Args:
        norms: mask what BatchNorm makes of them too. Without (as NNI's masks are, and CDP's code), a masked filter
            still emits a constant, and the network cannot be made smaller.

    Raises:
        InputError: the arch has no such conv, a mask has a wrong size, or a conv would lose all of its filters.
    """
    whole = complete(arch, keep)
    for conv, kept in whole.items():
        hide(model.get_submodule(conv), kept)
    for name, sources in arch.inputs.items() if norms else ():
        module = model.get_submodule(name)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            hide(module, torch.cat([whole[conv] for conv in sources]))
    return model


def complete(arch: Arch, keep: Mapping[str, Tensor]) -> Keep:
    """``keep`` with every conv of ``arch``, checked.

    Raises:
        InputError: see ``mask``.
    """
    for conv, kept in keep.items():
        if conv not in arch.filters:
            raise InputError(f"{arch.name} has no conv called {conv!r}; expected one of: {' '.join(arch.filters)}")
        if kept.dtype != torch.bool or kept.shape != (arch.filters[conv],):
            raise InputError(
                f"{conv}: a mask of {kept.dtype} {tuple(kept.shape)}; expected {arch.filters[conv]} booleans"
            )
        if not kept.any():
            raise InputError(f"{conv} would lose all its {len(kept)} filters; expected a mask that keeps at least one")
    return {c: keep[c].cpu() if c in keep else torch.ones(n, dtype=torch.bool) for c, n in arch.filters.items()}


def kept_by_unit(arch: Arch, keep: Keep) -> Keep:
    """The channels that stay in the smaller network: where outputs are added, those that any of them still has.

    A zero-padding shortcut counts too: what it adds in the middle of a stage's channels stays.
    """
    whole = complete(arch, keep)
    result: Keep = {}
    for unit, convs in arch.units.items():
        union = torch.stack([whole[conv] for conv in convs]).any(0)
        if unit in arch.padded:
            added = result[arch.padded[unit]]
            before = (len(union) - len(added)) // 2
            union[before : before + len(added)] |= added
        result |= dict.fromkeys(convs, union)
    return {conv: result[conv] for conv in arch.filters}


def slim_widths(arch: Arch, keep: Keep) -> Widths:
    """The widths of the network that ``slim`` builds."""
    return {conv: int(kept.sum()) for conv, kept in kept_by_unit(arch, keep).items()}


def to_text(keep: Keep) -> str:
    """Masks as text: a hexadecimal number for each layer, the first filter in its highest bit."""
    numbers = ("".join("01"[k] for k in kept.int().tolist()) for kept in keep.values())
    return " ".join(f"{int(bits, 2):x}" for bits in numbers)


def from_text(text: str, filters: Widths) -> Keep:
    """Read the masks that ``to_text`` wrote; ``filters`` says how many filters each layer has."""
    return {
        conv: torch.tensor([bit == "1" for bit in f"{int(number, 16):0{n}b}"])
        for (conv, n), number in zip(filters.items(), text.split(), strict=True)
    }


@torch.no_grad()
def slim(model: nn.Module, arch: Arch, keep: Keep) -> nn.Module:
    """The smaller network with the outputs of ``model``, a full-width network of ``arch`` masked by ``keep``.

    Raises:
        InputError: the two do not agree, so that the masked network has no smaller form (its norms are not masked).
    """
    full, kept = plain(model).eval(), kept_by_unit(arch, keep)
    classes = arch.scored(len(full.state_dict()[f"{arch.head}.weight"]))
    compact = build(arch.name, {conv: int(k.sum()) for conv, k in kept.items()}, classes)
    transplant(full, compact.to(next(full.parameters()).device), arch, kept)
    _check(full, compact.eval(), arch)
    return compact


@torch.no_grad()
def transplant(full: nn.Module, compact: nn.Module, arch: Arch, keep: Keep) -> nn.Module:
    """Give ``compact`` the weights of ``full`` for the filters that stay, and for the channels of them that are read.

    ``keep`` has as many filters of each conv as ``compact`` has; shortcuts that pad are aligned.
    """
    whole = complete(arch, keep)
    weights = compact.state_dict()
    for name, tensor in full.state_dict().items():
        module, _, part = name.rpartition(".")
        if tensor.dim() and (module in whole or module in arch.inputs):
            tensor = _cut(full.get_submodule(module), part, tensor.cpu(), whole.get(module), _read(arch, module, whole))
        weights[name] = tensor
    compact.load_state_dict(weights)
    for name, block in compact.named_modules():
        if isinstance(block, PaddingBlock):
            _align(arch, full.get_submodule(name), block, name, whole)
    return compact


def _read(arch: Arch, module: str, kept: Keep) -> Tensor | None:
    """Which input channels of ``module`` stay; ``None`` if it reads an image, or is depthwise."""
    return torch.cat([kept[conv] for conv in arch.inputs[module]]) if module in arch.inputs else None


def _cut(module: nn.Module, part: str, tensor: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """A layer's tensor without the pruned filters and input channels."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.ConvTranspose2d):
        return tensor if columns is None or (part == "bias" and len(tensor) != len(columns)) else tensor[columns]
    if rows is not None:
        tensor = tensor[rows]
    if columns is not None and part == "weight":
        area = tensor.shape[1] // len(columns)  # a linear layer reads each channel's whole map
        tensor = tensor[:, columns.repeat_interleave(area)]
    return tensor


def _align(arch: Arch, full, block, name: str, kept: Keep) -> None:
    """Let a padding shortcut of the compact network take the channels that the full one's takes."""
    inside, outside = (kept[conv] for conv in (arch.inputs[f"{name}.conv1"][0], f"{name}.conv2"))
    place = torch.full((len(inside),), -1)
    place[inside] = torch.arange(int(inside.sum()))
    source = torch.arange(len(outside)) - full.pad[0]
    there = (source >= 0) & (source < len(inside))
    taken = torch.where(there, place[source.clamp(0, len(inside) - 1)], -1)
    block.take_channels(taken[outside])


def _check(full: nn.Module, compact: nn.Module, arch: Arch, tolerance: float = 1e-5) -> None:
    """Both in float64, which no card rounds to TF32: float32 may differ by more than ``tolerance`` there."""
    channels, *sides = arch.image
    size = (2, channels, *(min(side, LARGEST) for side in sides))
    images = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(next(full.parameters()).device).double()
    expected, found = (tensors(copy.deepcopy(network).double()(images)) for network in (full, compact))
    off = difference(expected, found)
    if not off <= tolerance:
        raise InputError(
            f"{arch.name}: the smaller network differs from the masked one by {off:.2g}; expected at most "
            f"{tolerance:g} (are the norms masked too, and the masks those of this network?)"
        )
