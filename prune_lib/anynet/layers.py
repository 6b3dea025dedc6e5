"""What convolutions, norms and pooling do to labels of channels; see ``channels``."""

import re

from torch import Tensor

from .channels import Channels, spans
from .elementwise import bound


def convolution(to: Channels, func, args, kwargs, result) -> None:
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
    given = channels_of(to, x)
    rest = [field for field in to.fields(x) or [] if field.shape[1] == 1]
    if any(spans(field) - {0} for field in rest):
        to.pin([f for f in rest if spans(f) - {0}], "a convolution runs over it")
    left = [field for field in rest if not spans(field) - {0}]
    if groups == 1:
        reads(to, given, inputs)
        if inputs is not None:
            to.read.append(inputs)
    else:
        follows = to.fields(weight) is None  # as one that a forward makes as wide as the channels are
        outputs = _grouped(to, x, given, outputs, inputs, groups, turned, result.shape[1], follows)
    channel = [] if outputs is None else [outputs.view(1, -1, *[1] * (result.dim() - 2))]
    to.made += channel
    to.set(result, [*left, *channel])
    if isinstance(bias, Tensor):
        if outputs is None:
            to.pin(to.fields(bias) or [], "it is the bias of something that stays whole")
        for field in to.fields(bias) or []:
            if outputs is not None:
                to.tie(field.reshape(-1), outputs)


def channels_of(to: Channels, x: Tensor) -> Tensor | None:
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


def reads(to: Channels, given: Tensor | None, inputs: Tensor | None) -> None:
    """A layer reads the channels ``given`` by the labels ``inputs`` of its weight; without one the other is pinned."""
    if given is not None and inputs is not None:
        to.tie(given, inputs)
    elif given is not None:
        to.pin([given], "a weight reads it that stays whole")
    elif inputs is not None:
        to.pin([inputs], "it reads the network's input, or something else that stays whole")


def _grouped(
    to: Channels, x, given, outputs, inputs, groups: int, turned: bool, made: int, follows: bool
) -> Tensor | None:
    """Grouped: the same places of each group stay; where a group reads one channel (depthwise), groups go whole."""
    per = x.shape[1] // groups
    if turned and per == 1:  # a transposed weight is (C_in, C_out / groups)
        to.pin([] if outputs is None else [outputs], "each group makes as many channels as the others")
        reads(to, given, inputs)
        return None if given is None or inputs is None else inputs.repeat_interleave(made // groups)
    if per == 1:
        if outputs is None:
            if follows and made == groups:
                return given
            reads(to, given, None)
            return None
        rows = outputs.view(groups, -1)
        to.tie(rows, rows[:, :1])
        reads(to, given, rows[:, 0])
        return outputs
    if given is not None:
        rows = given.view(groups, per)
        to.tie(rows, rows[:1])
        reads(to, given if turned else rows[0], inputs)
    else:
        reads(to, None, inputs)
    if inputs is not None:
        to.read.append(inputs)
    if outputs is not None and turned:
        return outputs.repeat(groups)
    if outputs is not None:
        rows = outputs.view(groups, -1)
        to.tie(rows, rows[:1])
    return outputs


def batch_norm(to: Channels, func, args, kwargs, result) -> None:
    x = args[0]
    others = [t for t in args[1:] if isinstance(t, Tensor)]
    call = bound(func, args, kwargs)
    given, kept = channels_of(to, x), []
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


def layer_norm(to: Channels, func, args, kwargs, result) -> None:
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


def group_norm(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    x, groups, given = args[0], call["group"], channels_of(to, args[0])
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


def over_maps(to: Channels, func, args, kwargs, result) -> None:
    """Pooling, padding, resizing: channels stay, and what runs over pixels is pinned."""
    name, x = func.overloadpacket.__name__, args[0]
    pixels = int((re.findall(r"([123])d", name) or ["2"])[0])
    kept = []
    for field in to.fields(x) or []:
        if spans(field) & set(range(x.dim() - pixels, x.dim())):
            to.pin([field], f"{name.strip('_')} runs over it")
        else:
            kept.append(field)
    for other in args[1:]:
        if "unpool" in name:  # numbers of the places that values come to
            kept = to.together([x, other], x.dim()) or []
        else:
            to.pin(to.fields(other) or [], f"{name.strip('_')} looks up places by it")
    for out in result if isinstance(result, list | tuple) else [result]:
        to.set(out, list(kept))


def regions(to: Channels, func, args, kwargs, result) -> None:
    given = channels_of(to, args[0])
    outs = result if isinstance(result, list | tuple) else [result]
    if func.overloadpacket.__name__.startswith("ps") and given is not None:
        to.pin([given], "each region reads other channels of it")
        given = None
    to.set(outs[0], [] if given is None else [given.view(1, -1, 1, 1)])


def deformed(to: Channels, func, args, kwargs, result) -> None:
    call = bound(func, args, kwargs)
    for extra in ("offset", "mask"):
        to.pin(to.fields(call[extra]) or [], "it says where a deformable convolution looks")
    weight = call["weight"]
    fields = to.fields(weight) or []
    outputs = next((f.reshape(-1) for f in fields if spans(f) == {0}), None)
    inputs = next((f.reshape(-1) for f in fields if spans(f) == {1}), None)
    given = channels_of(to, call["input"])
    if call["groups"] != 1 or call["offset_groups"] != 1:
        to.pin([f for f in (given, inputs, outputs) if f is not None], "a grouped deformable convolution reads it")
        outputs = None
    else:
        reads(to, given, inputs)
        if inputs is not None:
            to.read.append(inputs)
    if outputs is not None:
        for field in to.fields(call["bias"]) or []:
            to.tie(field.reshape(-1), outputs)
    to.set(result, [] if outputs is None else [outputs.view(1, -1, 1, 1)])
