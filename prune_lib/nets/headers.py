"""A compact network's file, read without torch: the shapes in its header, and how many of its weights are not zero."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from ..system.errors import InputError
from .arch import Arch
from .layers import Shape
from .networks import arch_of, check_widths
from .plans import plan
from .spec import Widths

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # of a number


def read_header(path: str | Path, arch: Arch | None = None) -> tuple[Arch, Widths, int, dict[str, int]] | None:
    """``(arch, widths, classes, {conv: weights that are not zero})`` of a safetensors file whose names are ours.

    Nothing for any other file: one whose names, shapes or types are not exactly those of the network that it says it is
    (or, where it says nothing, of ``arch``) is for ``weights.read_compact``, which knows the ways that files differ.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as archive:  # checks every offset and length
            said, parts = archive.metadata() or {}, {name: archive.get_slice(name) for name in archive.keys()}  # noqa: SIM118
            shapes: dict[str, Shape] = {name: tuple(part.get_shape()) for name, part in parts.items()}
            kinds = {name: part.get_dtype() for name, part in parts.items()}
        about = arch_of(said["arch"]) if "arch" in said else arch
        if about is None or (arch is not None and about is not arch):
            return None
        widths = check_widths(about, {conv: shapes[f"{conv}.weight"][0] for conv in about.filters})
        classes = about.scored(shapes[f"{about.head}.bias"][0])
        layers = plan(about, widths, classes)
        if {name: shape for name, shape in shapes.items() if not name.endswith(".source")} != layers.tensors():
            return None
        if "widths" in said and check_widths(about, json.loads(said["widths"])) != widths:
            return None
        convs = {layer.name for layer in layers.layers if layer.kind.startswith("Conv")}
        if any(kinds[f"{conv}.weight"] not in BYTES for conv in convs):
            return None
        return about, widths, classes, _nonzero(path, {f"{conv}.weight": conv for conv in convs})
    except (SafetensorError, InputError, OSError, LookupError, ValueError, TypeError, AttributeError):
        return None


def _nonzero(path: str | Path, wanted: Mapping[str, str]) -> dict[str, int]:
    """How many numbers of each tensor are neither 0 nor -0, whatever floating type it has (numpy knows no bfloat16)."""
    import numpy as np

    found = {}
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, conv in wanted.items():
            start, end = header[name]["data_offsets"]
            size = BYTES[header[name]["dtype"]]
            file.seek(8 + length + start)
            bits = np.frombuffer(file.read(end - start), f"<u{size}")
            found[conv] = int(np.count_nonzero(bits & ((1 << (8 * size - 1)) - 1)))  # all but the sign
    return found
