"""What operations that move, join, cut and pick numbers do to labels of channels; see ``channels``."""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from .channels import PINNED, Channels, Fields, compressed, spans
from .elementwise import bound, unknown


def viewed(to: Channels, func, args, kwargs, result) -> None:
    if isinstance(args[1], torch.dtype):
        return unknown(to, func, args, kwargs, result)
    fields = to.fields(args[0])
    found = [reshaped(field, args[0].shape, result.shape) for field in fields or []]
    if sum(len(spans(field)) for field in found) > len(set().union(*map(spans, found))):
        found = [field for field in found if to.free(field)]  # what always stays is no bound on what it is joined with
    to.set(result, None if fields is None else found)
    return None


def reshaped(field: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """A field of a tensor that is reshaped, without laying it out over dimensions that it does not run along."""
    if not prod(old):
        return torch.zeros([1] * len(new), dtype=torch.int64)
    before, after, touched = [], [], set()
    i = j = 0
    while i < len(old) or j < len(new):
        here, there = i, j
        p, q = 1, 1
        while True:
            if p == q and (i > here or j > there):
                break
            if (p <= q and i < len(old)) or j >= len(new):
                p *= old[i]
                i += 1
            else:
                q *= new[j]
                j += 1
        runs = any(field.shape[d] > 1 for d in range(here, i))
        before += list(old[here:i]) if runs else [1] * (i - here)
        after += list(new[there:j]) if runs else [1] * (j - there)
        if runs and list(old[here:i]) != list(new[there:j]):
            touched |= set(range(there, j))
    moved = field.expand(before).reshape(after)
    for dim in touched:
        if moved.shape[dim] > 1 and bool((moved == (first := moved.narrow(dim, 0, 1))).all()):
            moved = first
    return moved


def moved(to: Channels, func, args, kwargs, result) -> None:
    fields = to.fields(args[0])
    to.set(
        result,
        fields and [compressed(func(field.expand(args[0].shape), *args[1:], **kwargs)) for field in fields],
    )
    if func.overloadpacket.__name__ in ("t", "transpose", "permute"):
        to.named(result, args[0])


def spread(to: Channels, func, args, kwargs, result) -> None:
    """What is spread along a dimension follows whatever it meets there: labels of its own."""
    tensor, n = args[0], result.dim()
    sizes = [1] * (n - tensor.dim()) + list(tensor.shape)
    fields = [compressed(func(field.expand(tensor.shape), *args[1:], **kwargs)) for field in to.fields(tensor) or []]
    fresh = [to.new(result.shape[dim], dim, n) for dim in range(n) if sizes[dim] == 1 < result.shape[dim]]
    to.set(result, fields + fresh)


def sliced(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    tensor, dim = call["self"], call["dim"] or 0
    dim %= tensor.dim()
    size, taken, fields = tensor.shape[dim], result.shape[dim], to.fields(tensor)
    start = min(max((call["start"] or 0) + (size if (call["start"] or 0) < 0 else 0), 0), size)
    found = []
    for field in fields or []:
        if field.shape[dim] > 1:
            if taken == size:
                pass
            elif call["step"] == 1 and taken and size % taken == 0 and start % taken == 0:
                alike(to, field, dim, taken)
            elif taken * call["step"] == size and start < call["step"]:  # one of each so many
                parts = field.unflatten(dim, (taken, -1))
                to.tie(parts, parts.narrow(dim + 1, 0, 1))
            else:
                to.pin([field], "some of its channels are taken by number")
            field = func(field.expand([size if d == dim else s for d, s in enumerate(field.shape)]), dim, *args[2:], **{
                k: v for k, v in kwargs.items() if k != "dim"})  # fmt: skip
        found.append(field)
    to.set(result, found)


def alike(to: Channels, field: Tensor, dim: int, size: int) -> None:
    """A dimension is cut into parts of one size: what stays has the same places in each."""
    if not size:
        return
    parts = field.movedim(dim, -1).unflatten(-1, (-1, size))
    to.tie(parts, parts.narrow(-2, 0, 1))


def split_up(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    tensor = call["self"]
    dim = call["dim"] % tensor.dim()
    sizes = [part.shape[dim] for part in result]
    parts: list[Fields] = [[] for _ in result]
    for field in to.fields(tensor) or []:
        each: list[Tensor]
        if field.shape[dim] == 1:
            each = [field] * len(sizes)
        else:
            if len(set(sizes)) == 1 and "sizes" not in func.overloadpacket.__name__:
                alike(to, field, dim, sizes[0])
            else:
                to.pin([field], "it is split into parts of fixed sizes")
            each = list(field.split(sizes, dim))
        for part, one in zip(parts, each, strict=True):
            part.append(one)
    for out, mine in zip(result, parts, strict=True):
        to.set(out, mine)


def selected(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    tensor = call["self"]
    dim = (call["dim"] or 0) % tensor.dim()
    outs = result if isinstance(result, list | tuple) else [result]
    numbers = [call["index"] % tensor.shape[dim]] if "index" in call else range(len(outs))
    found: list[Fields] = [[] for _ in outs]
    for field in to.fields(tensor) or []:
        if field.shape[dim] > 1:
            to.tie(field, field.narrow(dim, 0, 1))  # a number must go on to mean the same part
            to.blocks.append(field)
        for mine, number in zip(found, numbers, strict=True):
            mine.append(field.select(dim, number if field.shape[dim] > 1 else 0))
    for out, mine in zip(outs, found, strict=True):
        to.set(out, mine)


def joined(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    parts = [t for t in call["tensors"] if t.dim() == result.dim()]
    dim = (call["dim"] or 0) % result.dim()
    to.set(result, _join(to, parts, [to.fields(t) for t in parts], dim))


def stacked(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    dim = (call["dim"] or 0) % result.dim()
    parts = [t.unsqueeze(dim) for t in call["tensors"]]
    fields = [f and [field.unsqueeze(dim) for field in f] for f in map(to.fields, call["tensors"])]
    to.set(result, _join(to, parts, fields, dim))


def _join(to: Channels, parts: Sequence[Tensor], fields: Sequence[Fields | None], dim: int) -> Fields:
    across: list[list[Tensor]] = []  # of each part that is known: fields along other dimensions
    along: list[Tensor] = []
    for part, mine in zip(parts, fields, strict=True):
        run = [field for field in mine or [] if field.shape[dim] > 1]
        if mine is not None:
            across.append([field for field in mine if field.shape[dim] == 1])
        if len(run) > 1:
            run = to.merged(run)
        sizes = [part.shape[d] if d == dim else 1 for d in range(part.dim())]
        along.append(run[0] if run else torch.full(sizes, PINNED, dtype=torch.int64))
    for number, theirs in enumerate(across):
        for field in theirs:
            others = [other for n, other in enumerate(across) if n != number]
            if any(not any(spans(f) & spans(field) for f in other) for other in others):
                to.pin([field], "it is joined with a part of the network that stays whole")
    found = to.merged(field for theirs in across for field in theirs)
    if all(bool((field == PINNED).all()) for field in along):
        return found
    shape = [max(field.shape[d] for field in along) for d in range(along[0].dim())]
    return [*found, torch.cat(
        [f.expand([f.shape[d] if d == dim else s for d, s in enumerate(shape)]) for f in along], dim)]  # fmt: skip


def padded(to: Channels, func, args, kwargs, result) -> None:
    tensor, pad = args[0], list(args[1])
    found = []
    for field in to.fields(tensor) or []:
        mine = [p if field.shape[field.dim() - 1 - place // 2] > 1 else 0 for place, p in enumerate(pad)]
        if any(mine):
            if any(p < 0 for p in mine):
                to.pin([field], "some of its channels are cut off by number")
            field = F.pad(field, mine, value=PINNED)
        found.append(field)
    to.set(result, found)


def shuffled(to: Channels, func, args, kwargs, result) -> None:
    _to_pixels(to, args[0], result, -3, args[1] ** 2)


def _to_pixels(to: Channels, tensor: Tensor, result: Tensor, channel: int, each: int) -> None:
    """``each`` channels become pixels of one: they go together."""
    found = []
    for field in to.fields(tensor) or []:
        dim = channel % field.dim()
        if spans(field) - {dim}:
            to.pin([field], "its channels are turned into pixels")
            continue
        if field.shape[dim] > 1:
            blocks = field.unflatten(dim, (-1, each))
            to.tie(blocks, first := blocks.narrow(dim + 1, 0, 1))
            field = first.squeeze(dim + 1)
        found.append(field)
    to.set(result, found)


def unshuffled(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        dim = field.dim() - 3
        if spans(field) - {dim}:
            to.pin([field], "its pixels are turned into channels")
        else:
            found.append(field.repeat_interleave(args[1] ** 2, dim) if field.shape[dim] > 1 else field)
    to.set(result, found)


def to_complex(to: Channels, func, args, kwargs, result) -> None:
    last, found = args[0].dim() - 1, []
    for field in to.fields(args[0]) or []:
        if spans(field) == {last}:
            to.pin([field], "it is the real or the imaginary part of a number")
        else:  # both parts of a number go together
            found.append(to.along(field, last).squeeze(-1))
    to.set(result, found)


def from_complex(to: Channels, func, args, kwargs, result) -> None:
    to.set(result, [field.unsqueeze(-1) for field in to.fields(args[0]) or []])


def channel_shuffle(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[1] > 1:
            parts = field.unflatten(1, (args[1], -1))
            to.blocks.append(parts)
            field = parts.transpose(1, 2).flatten(1, 2)
        found.append(field)
    to.set(result, found)


def columns(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if spans(field) - {1}:
            to.pin([field], "its pixels are laid out as columns")
        elif field.shape[1] > 1:
            found.append(field.flatten(2).repeat_interleave(prod(args[1]), 1))
    to.set(result, found)


def by_number(to: Channels, func, args, kwargs, result) -> None:
    """What picks or orders by number along dimensions: labels along others stay."""
    call = bound(func, args, kwargs)
    tensor, name = call["self"], func.overloadpacket.__name__.strip("_")
    by = [(dim, index) for dim, index in enumerate(call.get("indices", ())) if index is not None]
    if name == "index_put" and len(by) == 1 and by[0][1].dim() == 1:
        return _put(to, (tensor, call["values"]), by[0][0], result)
    if name in ("index", "unsafe_index", "index_put"):
        dims = {d for d, index in enumerate(call["indices"]) if index is not None}
        if any(isinstance(i, Tensor) and i.dtype == torch.bool and i.dim() > 1 for i in call["indices"]):
            dims = set(range(tensor.dim()))
    elif name == "roll":
        dims = {d % tensor.dim() for d in call["dims"] or range(tensor.dim())}
    else:
        dims = {(call.get("dim") if call.get("dim") is not None else -1) % tensor.dim()}
    if name == "masked_select":
        dims = set(range(tensor.dim()))
    kept: Fields = []
    for field in to.fields(tensor) or []:
        if spans(field) & dims:
            to.pin([field], f"its channels are picked or moved by number ({name})")
        else:
            kept.append(field)
    others = [t for t in args[1:] if isinstance(t, Tensor)]
    for other in others:
        to.pin(to.fields(other) or [], f"{name} is given it")
    outs = result if isinstance(result, list | tuple) else [result]
    for out in outs:
        if name in ("index", "unsafe_index"):
            to.set(out, _indexed(func, args, kwargs, tensor, kept))
        elif name == "index_put":
            to.pin(kept, "values are written into a part of a tensor")
            to.set(out, [])
        else:
            to.set(out, list(kept))
    return None


def put(to: Channels, func, args, kwargs, result) -> None:
    """What is put or added at places that are given by number along a dimension."""
    call = bound(func, args, kwargs)
    _put(to, [call.get(part) for part in ("self", "index", "src", "source")], call["dim"] % result.dim(), result)


def _put(to: Channels, tensors: Sequence, dim: int, result: Tensor) -> None:
    """Labels along ``dim`` are pinned, those along others are the same in all of ``tensors``."""
    known = [t for t in tensors if isinstance(t, Tensor) and (t.dim() == result.dim() or to.fields(t))]
    fields = to.together(known, result.dim())
    to.pin([field for field in fields or [] if field.shape[dim] > 1], "values are put into it by number")
    to.set(result, fields and [field for field in fields if field.shape[dim] == 1])


def _indexed(func, args, kwargs, tensor: Tensor, fields: Fields) -> Fields:
    return [compressed(func(field.expand(tensor.shape), *args[1:], **kwargs)) for field in fields]


def embedded(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[0] > 1:
            to.pin([field], "it is looked up by number")
        else:
            found.append(field.view([1] * (result.dim() - 1) + [-1]))
    to.made += found
    to.set(result, found)


def gated(to: Channels, func, args, kwargs, result) -> None:
    dim = (args[1] if len(args) > 1 else -1) % args[0].dim()
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[dim] > 1:
            alike(to, field, dim, result.shape[dim])
            field = field.narrow(dim, 0, result.shape[dim])
        found.append(field)
    to.set(result, found)
