"""The networks: one class per architecture, parameterised by widths. Full, fused and compact are the same class."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ..errors import InputError
from ..spec import Widths, parse, to_widths
from .archs import ARCHS, Arch

__all__ = ["ARCHS", "Arch", "arch_of", "build", "load_network", "read_spec"]


def arch_of(name: str) -> Arch:
    """The architecture called ``name``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in ARCHS:
        raise InputError(f"unknown architecture {name!r}; expected one of: {' '.join(ARCHS)}")
    return ARCHS[name]


def read_spec(arch: str, spec: str | None, layout: str = "dcff") -> tuple[list[float] | None, Widths]:
    """The rates and widths that the rate string ``spec`` means for ``arch``; ``None`` prunes nothing.

    Raises:
        InputError: an unknown arch or layout, or an unusable spec; nothing heavy was loaded by then.
    """
    about = arch_of(arch)
    if layout not in about.layouts:
        raise InputError(f"{arch} has no layout {layout!r}; expected one of: {' '.join(about.layouts)}")
    if spec is None:
        return None, dict(about.filters)
    rates = parse(spec)
    return rates, to_widths(rates, about.layouts[layout], about.filters)


def build(arch: str, widths: Mapping[str, int] | None = None, num_classes: int = 10):
    """A network of ``arch`` whose conv ``c`` has ``widths[c]`` filters (convs not named keep all of theirs).

    Takes images ``(N, 3, 32, 32)`` and gives logits ``(N, num_classes)``. ``build(arch)`` is the full network, and
    ``build(arch, widths)`` the compact one: the same class, so a compact CNN *is* its arch and its widths.
    """
    spec = arch_of(arch)
    for conv, filters in (widths or {}).items():
        if conv not in spec.filters:
            raise InputError(f"{arch} has no conv called {conv!r}; expected one of: {' '.join(spec.filters)}")
        if type(filters) is not int or not 1 <= filters <= spec.filters[conv]:
            raise InputError(f"{arch}, {conv}: width {filters!r}; expected a whole number in 1 … {spec.filters[conv]}")
    module, cls = spec.cls.split(":")
    return getattr(import_module(f".{module}", __name__), cls)({**spec.filters, **(widths or {})}, num_classes)


def load_network(path: str | Path):
    """The network in a compact safetensors file, which describes itself: its metadata name the arch and the widths.

    Raises:
        InputError: not such a file, or weights that do not fit what it says of itself.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as archive:
            about = archive.metadata() or {}
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        arch, widths = about["arch"], json.loads(about["widths"])
        network = build(arch, widths, num_classes=len(weights["linear.bias"]))
        network.load_state_dict(weights)
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a compact network of this library ({error})") from None
    return network.eval()
