"""Load weights from a file into a network: safetensors or a torch state dict, also with other module names."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..system.archive import check_zip
from ..system.errors import InputError, short
from .names import INERT, LEFTOVERS, WRAPPERS, bare
from .networks import arch_of, build, check_finite, check_widths, load_network
from .spec import Widths


class _Inert:
    """Stands for an object in a checkpoint that is no tensor: made, and given its state, by doing nothing."""

    def __init__(self, *state: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a torch file (``.pt``, ``.pth``, ``.tar``).

    A torch file is read as tensors only: one that holds anything else is refused, and nothing in it is run.

    Raises:
        InputError: no such file, not weights, or a damaged file.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"no weights at {path}")
        size = path.stat().st_size
    except OSError as error:  # the name is too long for a file
        raise InputError(f"no weights at {path} ({error.strerror})") from None
    check_zip(path)
    try:
        _check_head(path)
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            with torch.serialization.safe_globals([(_Inert, name) for name in INERT]):
                found = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch, zipfile and safetensors each have their own kinds
        reason = _in_the_way(path) or (str(error).splitlines()[0] if str(error) else type(error).__name__)
        kind = "safetensors" if isinstance(error, SafetensorError) else "a file of tensors only"
        raise InputError(f"{path}: not {kind} ({reason[:200]})") from None
    while isinstance(found, dict) and (
        inner := next((key for key in WRAPPERS if isinstance(found.get(key), dict)), "")
    ):
        found = found[inner]
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(name, str) and isinstance(t, Tensor) for name, t in found.items())
    ):
        raise InputError(f"{path}: not a state dict; expected names with a tensor each")
    for name, tensor in found.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise InputError(f"{path}: {short(name)} is {tensor.layout} on {tensor.device}; expected a plain tensor")
        if tensor.numel() * tensor.element_size() > size:
            raise InputError(f"{path}: {short(name)} is {_shape(tensor)}; expected no more than the file holds")
    tensors = {n: t for n, t in found.items() if n.rsplit(".", 1)[-1] not in LEFTOVERS}
    names = bare(list(tensors))
    if len(set(names)) < len(names):
        raise InputError(f"{path}: names that differ only in wrappers ({_few(list(tensors))}); expected one network's")
    return dict(zip(names, tensors.values(), strict=True))


def _check_head(path: Path) -> None:
    """Refuse a text that lies where a torch file is expected: what a failed download leaves, or git in its place."""
    with open(path, "rb") as file:
        head = file.read(200)
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: a pointer that git-lfs left in place of the file; fetch the file: git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise InputError(f"{path}: a web page; expected the weights that it may offer for download")
    if head and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        raise InputError(f"{path}: a text that begins with {short(head.decode()[:40])}; expected a torch file")


def _in_the_way(path: Path) -> str:
    """What a torch file holds beside tensors, by name."""
    try:
        odd = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - set(INERT)
    except Exception:  # no torch file at all
        return ""
    return f"it holds {', '.join(sorted(odd))}" if odd else ""


def fit(model: nn.Module, weights: dict[str, Tensor], path: str | Path) -> str:
    """Load ``weights`` into ``model``, by name where the names agree, else by position; returns which, in words.

    By position, every tensor must have the same shape and the same last name (weight, bias, running_mean …) as the
    model's tensor at its place, as the published compact networks have, whose modules are called otherwise.

    Raises:
        InputError: the keys or shapes that don't fit, or values that are not finite; the model is then as it was.
    """
    check_finite(weights, path)
    wanted = model.state_dict()
    if not any(name.endswith("num_batches_tracked") for name in weights):  # older torch wrote none
        wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}
    missing, extra = [n for n in wanted if n not in weights], [n for n in weights if n not in wanted]
    shaped = [f"{n} {_shape(weights[n])} for {_shape(t)}" for n, t in wanted.items()
              if n in weights and weights[n].shape != t.shape]  # fmt: skip
    if not (missing or extra or shaped):
        model.load_state_dict(weights, strict=False)
        return "by name"
    pairs = list(zip(wanted.items(), weights.items(), strict=False))
    alike = [
        name.rsplit(".", 1)[-1] == other.rsplit(".", 1)[-1] and mine.shape == theirs.shape
        for (name, mine), (other, theirs) in pairs
    ]
    if missing and len(wanted) == len(weights) and all(alike):
        model.load_state_dict({name: tensor for (name, _), (_, tensor) in pairs}, strict=False)
        first, other = next(pair for pair in zip(wanted, weights, strict=True) if pair[0] != pair[1])
        return f"by position, since the names differ ({other} went to {first}; all {len(wanted)} shapes fit)"
    problems = [("missing", missing), ("unexpected", extra), ("of another shape", shaped)]
    told = "; ".join(f"{len(names)} {what} ({_few(names)})" for what, names in problems if names)
    raise InputError(f"{path}: does not fit this network: {told}; expected {len(wanted)} tensors, found {len(weights)}")


def widths_of(arch: str, weights: dict[str, Tensor], path: str | Path) -> Widths:
    """The width of every conv of ``arch``, read off the shapes of a compact network's weights.

    By name where the names are this library's, else by position: the file's conv weights in their order.

    Raises:
        InputError: not as many convs as the arch has.
    """
    about = arch_of(arch)
    if all(f"{conv}.weight" in weights and weights[f"{conv}.weight"].dim() for conv in about.filters):
        return check_widths(about, {conv: len(weights[f"{conv}.weight"]) for conv in about.filters})
    found = [len(tensor) for tensor in weights.values() if tensor.dim() == 4]
    if len(found) != len(about.filters):
        raise InputError(f"{path}: {len(found)} conv weights; expected the {len(about.filters)} of {about.name}")
    return check_widths(about, dict(zip(about.filters, found, strict=True)))


def read_compact(path: str | Path, arch: str | None = None) -> tuple[str, Widths, nn.Module]:
    """``(arch, widths, network)`` of a compact network's weights.

    Args:
        arch: whose widths they have; a file that this library wrote says it itself.

    Raises:
        InputError: a file that says nothing of itself where no arch is given, or weights that do not fit.
    """
    weights = read_weights(path)
    named = metadata(path).get("arch")
    if arch is None and named is None:
        raise InputError(f"{path} does not say which network it is of; name it before --weights")
    if named is not None:
        if arch not in (None, named):
            raise InputError(f"{path} is of {named}; expected one of {arch}")
        network = load_network(path)
        return named, widths_of(named, weights, path), network
    widths = widths_of(arch or "", weights, path)
    linear = [tensor for tensor in weights.values() if tensor.dim() == 2]
    network = build(arch or "", widths, len(linear[-1]) if linear else None)
    fit(network, weights, path)
    return arch or "", widths, network


def metadata(path: str | Path) -> dict[str, str]:
    if Path(path).suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as archive:
        return archive.metadata() or {}


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
