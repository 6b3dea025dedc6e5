"""The networks: one class per architecture, parameterised by widths. Full, fused and compact are the same class."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ..system.errors import InputError, short
from .arch import Arch
from .archs import ARCHS
from .spec import Widths, parse, to_widths

__all__ = ["ARCHS", "Arch", "arch_of", "build", "check_widths", "layout_of", "load_network", "read_spec"]


def arch_of(arch: str | Arch) -> Arch:
    """The architecture of that name; one that has been looked up already is handed back.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if isinstance(arch, Arch):
        return arch
    if arch not in ARCHS:
        raise InputError(f"unknown architecture {arch!r}; expected one of: {' '.join(ARCHS)}")
    return ARCHS[arch]


def layout_of(arch: str | Arch, layout: str | None = None) -> str:
    """The name of a layout of ``arch``; ``None`` is its first.

    Raises:
        InputError: an unknown arch or layout.
    """
    return arch_of(arch).layout(layout).name


def read_spec(arch: str | Arch, spec: str | None, layout: str | None = None) -> tuple[list[float] | None, Widths]:
    """The rates and widths that the rate string ``spec`` means for ``arch``; ``None`` prunes nothing.

    Raises:
        InputError: an unknown arch or layout, or an unusable spec; nothing heavy was loaded by then.
    """
    about = arch_of(arch)
    chosen = about.layout(layout)
    if spec is None:
        return None, dict(about.filters)
    rates = parse(spec, chosen.rounding)
    return rates, check_widths(about, to_widths(rates, chosen, about.filters))


def check_widths(arch: str | Arch, widths: Mapping[str, int]) -> Widths:
    """``widths`` completed by the full widths of the convs that it does not name.

    Raises:
        InputError: a conv that ``arch`` has not, a width that it cannot have, or convs of one unit that differ.
    """
    about = arch_of(arch)
    for conv, filters in widths.items():
        if conv not in about.filters:
            raise InputError(f"{about.name} has no conv called {conv!r}; expected one of: {' '.join(about.filters)}")
        if type(filters) is not int or not 1 <= filters <= about.filters[conv]:
            raise InputError(
                f"{about.name}, {conv}: width {filters!r}; expected a whole number in 1 … {about.filters[conv]}"
            )
    full = {**about.filters, **widths}
    for first, *others in about.units.values() if not about.padded else ():  # a padding shortcut also crops
        for conv in others:
            if full[conv] != full[first]:
                raise InputError(
                    f"{about.name}: {first} keeps {full[first]} filters and {conv} {full[conv]}; expected the same "
                    f"number, since they are one channel unit ('prune units {about.name}' lists them)"
                )
    return full


def build(arch: str | Arch, widths: Mapping[str, int] | None = None, num_classes: int | None = None):
    """A network of ``arch`` whose conv ``c`` has ``widths[c]`` filters (convs not named keep all of theirs).

    Takes images ``(N, 3, H, W)`` and gives logits ``(N, num_classes)`` (default: the arch's own number of classes).
    ``build(arch)`` is the full network, and ``build(arch, widths)`` the compact one: the same class, so a compact CNN
    *is* its arch and its widths.
    """
    about = arch_of(arch)
    full = check_widths(about, widths or {})
    module, cls = about.cls.split(":")
    network = getattr(import_module(f".{module}", __package__), cls)
    return network(full, about.classes if num_classes is None else num_classes, **about.options)


def check_finite(weights: dict, path: str | Path) -> None:
    """Refuse weights of a training that diverged: every figure of such a network would be one of chance.

    Raises:
        InputError: a value that is NaN or infinite.
    """
    bad = {name: int((~t.isfinite()).sum()) for name, t in weights.items() if t.is_floating_point()}
    if names := [name for name, count in bad.items() if count]:
        first = f"{bad[names[0]]:,} of {weights[names[0]].numel():,} in {short(names[0])}"
        raise InputError(
            f"{path}: {len(names)} of {len(weights)} tensors are not finite ({first}); expected numbers, not NaN or inf"
        )


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
        arch, widths = arch_of(about["arch"]), json.loads(about["widths"])
        if not isinstance(widths, dict):
            raise InputError(f"{path}: its widths are {type(widths).__name__}; expected a mapping")
        check_finite(weights, path)
        network = build(arch, widths, arch.scored(len(weights[f"{arch.head}.bias"])))
        for key in [key for key in weights if key.endswith(".source")]:
            network.get_submodule(key.removesuffix(".source")).take_channels(weights[key])
        network.load_state_dict(weights)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the safetensors of a compact network") from None
    except (SafetensorError, OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a compact network of this library ({str(error)[:300]})") from None
    return network.eval()
