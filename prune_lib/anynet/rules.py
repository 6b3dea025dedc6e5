"""What each of torch's operations does to labels of channels; see ``channels``. One that is not here pins them."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .channels import PINNED, SPREADING, Channels, Fields, compressed, lifted, spans, tensors_in

Rule = Callable[[Channels, Any, tuple, dict, Any], None]
RULES: dict[str, Rule] = {}
MAPS = re.compile(r"(pool|upsample|grid_sampler|reflection_pad|replication_pad)")
SAME = {  # the result is its first argument, cast, copied or laid out otherwise
    "clone", "_to_copy", "contiguous", "detach", "detach_", "alias", "lift_fresh", "lift_fresh_copy", "native_dropout",
    "_conj", "_reshape_alias_copy", "to", "positive", "resolve_conj", "resolve_neg",
}  # fmt: skip
POINTWISE = {  # those that torch does not mark so
    "_prelu_kernel", "prelu", "where", "masked_fill", "addcmul", "addcdiv", "lerp", "copysign", "rsub", "hardswish",
    "hardsigmoid", "hardtanh", "leaky_relu", "elu", "mish", "softplus", "log_sigmoid_forward", "threshold", "celu",
    "selu", "relu6", "softshrink", "hardshrink", "rrelu_with_noise", "floor_divide", "fmod", "remainder", "polar",
    "isfinite", "nan_to_num", "real", "imag",
}  # fmt: skip
NOT_ZERO_AT_ZERO = {
    "sigmoid", "hardsigmoid", "exp", "cos", "softplus", "log_sigmoid_forward", "rsqrt", "reciprocal", "acos", "erfc",
    "cosh", "log", "eq", "ge", "le", "logical_not", "exp2", "sigmoid_backward",
}  # fmt: skip
NEW = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_empty", "new_full", "new_empty_strided", "empty_strided", "scalar_tensor", "bernoulli",
}  # fmt: skip


class _Nothing:
    @staticmethod
    def overloads() -> tuple[str, ...]:
        return ()


@cache
def rule_of(func: Any) -> Rule:
    """The rule of one of torch's operations; in place or not is one rule."""
    name, tags = func.overloadpacket.__name__, set(func.tags)
    if name.endswith("_") and not name.startswith("__"):
        name = name[:-1]
        tags |= {tag for way in getattr(torch.ops.aten, name, _Nothing).overloads() for tag in
                 getattr(getattr(torch.ops.aten, name), way).tags}  # fmt: skip
    if name in RULES:
        return RULES[name]
    if name in SAME:
        return _same
    if name in NEW:
        return _new
    if torch.Tag.pointwise in tags or name in POINTWISE:
        return _pointwise
    if "scaled_dot_product" in name:
        return _attention
    if MAPS.search(name):
        return _over_maps
    return _unknown


def rule(*names: str) -> Callable[[Rule], Rule]:
    def note(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return note


def bound(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by the names of its schema, defaults among them."""
    found = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            found[argument.name] = args[place]
        else:
            found[argument.name] = kwargs.get(argument.name, argument.default_value)
    return found


def _same(to: Channels, func, args, kwargs, result) -> None:
    first = result[0] if isinstance(result, tuple) else result
    to.set(first, to.fields(args[0]))
    to.named(first, args[0])


def _new(to: Channels, func, args, kwargs, result) -> None:
    to.set(result, None)


def _pointwise(to: Channels, func, args, kwargs, result) -> None:
    operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    fields = to.together(operands, result.dim())
    name = func.overloadpacket.__name__
    if name.strip("_") in NOT_ZERO_AT_ZERO:
        to.doubts += [(field.reshape(-1), f"{name.strip('_')} is not 0 at 0") for field in fields or []]
    if name.endswith("_") and operands and operands[0]._is_view() and name not in ("relu_", "silu_", "hardswish_"):
        base = operands[0]._base
        if base is not None and (to.fields(base) or fields) and to.fields(operands[0]) is not fields:
            _written(to, base, fields, operands[0])
    to.set(result, fields)


def _written(to: Channels, base: Tensor, fields: Fields | None, view: Tensor) -> None:
    """Something is written into a part of ``base``: where labels do not simply stay, they are pinned."""
    if view.shape == base.shape:
        to.set(base, fields)
    elif fields is not None:
        mine = to.fields(base) or []
        to.pin([*mine, *fields], "values are written into a part of a tensor")
        to.set(base, [])


@rule("copy")
def _copied_into(to: Channels, func, args, kwargs, result) -> None:
    target, source = args[0], args[1]
    fields = to.fields(source)
    if target._is_view() and target._base is not None:
        _written(to, target._base, fields, target)
    to.set(result, None if fields is None else to.together([source], result.dim()))


@rule("fill", "zero")
def _filled(to: Channels, func, args, kwargs, result) -> None:
    to.set(result, to.fields(args[0]))


def _unknown(to: Channels, func, args, kwargs, result) -> None:
    for tensor in tensors_in((args, kwargs)):
        to.pin(to.fields(tensor) or [], f"{func.overloadpacket.__name__} is an operation that is not followed")
    for tensor in tensors_in(result):
        to.set(tensor, [])


# where things are moved


@rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def _viewed(to: Channels, func, args, kwargs, result) -> None:
    if isinstance(args[1], torch.dtype):
        return _unknown(to, func, args, kwargs, result)
    fields = to.fields(args[0])
    to.set(result, fields and [reshaped(field, args[0].shape, result.shape) for field in fields])
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


@rule("permute", "transpose", "t", "numpy_T", "squeeze", "unsqueeze", "movedim", "swapaxes", "flip", "unfold",
      "view_as_real", "adjoint", "mT")  # fmt: skip
def _moved(to: Channels, func, args, kwargs, result) -> None:
    fields = to.fields(args[0])
    to.set(
        result,
        fields and [compressed(func(field.expand(args[0].shape), *args[1:], **kwargs)) for field in fields],
    )
    if func.overloadpacket.__name__ in ("t", "transpose", "permute"):
        to.named(result, args[0])


@rule(*SPREADING)
def _spread(to: Channels, func, args, kwargs, result) -> None:
    """What is spread along a dimension follows whatever it meets there: labels of its own."""
    tensor, n = args[0], result.dim()
    sizes = [1] * (n - tensor.dim()) + list(tensor.shape)
    fields = [compressed(func(field.expand(tensor.shape), *args[1:], **kwargs)) for field in to.fields(tensor) or []]
    fresh = [to.new(result.shape[dim], dim, n) for dim in range(n) if sizes[dim] == 1 < result.shape[dim]]
    to.set(result, fields + fresh)


@rule("slice")
def _sliced(to: Channels, func, args, kwargs, result) -> None:
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


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes")
def _split(to: Channels, func, args, kwargs, result) -> None:
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


@rule("select", "unbind")
def _selected(to: Channels, func, args, kwargs, result) -> None:
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


@rule("cat", "concat")
def _joined(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    parts = [t for t in call["tensors"] if t.dim() == result.dim()]
    dim = (call["dim"] or 0) % result.dim()
    to.set(result, _join(to, parts, [to.fields(t) for t in parts], dim))


@rule("stack")
def _stacked(to: Channels, func, args, kwargs, result) -> None:
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


@rule("constant_pad_nd")
def _padded(to: Channels, func, args, kwargs, result) -> None:
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


@rule("pixel_shuffle")
def _shuffled(to: Channels, func, args, kwargs, result) -> None:
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


@rule("pixel_unshuffle")
def _unshuffled(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        dim = field.dim() - 3
        if spans(field) - {dim}:
            to.pin([field], "its pixels are turned into channels")
        else:
            found.append(field.repeat_interleave(args[1] ** 2, dim) if field.shape[dim] > 1 else field)
    to.set(result, found)


@rule("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[1] > 1:
            parts = field.unflatten(1, (args[1], -1))
            to.blocks.append(parts)
            field = parts.transpose(1, 2).flatten(1, 2)
        found.append(field)
    to.set(result, found)


@rule("im2col")
def _columns(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if spans(field) - {1}:
            to.pin([field], "its pixels are laid out as columns")
        elif field.shape[1] > 1:
            found.append(field.flatten(2).repeat_interleave(prod(args[1]), 1))
    to.set(result, found)


@rule("roll", "index_select", "gather", "index", "_unsafe_index", "index_put", "scatter", "take_along_dim",
      "masked_select", "sort", "topk", "kthvalue", "cummax", "scatter_add")  # fmt: skip
def _by_number(to: Channels, func, args, kwargs, result) -> None:
    """What picks or orders by number along dimensions: labels along others stay."""
    call = bound(func, args, kwargs)
    tensor, name = call["self"], func.overloadpacket.__name__.strip("_")
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


def _indexed(func, args, kwargs, tensor: Tensor, fields: Fields) -> Fields:
    return [compressed(func(field.expand(tensor.shape), *args[1:], **kwargs)) for field in fields]


@rule("embedding")
def _embedded(to: Channels, func, args, kwargs, result) -> None:
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[0] > 1:
            to.pin([field], "it is looked up by number")
        else:
            found.append(field.view([1] * (result.dim() - 1) + [-1]))
    to.set(result, found)


@rule("glu")
def _gated(to: Channels, func, args, kwargs, result) -> None:
    dim = (args[1] if len(args) > 1 else -1) % args[0].dim()
    found = []
    for field in to.fields(args[0]) or []:
        if field.shape[dim] > 1:
            alike(to, field, dim, result.shape[dim])
            field = field.narrow(dim, 0, result.shape[dim])
        found.append(field)
    to.set(result, found)


# where things are summed


@rule("sum", "mean", "amax", "amin", "var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm", "logsumexp",
      "any", "all", "argmax", "argmin", "prod", "max", "min", "median", "cumsum", "cumprod", "_softmax",
      "_log_softmax", "softmax", "log_softmax", "_safe_softmax", "aminmax", "mode", "logcumsumexp", "nansum", "nanmean",
      "quantile")  # fmt: skip
def _reduced(to: Channels, func, args, kwargs, result) -> None:
    tensors = [t for t in args if isinstance(t, Tensor)]
    name = func.overloadpacket.__name__
    if len(tensors) > 1:  # max and min of two tensors
        return _pointwise(to, func, args, kwargs, result)
    call = bound(func, args, kwargs)
    tensor, given = tensors[0], call.get("dim")
    dims = set(range(tensor.dim()))
    if given is not None and given != []:
        dims = (
            {d % tensor.dim() for d in (given if isinstance(given, list | tuple) else [given])}
            if tensor.dim()
            else set()
        )
    outs = [out for out in (result if isinstance(result, list | tuple) else [result]) if isinstance(out, Tensor)]
    flat = outs[0].dim() < tensor.dim()
    order = call.get("ord", call.get("p", 2))
    adds = name in ("sum", "linalg_vector_norm", "norm", "nansum") and (
        order is None or 0 < float(order) < float("inf")
    )
    kept: Fields = []
    for field in to.fields(tensor) or []:
        run = spans(field)
        if not run & dims:
            kept.append(field if not flat else field.view([s for d, s in enumerate(field.shape) if d not in dims]))
        elif adds and not run - dims:
            pass  # what is zero adds nothing
        elif run - dims:  # whole slices go, and with them what is taken over each
            for dim in run & dims:
                field = to.along(field, dim)
            kept.append(field if not flat else field.view([s for d, s in enumerate(field.shape) if d not in dims]))
        else:
            to.pin([field], f"{name.strip('_')} is taken over its channels, and fewer of them change the rest")
    for out in outs:
        to.set(out, list(kept))
    return None


@rule("mm", "bmm", "dot", "mv", "addmm", "addmv", "baddbmm", "addbmm", "linear", "matmul", "_addmm_activation")
def _product(to: Channels, func, args, kwargs, result) -> None:
    name = func.overloadpacket.__name__.strip("_")
    bias = None
    if name in ("addmm", "addmv", "baddbmm", "addmm_activation"):
        bias, one, other = args[:3]
    else:
        one, other = args[:2]
        bias = args[2] if name == "linear" and len(args) > 2 else None
    if name in ("addbmm", "dot", "matmul") or (name == "linear" and other.dim() != 2):
        return _unknown(to, func, args, kwargs, result)
    n = result.dim()
    if name == "linear":
        places = {d: d for d in range(n - 1)} | {one.dim() - 1: n}, {0: n - 1, 1: n}
    elif one.dim() == 3:
        places = {0: 0, 1: 1, 2: 3}, {0: 0, 1: 3, 2: 2}
    elif other.dim() == 1:
        places = {0: 0, 1: 1}, {0: 1}
    else:
        places = {0: 0, 1: 2}, {0: 2, 1: 1}
    to.set(result, multiplied(to, (one, other), places, n))
    if bias is not None:
        to.set(result, to.together([result, bias], n))
    if n != 3 or name == "linear":
        to.made_by(result, other)
    return None


def multiplied(to: Channels, pair: tuple[Tensor, Tensor], places: tuple[dict, dict], n: int) -> Fields:
    """The fields of a product of two tensors, summed over place ``n``; ``places`` say where their dimensions go."""
    sides: list[Fields | None] = []
    for tensor, place in zip(pair, places, strict=True):
        fields = to.fields(tensor)
        sides.append(None if fields is None else [_placed(field, place, n + 1) for field in fields])
    summed = [[field for field in side or [] if field.shape[n] > 1] for side in sides]
    for number, mine in enumerate(summed):
        if mine and not summed[1 - number]:
            to.pin(mine, "it is multiplied by something of a fixed size")
        if to.is_weight(pair[number]):
            to.read += [field.reshape(-1) for field in mine]
    for one in summed[0]:
        for other in summed[1]:
            to.tie(one, other)
    left = [to.along(field, n) for field in (*summed[0], *summed[1]) if spans(field) - {n}]
    left += [field for fields in sides for field in fields or [] if field.shape[n] == 1]
    return to.merged(field.squeeze(n) for field in left)


def _placed(field: Tensor, place: dict[int, int], n: int) -> Tensor:
    sizes, order = [1] * n, sorted(place, key=lambda d: place[d])
    for dim, to_dim in place.items():
        sizes[to_dim] = field.shape[dim]
    return field.permute(order).reshape(sizes)


def _attention(to: Channels, func, args, kwargs, result) -> None:
    """``softmax(q k^T) v`` of ``(B, heads, tokens, width)``: channels go as whole heads."""
    call = bound(func, args, kwargs)
    heads: Fields = []
    for name in ("query", "key", "value"):
        tensor = call[name]
        for field in to.fields(tensor) or []:
            run = spans(field)
            if run & {tensor.dim() - 2} or not run & set(range(tensor.dim() - 2)):
                to.pin([field], "attention reads it, and its heads share it")
            else:
                heads.append(to.along(field, tensor.dim() - 1))
    for extra in ("attn_bias", "attn_mask"):
        if isinstance(call.get(extra), Tensor):
            bias = call[extra]
            for field in to.fields(bias) or []:
                if spans(field) - {bias.dim() - 3} or bias.dim() < 3:
                    to.pin([field], "attention adds it")
                else:
                    heads.append(lifted(field, call["query"].dim()))
    outs = [out for out in (result if isinstance(result, list | tuple) else [result]) if isinstance(out, Tensor)]
    for number, out in enumerate(outs):
        to.set(out, to.merged(heads) if number == 0 else [])
    solid = any(to.fields(call[name]) is not None and not to.fields(call[name]) for name in ("query", "key", "value"))
    if heads and solid:
        to.pin(heads, "attention reads it beside something that stays whole")


# layers


@rule("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution")
def _convolution(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    groups, turned = call.get("groups", 1), bool(call.get("transposed", False))
    made, read = (1, 0) if turned else (0, 1)
    sides: list[Tensor | None] = [None, None]  # along the weight's two dimensions
    for field in to.fields(weight) or []:
        run = spans(field)
        if run == {0} or run == {1}:
            sides[next(iter(run))] = field.reshape(-1)
        else:
            to.pin([field], "it is part of a weight that is computed from others")
    to.made_by(result, weight)
    outputs, inputs = sides[made], sides[read]
    given = _channels_of(to, x)
    rest = [field for field in to.fields(x) or [] if field.shape[1] == 1]
    if any(spans(field) - {0} for field in rest):
        to.pin([f for f in rest if spans(f) - {0}], "a convolution runs over it")
    left = [field for field in rest if not spans(field) - {0}]
    if groups == 1:
        _reads(to, given, inputs, to.fields(x), to.fields(weight))
        if inputs is not None:
            to.read.append(inputs)
    else:
        outputs = _grouped(to, x, given, outputs, inputs, groups, turned, result.shape[1])
    channel = [] if outputs is None else [outputs.view(1, -1, *[1] * (result.dim() - 2))]
    to.set(result, [*left, *channel])
    if isinstance(bias, Tensor):
        if outputs is None:
            to.pin(to.fields(bias) or [], "it is the bias of something that stays whole")
        for field in to.fields(bias) or []:
            if outputs is not None:
                to.tie(field.reshape(-1), outputs)


def _channels_of(to: Channels, x: Tensor) -> Tensor | None:
    """The labels of the channels that a layer reads, ``(C,)``; ``None``: there are none."""
    run = [field for field in to.fields(x) or [] if field.shape[1] > 1]
    found = None
    for field in run:
        if spans(field) != {1}:
            to.pin([field], "its channels are spread over pixels")
        elif found is None:
            found = field.reshape(-1)
        else:
            to.tie(found, field.reshape(-1))
    return found


def _reads(to: Channels, given: Tensor | None, inputs: Tensor | None, known: Fields | None, weights) -> None:
    if given is not None and inputs is not None:
        to.tie(given, inputs)
    elif given is not None:
        to.pin([given], "a weight reads it that stays whole")
    elif inputs is not None:
        to.pin([inputs], "it reads the network's input, or something else that stays whole")


def _grouped(to: Channels, x, given, outputs, inputs, groups: int, turned: bool, made: int) -> Tensor | None:
    """Grouped: the same places of each group stay; where a group reads one channel (depthwise), groups go whole."""
    per = x.shape[1] // groups
    if turned:
        own, outputs = outputs, None  # a transposed weight is (C_in, C_out / groups)
        if per == 1 and made == groups and inputs is not None:
            _reads(to, given, inputs, None, None)
            return inputs if given is not None else None
        to.pin([f for f in (given, own, inputs) if f is not None], "a grouped transposed convolution reads it")
        return None
    if per == 1:
        if outputs is None:
            _reads(to, given, None, None, None)
            return None
        rows = outputs.view(groups, -1)
        to.tie(rows, rows[:, :1])
        _reads(to, given, rows[:, 0], None, None)
        return outputs
    if given is not None:
        rows = given.view(groups, per)
        to.tie(rows, rows[:1])
        _reads(to, rows[0], inputs, None, None)
    else:
        _reads(to, None, inputs, None, None)
    if inputs is not None:
        to.read.append(inputs)
    if outputs is not None:
        rows = outputs.view(groups, -1)
        to.tie(rows, rows[:1])
    return outputs


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
      "miopen_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update", "batch_norm")  # fmt: skip
def _batch_norm(to: Channels, func, args, kwargs, result) -> None:
    x = args[0]
    others = [t for t in args[1:] if isinstance(t, Tensor)]
    call = bound(func, args, kwargs)
    given, kept = _channels_of(to, x), []
    for field in to.fields(x) or []:
        if field.shape[1] == 1 and spans(field):
            if call.get("training", call.get("train", True)):
                to.pin([field], "a norm takes statistics over it")
            kept.append(field)
    if given is not None:
        kept.append(given.view(1, -1, *[1] * (x.dim() - 2)))
    for other in others:
        for field in to.fields(other) or []:
            if given is None:
                to.pin([field], "it belongs to something that stays whole")
            else:
                to.tie(field.reshape(-1), given)
    outs = result if isinstance(result, list | tuple) else [result]
    to.set(outs[0], kept)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(to: Channels, func, args, kwargs, result) -> None:
    x, shape = args[0], args[1]
    over = set(range(x.dim() - len(shape), x.dim()))
    kept = []
    for field in to.fields(x) or []:
        if spans(field) & over and spans(field) - over:  # whole slices go, and with them what is taken over each
            for dim in spans(field) & over:
                field = to.along(field, dim)
            kept.append(field)
        elif spans(field) & over:
            to.pin([field], "a LayerNorm takes its statistics over it, and fewer channels change the rest")
        else:
            kept.append(field)
    for other in args[2:]:
        to.pin(to.fields(other) or [], "it belongs to a LayerNorm, which takes its statistics over all channels")
    outs = result if isinstance(result, list | tuple) else [result]
    to.set(outs[0], kept)
    for out in outs[1:]:
        to.set(out, [])


@rule("native_group_norm")
def _group_norm(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    x, groups, given = args[0], call["group"], _channels_of(to, args[0])
    kept = []
    if given is not None:
        rows = given.view(groups, -1)
        to.tie(rows, rows[:, :1])  # what shares statistics goes together
        kept.append(given.view(1, -1, *[1] * (x.dim() - 2)))
    for field in to.fields(x) or []:
        if field.shape[1] == 1 and spans(field):
            to.pin([field], "a norm takes statistics over it")
    for other in (call["weight"], call["bias"]):
        for field in to.fields(other) or []:
            if given is None:
                to.pin([field], "it belongs to something that stays whole")
            else:
                to.tie(field.reshape(-1), given)
    to.set(result[0], kept)


def _over_maps(to: Channels, func, args, kwargs, result) -> None:
    """Pooling, padding, resizing: channels stay, and what runs over pixels is pinned."""
    name, x = func.overloadpacket.__name__, args[0]
    pixels = int((re.findall(r"([123])d", name) or ["2"])[0])
    kept = []
    for field in to.fields(x) or []:
        if spans(field) & set(range(x.dim() - pixels, x.dim())):
            to.pin([field], f"{name.strip('_')} runs over it")
        else:
            kept.append(field)
    for out in result if isinstance(result, list | tuple) else [result]:
        to.set(out, list(kept))


@rule("roi_align", "_roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
def _regions(to: Channels, func, args, kwargs, result) -> None:
    given = _channels_of(to, args[0])
    outs = result if isinstance(result, list | tuple) else [result]
    if func.overloadpacket.__name__.startswith("ps") and given is not None:
        to.pin([given], "each region reads other channels of it")
        given = None
    to.set(outs[0], [] if given is None else [given.view(1, -1, 1, 1)])


@rule("deform_conv2d")
def _deformed(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    for extra in ("offset", "mask"):
        to.pin(to.fields(call[extra]) or [], "it says where a deformable convolution looks")
    weight = call["weight"]
    fields = to.fields(weight) or []
    outputs = next((f.reshape(-1) for f in fields if spans(f) == {0}), None)
    inputs = next((f.reshape(-1) for f in fields if spans(f) == {1}), None)
    given = _channels_of(to, call["input"])
    if call["groups"] != 1 or call["offset_groups"] != 1:
        to.pin([f for f in (given, inputs, outputs) if f is not None], "a grouped deformable convolution reads it")
        outputs = None
    else:
        _reads(to, given, inputs, None, None)
        if inputs is not None:
            to.read.append(inputs)
    if outputs is not None:
        for field in to.fields(call["bias"]) or []:
            to.tie(field.reshape(-1), outputs)
    to.set(result, [] if outputs is None else [outputs.view(1, -1, 1, 1)])
