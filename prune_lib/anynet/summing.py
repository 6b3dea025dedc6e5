"""What sums, statistics, products and attention do to labels of channels; see ``channels``."""

from torch import Tensor

from .channels import Channels, Fields, lifted, spans
from .elementwise import bound, pointwise, unknown


def reduced(to: Channels, func, args, kwargs, result) -> None:
    tensors = [t for t in args if isinstance(t, Tensor)]
    name = func.overloadpacket.__name__
    if len(tensors) > 1:  # max and min of two tensors
        return pointwise(to, func, args, kwargs, result)
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
    adds = name in ("sum", "linalg_vector_norm", "norm", "nansum", "count_nonzero", "any") and (
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


def transformed(to: Channels, func, args, kwargs, result) -> None:
    """A Fourier transform mixes what is along its dimensions."""
    tensor = args[0]
    dims, kept = {d % tensor.dim() for d in args[1]}, []
    for field in to.fields(tensor) or []:
        if spans(field) & dims:
            to.pin([field], "a Fourier transform is taken over it, and fewer channels change the rest")
        else:
            kept.append(field)
    to.set(result, kept)


def product(to: Channels, func, args, kwargs, result) -> None:
    name = func.overloadpacket.__name__.strip("_")
    bias = None
    if name in ("addmm", "addmv", "baddbmm", "addmm_activation", "sparse_addmm"):
        bias, one, other = args[:3]
    else:
        one, other = args[:2]
        bias = args[2] if name == "linear" and len(args) > 2 else None
    if name in ("addbmm", "dot", "matmul") or (name == "linear" and other.dim() != 2):
        return unknown(to, func, args, kwargs, result)
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
        if mine and sides[1 - number] is not None and not summed[1 - number]:
            to.pin(mine, "it is multiplied by something of a fixed size")
        if to.is_weight(pair[number]):
            to.read += mine
            if not to.is_weight(pair[1 - number]):
                to.made += [field for field in sides[number] or [] if field.shape[n] == 1]
    for one in summed[0]:
        for other in summed[1]:
            alone = [field for field in (one, other) if spans(field) == {n}]
            if len(alone) == 1:  # of the other whole rows go, as heads, and each of them is multiplied by all of it
                to.pin(alone, "it is multiplied by what goes as a whole, as a head, and all share it")
            else:
                to.tie(one, other)
    left = [to.along(field, n) for field in (*summed[0], *summed[1]) if spans(field) - {n}]
    left += [field for fields in sides for field in fields or [] if field.shape[n] == 1]
    return to.merged(field.squeeze(n) for field in left)


def _placed(field: Tensor, place: dict[int, int], n: int) -> Tensor:
    sizes, order = [1] * n, sorted(place, key=lambda d: place[d])
    for dim, to_dim in place.items():
        sizes[to_dim] = field.shape[dim]
    return field.permute(order).reshape(sizes)


def attention(to: Channels, func, args, kwargs, result) -> None:
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
