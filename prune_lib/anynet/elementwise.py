"""What operations that work number by number do to labels of channels, and those not known; see ``channels``."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .channels import Channels, Fields, lifted, spans, tensors_in

NOT_ZERO_AT_ZERO = {
    "sigmoid", "hardsigmoid", "exp", "cos", "softplus", "log_sigmoid_forward", "rsqrt", "reciprocal", "acos", "erfc",
    "cosh", "log", "eq", "ge", "le", "logical_not", "exp2", "sigmoid_backward",
}  # fmt: skip


def bound(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by the names of its schema, defaults among them."""
    found = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            found[argument.name] = args[place]
        else:
            found[argument.name] = kwargs.get(argument.name, argument.default_value)
    return found


def same(to: Channels, func, args, kwargs, result) -> None:
    first = result[0] if isinstance(result, tuple) else result
    to.set(first, to.fields(args[0]))
    to.named(first, args[0])


def new(to: Channels, func, args, kwargs, result) -> None:
    """What is as wide as another tensor has its labels; of other new tensors nothing is known."""
    to.set(result, to.fields(args[0]) if func.overloadpacket.__name__.endswith("_like") else None)


def pointwise(to: Channels, func, args, kwargs, result) -> None:
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
    """Something is written into a part of ``base``, whose labels are one with its own along what the part has whole."""
    why, places = "values are written into a part of a tensor", placed(view, base)
    if places == list(range(base.dim())) and view.shape == base.shape:
        return to.set(base, fields)
    if fields is None:
        return None
    mine = to.fields(base)
    if places is None:
        to.pin([*(mine or []), *fields], why)
        return to.set(base, [])
    sizes = [1] * base.dim()
    for dim, place in enumerate(places):
        sizes[place] = view.shape[dim] if view.shape[dim] == base.shape[place] else 1
    given = [_lying(lifted(field, view.dim()), places, base.dim()) for field in fields]
    cut = {dim for dim, size in enumerate(sizes) if size < base.shape[dim]}
    kept: list[Fields] = []
    for side in (given, mine or []):
        to.pin([field for field in side if spans(field) & cut], why)
        kept.append([field for field in side if not spans(field) & cut])
    known = [(sizes, kept[0])] + ([] if mine is None else [(base.shape, kept[1])])
    return to.set(base, to.met(known, base.dim(), why))


def placed(view: Tensor, base: Tensor) -> list[int] | None:
    """Which dimension of ``base`` each one of its slices and selections is; ``None``: ``view`` is something else."""
    places: list[int] = []
    for size, step in zip(view.shape, view.stride(), strict=True):
        later = range(places[-1] + 1 if places else 0, base.dim())
        place = next((dim for dim in later if _runs(size, step, base.shape[dim], base.stride(dim))), None)
        if place is None:
            return None
        places.append(place)
    return places


def _runs(size: int, step: int, whole: int, one: int) -> bool:
    """Whether ``size`` places ``step`` numbers apart lie along a dimension of ``whole`` places ``one`` number apart."""
    return step == one if size == whole else one > 0 and step % one == 0 and (size - 1) * step < whole * one


def _lying(field: Tensor, places: Sequence[int], ndim: int) -> Tensor:
    """A field of a part, among the dimensions of the whole."""
    sizes = [1] * ndim
    for dim, place in enumerate(places):
        sizes[place] = field.shape[dim]
    return field.reshape(sizes)


def copied_into(to: Channels, func, args, kwargs, result) -> None:
    target, source = args[0], args[1]
    fields = to.fields(source)
    if target._is_view() and target._base is not None:
        _written(to, target._base, fields, target)
    to.set(result, None if fields is None else to.together([source], result.dim()))


def filled(to: Channels, func, args, kwargs, result) -> None:
    to.set(result, to.fields(args[0]))


def unknown(to: Channels, func, args, kwargs, result) -> None:
    for tensor in tensors_in((args, kwargs)):
        to.pin(to.fields(tensor) or [], f"{func.overloadpacket.__name__} is an operation that is not followed")
    for tensor in tensors_in(result):
        to.set(tensor, [])
