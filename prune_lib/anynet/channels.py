"""Which channels of any network go together, found by running it once and following every number to where it came from.

Each index along each dimension of each weight gets a *label*, and each operation says what becomes of labels: an
addition makes the labels of its two sides one, a convolution ties the channels that it reads to the second dimension of
its weight and gives its outputs those of the first, a concatenation or a reshape moves labels as it moves numbers. What
nothing may change (the input, the output, what a statistic is taken over, an operation that is not known) is *pinned*:
label 0.

A tensor's labels are *fields*: int64 tensors with its number of dimensions, of full size along those that the field
runs along and of size 1 along all others. A weight of a convolution has two, a map of channels one. No field: every
index always stays. Tensors that nothing is known of (``torch.zeros`` inside a forward) follow whatever meets them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

PINNED = 0
SPREADING = ("expand", "repeat", "expand_as")  # what may have labels where its argument has none
Fields = list[Tensor]


PRODUCTS = {
    "convolution", "mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention_for_cpu",
}  # fmt: skip


class Channels(TorchDispatchMode):
    """Within this mode everything that is computed is followed. What was found is in ``edges``, ``pins``, ``blocks``.

    Args:
        leaves: ``{name: weight or buffer}``, each of which gets labels along all of its dimensions.
        rule_of: what gives the rule of an operation, which says what becomes of labels; see ``rules``.
    """

    def __init__(self, leaves: Mapping[str, Tensor], rule_of: Callable[[Any], Callable]):
        super().__init__()
        self.rule_of = rule_of
        self.labels = 1  # how many there are; 0 is what always stays
        self.edges: list[tuple[Tensor, Tensor]] = []  # labels that are one
        self.pins: list[tuple[Tensor, str]] = []  # labels that always stay, and why
        self.blocks: list[Tensor] = []  # fields along several dimensions: what stays must be a block of them
        self.crossings: list[tuple[Tensor, dict[int, Tensor | None]]] = []  # see ``crossing``
        self.doubts: list[tuple[Tensor, str]] = []  # labels that an operation makes something else than 0 of 0 of
        self.read: list[Tensor] = []  # labels of what a product with a weight sums over: by them it reads channels
        self.made: list[Tensor] = []  # labels of the weight that its result has: by them it makes channels
        self.passed: dict[str, Tensor] = {}  # norm without weights -> labels of the channels that it passes
        self.leaves: dict[str, Fields] = {}
        self._fields: Any = WeakTensorKeyDictionary()
        self._maker: Any = WeakTensorKeyDictionary()  # output of a convolution or linear layer -> name of its weight
        self._name: Any = WeakTensorKeyDictionary()
        self._active: Any = WeakTensorKeyDictionary()  # what depends on the network's input
        self.readers: dict[str, set[str]] = {}
        self.used: set[str] = set()
        self.products = 0  # how many products of matrices, and convolutions, were computed
        self.paused = False  # while somebody looks at what is computed
        for name, leaf in leaves.items():
            self.leaves[name] = [self.new(leaf.shape[dim], dim, leaf.dim()) for dim in range(leaf.dim())]
            self._fields[leaf] = [field for field in self.leaves[name] if field.numel() > 1]
            self._name[leaf] = name

    def new(self, size: int, dim: int, ndim: int) -> Tensor:
        """A field of ``size`` labels of its own along one dimension."""
        self.labels += size
        return torch.arange(self.labels - size, self.labels).view([size if d == dim else 1 for d in range(ndim)])

    # what rules ask and say

    def fields(self, value: Any) -> Fields | None:
        """The fields of a tensor; ``None``: nothing is known of it, and it follows whatever it meets."""
        return self._fields.get(value) if isinstance(value, Tensor) else None

    def start(self, tensor: Tensor) -> None:
        """``tensor`` is an input of the network."""
        self._fields[tensor], self._active[tensor] = [], True

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a weight, or made of weights alone."""
        return tensor not in self._active

    def set(self, tensor: Any, fields: Fields | None) -> None:
        if isinstance(tensor, Tensor):
            if fields is None:
                self._fields.pop(tensor, None)
            else:
                self._fields[tensor] = fields = [field for field in fields if field.numel() > 1]
                self.blocks += [field for field in fields if len(spans(field)) > 1]

    def pin(self, fields: Iterable[Tensor], why: str) -> None:
        for field in fields:
            self.pins.append((field.reshape(-1), why))

    def free(self, field: Tensor) -> bool:
        """Whether a label of the field has not been pinned yet."""
        pinned = torch.zeros(self.labels, dtype=torch.bool)
        pinned[torch.cat([labels for labels, _ in self.pins] or [torch.zeros(1, dtype=torch.int64)])] = True
        return not bool(pinned[field].all())

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Make labels one, place by place; the fields broadcast against each other."""
        if one is not other:
            one, other = torch.broadcast_tensors(one, other)
            self.edges.append((one.reshape(-1), other.reshape(-1)))

    def along(self, field: Tensor, dim: int) -> Tensor:
        """The field without ``dim``, along which its labels are made one."""
        if field.shape[dim] > 1:
            first = field.narrow(dim, 0, 1)
            self.tie(field, first)
            return first
        return field

    def merged(self, fields: Iterable[Tensor]) -> Fields:
        """Fields of one tensor, those that run along a same dimension made one."""
        found: Fields = []
        for field in fields:
            mates = [other for other in found if spans(other) & spans(field)]
            if not mates:
                found.append(field)
                continue
            for mate in mates:
                self.tie(field, mate)
            found = [other for other in found if not any(other is mate for mate in mates)]
            shape = torch.broadcast_shapes(field.shape, *(mate.shape for mate in mates))
            widest = max([field, *mates], key=Tensor.numel)
            found.append(compressed(widest.expand(shape)))
        return found

    def together(self, tensors: Sequence[Any], ndim: int, why: str = "it is added to or multiplied by a part of the "
                 "network that stays whole") -> Fields | None:  # fmt: skip
        """The fields of what is made of ``tensors`` place by place, as a sum is; they broadcast against each other."""
        known = [(t.shape, fields) for t in tensors if (fields := self.fields(t)) is not None]
        return self.met(known, ndim, why) if known else None

    def met(self, known: Sequence[tuple[Sequence[int], Fields]], ndim: int, why: str) -> Fields:
        """As ``together``, of shapes and the fields that tensors of these have."""
        sided = [
            ([1] * (ndim - len(shape)) + list(shape), [lifted(f, ndim) for f in fields]) for shape, fields in known
        ]
        crossed: set[int] = set()
        for number, (_, fields) in enumerate(sided):
            for field in fields:
                dims = spans(field)
                for other, (sizes, theirs) in enumerate(sided):
                    if other == number or not any(sizes[d] > 1 for d in dims):
                        continue
                    if (met := crossing(dims, sizes, theirs)) is not None:
                        self.crossings.append((field, met))
                        crossed |= {id(mate) for mate in met.values()}
                    elif not any(spans(f) & dims for f in theirs):
                        self.pin([field], why)
        return self.merged(field for _, fields in sided for field in fields if id(field) not in crossed)

    # the mode itself

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled():  # where operations that are made of others come whole
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        self.products += func.overloadpacket.__name__ in PRODUCTS
        given = list(tensors_in((args, kwargs)))
        before = [self.fields(t) for t in given]  # an operation in place may change its own argument
        result = func(*args, **kwargs)
        self.used |= {name for t in given if (name := self._name.get(t))}
        if any(t in self._active for t in given):
            for each in tensors_in(result):
                self._active[each] = True
        if all(fields is None for fields in before):
            return result
        self._watch_readers(func, given)
        if not any(before) and func.overloadpacket.__name__ not in SPREADING:
            for each in tensors_in(result):
                self.set(each, [])
            return result
        self.rule_of(func)(self, func, args, kwargs, result)
        return result

    def _watch_readers(self, func, given: Sequence[Tensor]) -> None:
        """Note what reads the outputs of a layer, so that a BatchNorm that alone does can be named."""
        names = [self._name.get(t) for t in given]
        for tensor in given:
            maker = self._maker.get(tensor)
            if maker:
                norm = "batch_norm" in func.__name__ and next((n for n in names if n), None)
                self.readers.setdefault(maker, set()).add(norm or f"{func.__name__}")
                if norm:
                    self.readers.setdefault(f"{norm} of", set()).add(maker)
        if not any(self._maker.get(t) for t in given) and "batch_norm" in func.__name__:
            norm = next((n for n in names if n), "")
            self.readers.setdefault(f"{norm} of", set()).add("something else")

    def made_by(self, result: Tensor, weight: Any) -> None:
        """``result`` is what the layer with this weight makes."""
        name = self._name.get(weight)
        if name:
            self._maker[result] = name

    def named(self, tensor: Any, as_: Tensor) -> None:
        """``tensor`` is the weight ``as_``, transposed or cast."""
        if name := self._name.get(as_):
            self._name[tensor] = name


def spans(field: Tensor) -> set[int]:
    """The dimensions that a field runs along."""
    return {dim for dim, size in enumerate(field.shape) if size > 1}


def crossing(dims: set[int], sizes: Sequence[int], fields: Fields) -> dict[int, Tensor | None] | None:
    """How a field that runs along ``dims`` together meets a tensor of ``sizes`` that does not: dimension by dimension.

    As heads and their channels do, by which rotary embeddings are multiplied that all heads share: either whole heads
    go, and the embeddings stay, or the same channels of all heads, and with them those of the embeddings. For each of
    ``dims`` that the tensor has: its field along it, ``None`` where it stays whole. ``None``: it is met otherwise.
    """
    near = {dim: [field for field in fields if dim in spans(field)] for dim in dims if sizes[dim] > 1}
    if len(dims) < 2 or any(len(own) > 1 or any(len(spans(f)) > 1 for f in own) for own in near.values()):
        return None
    if len(near) == len(dims) and not any(near.values()):
        return None  # all of it is met by what stays
    return {dim: own[0] if own else None for dim, own in near.items()}


def lifted(field: Tensor, ndim: int) -> Tensor:
    """The field with dimensions put before its own, as broadcasting does."""
    return field if field.dim() == ndim else field.view([1] * (ndim - field.dim()) + list(field.shape))


def compressed(field: Tensor) -> Tensor:
    """The field without the dimensions along which nothing changes."""
    for dim, (size, stride) in enumerate(zip(field.shape, field.stride(), strict=True)):
        if size > 1:
            first = field.narrow(dim, 0, 1)
            if stride == 0 or bool((field == first).all()):
                field = first
    return field


def tensors_in(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
