"""What somebody else's checkpoint is: read as data, never run, without torch.

found = inspect("model_best.pth.tar")
print(found)      # in words; found.to_json() as data
"""

import re
import shlex
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..cost.rules import RULES
from ..cost.ways import Subject, ways
from ..nets.arch import Arch
from ..nets.archs import ARCHS
from ..nets.names import INERT, LEFTOVERS, WRAPPERS, bare
from ..nets.plans import plan
from ..nets.recognise import Match, recognise
from ..papers.rows import all_rows
from ..system.errors import InputError, one_line, short
from ..system.pickles import Named, Thing, scalars
from ..system.stored import EXPONENTS, Stored, Tensor, read_stored

CLAIMS = re.compile(
    r"(?i)(^|[._-])(epochs?|iter\w*|steps?|(best|val|valid|test|top|train)?_?(acc\w*|prec\w*|top_?[15]|map|miou|ap|error|err|loss)"
    r"\w*|best\w*|arch\w*|model_?name|lr|seed|dataset|date|time|when|version|sparsity|rates?|compress_rate)$"
)
SHOWN = 12  # claims, names, convs
BESIDE = {*INERT, "numpy.array", "torch.device", "collections.Counter"}  # weights, in files that are loaded
MODULE = {"_parameters", "_buffers", "_modules"}


@dataclass(frozen=True)
class Zeros:
    """Numbers that are zero, and filters that are nothing but zeros, in the weights of convs."""

    weights: int
    zero: int
    filters: int
    zero_filters: int
    by_conv: Mapping[str, int] = field(default_factory=dict)  # conv's weight -> filters of zeros, where there are any
    nonzero: Mapping[str, int] = field(default_factory=dict, repr=False)  # conv's weight -> numbers that are not zero

    @property
    def share(self) -> float:
        return self.zero / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class Inspected:
    """What ``inspect`` found in a file."""

    file: str
    kind: str
    size: int  # bytes
    at: str  # where in the file its state dict is; empty: it is the file
    tensors: int
    numbers: int  # in them
    kinds: Mapping[str, int]  # F32 … -> tensors
    prefix: str  # that was before every name
    arch: str  # empty: none that is known here
    alike: list[str]  # archs with the very same tensors
    how: str
    widths: Mapping[str, int]
    narrower: Mapping[str, int]
    classes: int
    params: int
    flops: Mapping[str, int]  # rule -> FLOPs
    pruning: str  # in words: none, truly pruned, masked, scattered zeros
    zeros: Zeros
    not_finite: Mapping[str, int]  # tensor -> numbers in it that are NaN or infinite
    odd: list[str]  # in words
    claims: Mapping[str, Any]
    things: list[str]  # classes and functions that it names, none of which was looked up
    suggestion: str  # the command that evaluates it, or why there is none

    def to_json(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        where = f", its state dict at {self.at}" if self.at else ""
        kinds = ", ".join(f"{number} {kind}" for kind, number in self.kinds.items())
        lines = {
            "file": f"{self.file}, {self.kind}, {self.size:,} bytes{where}",
            "tensors": f"{self.tensors} ({kinds}), {self.numbers:,} numbers",
            "prefix": self.prefix,
            "network": self._network(),
            "params": f"{self.params:,}" if self.arch else "",
            "FLOPs": ", ".join(f"{value:,} ({rule})" for rule, value in self.flops.items()),
            "pruning": self.pruning,
            "not finite": _few(f"{number:,} of {name}" for name, number in self.not_finite.items()),
            "odd": "; ".join(self.odd),
            "it claims": _few(f"{name} {value}" for name, value in self.claims.items()),
            "names": _few(self.things) + (" (not looked up, not run)" if self.things else ""),
            "evaluate": self.suggestion,
        }
        return "\n".join(f"{name + ':':12} {one_line(text)}" for name, text in lines.items() if text)

    def _network(self) -> str:
        if not self.arch:
            return "none that this library knows"
        alike = f" (or {', '.join(self.alike)}: the same tensors)" if self.alike else ""
        full = "full width" if not self.narrower else f"{len(self.narrower)} of {len(self.widths)} convs are narrower"
        return f"{self.arch}{alike}, {self.classes} classes, {full}; recognised {self.how}"


def inspect(path: str | Path) -> Inspected:
    """What a checkpoint is: network, widths, zeros, costs, claims; nothing in it is run, and torch is not loaded.

    Args:
        path: ``.pth .pth.tar .pt .bin .safetensors`` or another name: safetensors, torch's zip, torch's older
            pickles, plain pickles.

    Raises:
        InputError: no such file, a damaged one, or no tensors in it; one line.
    """
    path = Path(path)
    stored = read_stored(path)
    dicts = sorted(_state_dicts(stored.tree), key=_fitness, reverse=True)
    if not dicts:
        raise InputError(f"{path}: no tensors with names in {stored.kind}; expected a state dict, or a model")
    at, found = dicts[0]
    tensors, leftovers = _joined(found)
    names = bare([*tensors])
    if len(set(names)) < len(names):
        raise InputError(f"{path}: names that differ only in wrappers ({_few(names)}); expected one network's")
    first = next(iter(tensors))
    prefix = first[: len(first) - len(names[0])] if first.endswith(names[0]) else "names of wrappers"
    tensors = dict(zip(names, tensors.values(), strict=True))
    try:
        zeros, not_finite = _numbers(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    said = stored.metadata.get("arch", "")
    match = recognise({name: tensor.shape for name, tensor in tensors.items()}, said)
    params, flops = _costs(match, zeros) if match else (0, {})
    things = _things(stored.tree)
    odd = [f"{number} {name} left by thop or averaging" for name, number in leftovers.items()]
    odd += [f"also a state dict at {other or 'the top'}, {len(inside)} tensors" for other, inside in dicts[1:4]]
    odd += [f"it says that it is {short(said)}"] if said and (not match or said != match.arch.name) else []
    if any(name.endswith("running_mean") for name in names) and not any("num_batches" in name for name in names):
        odd.append("no num_batches_tracked, as torch before 0.4.1 wrote")
    return Inspected(
        str(path), stored.kind, path.stat().st_size, at, len(tensors), sum(t.size for t in tensors.values()),
        dict(Counter(tensor.kind for tensor in tensors.values())), prefix, match.arch.name if match else "",
        match.others if match else [], match.how if match else "", match.widths if match else {},
        match.narrower if match else {}, match.classes if match else 0, params, flops, _pruning(match, zeros), zeros,
        not_finite, odd, _claims(stored, at), things, _suggestion(path, stored, at, match, things),
    )  # fmt: skip


def _state_dicts(tree: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """``(path, {name: tensor})`` of every mapping of names to tensors, and of every model that was saved whole."""
    waiting: deque[tuple[str, Any]] = deque([("", tree)])
    seen: set[int] = set()
    while waiting:
        path, value = waiting.popleft()
        if id(value) in seen or path.count(".") > 20:
            continue
        seen.add(id(value))
        if isinstance(value, Thing):
            if isinstance(value.state, dict) and any(
                isinstance(x, Tensor | Thing | dict) for x in value.state.values()
            ):
                inside = {name: t for name, t in _of_model(value) if isinstance(t, Tensor)}
                if inside:
                    yield path, inside
                    continue
            value = value.items or value.state
        if isinstance(value, dict):
            tensors = {name: t for name, t in value.items() if isinstance(name, str) and isinstance(t, Tensor)}
            if tensors and 2 * len(tensors) >= len(value):
                yield path, tensors
            waiting += [(f"{path}.{key}".lstrip("."), item) for key, item in value.items() if isinstance(key, str)]


def _of_model(model: Thing) -> Iterator[tuple[str, Any]]:
    """The tensors of a model that was pickled whole, under the names that its state dict would have."""
    for path, value in scalars(model):
        parts = [part for part in path.split(".") if part not in MODULE]
        if isinstance(value, Tensor):
            yield ".".join(parts), value


def _fitness(candidate: tuple[str, dict[str, Tensor]]) -> tuple[int, int]:
    """How likely a mapping is the network's: it lies where scripts put it, and has the most tensors."""
    at, found = candidate
    usual = at == "" or at.rsplit(".", 1)[-1] in WRAPPERS
    return int(usual and not at.startswith(("optim", "ema"))), len(found)


def _joined(found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Counter]:
    """The tensors, with what torch's pruning split (``weight_orig``, ``weight_mask``) under one name; and leftovers."""
    leftovers = Counter(last for name in found if (last := name.rsplit(".", 1)[-1]) in LEFTOVERS)
    kept = {name: t for name, t in found.items() if name.rsplit(".", 1)[-1] not in LEFTOVERS}
    joined: dict[str, Tensor] = {}
    for name, tensor in kept.items():
        if name.endswith("_mask") and f"{name[:-5]}_orig" in kept:
            continue
        mask = kept.get(f"{name[:-5]}_mask") if name.endswith("_orig") else None
        joined[name[:-5] if mask else name] = _Masked(tensor, mask) if mask else tensor
    return joined, leftovers


class _Masked(Tensor):
    """A tensor beside its mask."""

    def __new__(cls, *_):
        return object.__new__(cls)

    def __init__(self, tensor: Tensor, mask: Tensor):
        super().__init__(tensor.kind, tensor.shape, tensor.storage, tensor.offset, tensor.strides)
        object.__setattr__(self, "mask", mask)

    def bits(self):
        bits, mask = super().bits(), self.mask.bits()  # type: ignore[attr-defined]
        if mask.shape != bits.shape:
            raise InputError(f"a mask of {mask.shape} for weights of {bits.shape}; expected the same")
        return bits * (mask != 0).astype(bits.dtype)


def _numbers(tensors: Mapping[str, Tensor]) -> tuple[Zeros, dict[str, int]]:
    """How many numbers are zero in the weights of convs, and which tensors have numbers that are not finite."""
    import numpy as np

    weights = zero = filters = empty = 0
    by_conv: dict[str, int] = {}
    nonzero: dict[str, int] = {}
    not_finite: dict[str, int] = {}
    for name, tensor in tensors.items():
        if tensor.kind not in EXPONENTS:
            continue
        bits, (fraction, exponent) = tensor.bits(), EXPONENTS[tensor.kind]
        whole = bits.dtype.type(((1 << exponent) - 1) << fraction)
        if broken := int(np.count_nonzero((bits & whole) == whole)):
            not_finite[name] = broken
        if len(tensor.shape) == 4 and tensor.size:
            live = (bits & bits.dtype.type((1 << (fraction + exponent)) - 1)) != 0
            gone = int(np.count_nonzero(~live.any(axis=(1, 2, 3))))
            nonzero[name] = int(np.count_nonzero(live))
            weights, zero = weights + live.size, zero + live.size - nonzero[name]
            filters, empty = filters + len(live), empty + gone
            if gone:
                by_conv[name] = gone
    return Zeros(weights, zero, filters, empty, by_conv, nonzero), not_finite


def _pruning(match: Match | None, zeros: Zeros) -> str:
    """In words: narrower than the full network, masked, or with zeros anywhere."""
    said = []
    if match and match.narrower:
        full, left = (sum(n[conv] for conv in match.widths) for n in (match.arch.filters, match.widths))
        few = _few(f"{conv} {match.arch.filters[conv]} to {n}" for conv, n in match.narrower.items())
        said.append(f"truly pruned: {left:,} of {full:,} filters are left ({few})")
    if zeros.zero_filters:
        said.append(
            f"masked: {zeros.zero_filters:,} of {zeros.filters:,} filters in {len(zeros.by_conv)} convs are zeros and "
            "still there"
        )
    scattered = zeros.share >= 0.001 and not zeros.zero_filters
    if zeros.share >= 0.001:
        said.append(f"{'single weights pruned: ' if scattered else ''}{zeros.share:.1%} of the convs' weights are zero")
    if not said:
        return "none: no filter is missing or zero" if match else "no filter is zero"
    return "; ".join(said)


def _costs(match: Match, zeros: Zeros) -> tuple[int, dict[str, int]]:
    """Parameters, and FLOPs under every rule; the masked and the nonzero ones see the zeros."""
    about = match.arch
    subject = Subject(about.name, about, match.widths if match.narrower else None, narrow=True)
    plain = {way.rule: way.value for way in ways(subject, classes=match.classes) if not way.changes}
    params = plain.pop("all parameters")
    layers = plan(about, match.widths, match.classes).layers
    if zeros.zero_filters:
        kept = {conv: match.widths[conv] - zeros.by_conv.get(name, 0) for conv, name in match.convs.items()}
        plain["cdp, masked"] = RULES["cdp"].total(layers, kept)
    live = {conv: zeros.nonzero.get(name) for conv, name in match.convs.items()}
    plain["chex"] = RULES["chex"].total(replace(layer, nonzero=live.get(layer.name)) for layer in layers)
    return params, plain


def _claims(stored: Stored, at: str) -> dict[str, Any]:
    """What the file says of itself in names that mean something: epoch, accuracy, arch, learning rate."""
    claims: dict[str, Any] = {name: _plain(value) for name, value in stored.metadata.items() if claims_of(name)}
    for path, value in scalars(stored.tree, 20_000):
        if isinstance(value, Tensor):
            value = _single(value) if not path.startswith(f"{at}." if at else "\0") else None
        known = type(value) in (int, float, bool, str)
        if known and len(claims) < 40 and not path.startswith("optim") and claims_of(path) and value not in ("", None):
            claims[path] = _plain(value)
    return claims


def claims_of(path: str) -> str:
    """The part of a path that means something, or nothing."""
    match = CLAIMS.search(path)
    return match[0] if match else ""


def _plain(value: Any) -> Any:
    """A number or a text that fits a line and JSON."""
    if isinstance(value, float):
        return round(value, 6) if isfinite(value) else str(value)
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return one_line(value)[:60] if isinstance(value, str) else short(value)


def _single(tensor: Tensor) -> float | None:
    """The number in a tensor that holds one."""
    import numpy as np

    forms = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4"}
    if tensor.size != 1 or tensor.kind not in forms:
        return None
    try:
        return np.ascontiguousarray(tensor.bits()).view(forms[tensor.kind]).reshape(-1)[0].item()
    except InputError:
        return None


def _things(tree: Any) -> list[str]:
    """The names of what a pickle would have imported, each once; those of torch's own layers are left out."""
    found: dict[str, None] = {}
    waiting, seen = [tree], set[int]()
    while waiting and len(seen) < 200_000:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Thing):
            found[value.name] = None
            waiting += [*value.args, value.state, *value.items.values()]
        elif isinstance(value, Named):
            found[value.name] = None
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return sorted(short(name)[1:-1] for name in found if not name.startswith(("torch.nn.modules.", "__torch__.")))


def _suggestion(path: Path, stored: Stored, at: str, match: Match | None, things: list[str]) -> str:
    """The command that evaluates the file; or why none does."""
    if match is None:
        return "no command: the network is not in this library"
    own = all(part in WRAPPERS for part in at.split(".") if at)
    if not isinstance(stored.tree, dict) or not own or stored.kind in ("a plain pickle", "TorchScript, a zip"):
        return "save its state dict alone where it was made; a model that was saved whole is not loaded here"
    if odd := [name for name in things if name not in BESIDE]:
        return f"save its state dict alone where it was made: {_few(odd)} beside it is not loaded here"
    file = shlex.quote(str(path))
    row = _row(match.arch, match)
    if row and match.classes == match.arch.classes:
        return f"prune eval {row} --weights {file}"
    if match.arch.name not in ARCHS:
        return f"no command: {match.arch.name} is counted here and not trained"
    return f"prune cost {match.arch.name} --weights {file}"


def _row(about: Arch, match: Match) -> str:
    """The row as which the network would be evaluated: its own, or its full network's, which takes any widths."""
    rows = [row for row in all_rows().values() if row.arch == about.name and row.recipes and not row.runs_of]
    for row in rows:
        if match.narrower and row.pruned and not row.unknown and not row.finds_widths and row.widths == match.widths:
            return row.id
    dense = [row.id for row in rows if not row.pruned]
    return next((name for name in dense if "dense" in name), dense[0] if dense else "")


def _few(texts) -> str:
    listed = [str(text) for text in texts]
    return ", ".join(listed[:SHOWN]) + (f" … ({len(listed)} in all)" if len(listed) > SHOWN else "")
