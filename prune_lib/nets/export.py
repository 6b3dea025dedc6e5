"""Take a compact network away: safetensors that rebuild themselves, ONNX, or torch.export's ``.pt2``.

Every file is read back by what will read it, onnxruntime or torch, and its outputs are compared to the network's before
it gets its name; where they differ by more than rounding there is no file.
"""

import copy
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.networks import arch_of, load_network
from ..system.errors import InputError, needs
from ..system.files import write_bytes
from .groups import call, tensors

FORMATS = ("safetensors", "onnx", "pt2")
TOLERANCE = 1e-5  # largest difference of the outputs, relative to the largest of them
Outputs = Callable[[Any], list[Tensor]]


def export(
    model: nn.Module,
    example_inputs: Any,
    out: str | Path,
    to: str | None = None,
    about: Mapping[str, str] | None = None,
) -> dict:
    """Write ``model``, in evaluation mode on the CPU, to ``out`` and return the facts about that file.

    Args:
        example_inputs: what the model is called with: a tensor ``(N, C, H, W)``, a tuple of arguments, or a dict. The
            first dimension is taken for the batch, and may have any length in the exported network if it allows that.
        to: ``onnx`` or ``pt2`` for any network; ``safetensors`` for one of this library's, whose ``arch`` and
            ``widths`` (JSON) ``about`` must name. ``None``: as the name of ``out`` ends.
        about: what the file says of itself: ONNX metadata, ``about.json`` in a ``.pt2``.

    Returns:
        ``to``, ``file``, ``bytes``, ``sha256``, ``checked_with``, ``difference`` (relative), ``batch`` (``any`` or N).

    Raises:
        InputError: an unknown format or another file name, a network that cannot be exported, or one whose outputs,
            read back, differ by more than 1e-5. What was at ``out`` before is then as it was.
    """
    out = Path(out)
    to = to or out.suffix.removeprefix(".")
    if to not in FORMATS:
        raise InputError(f"unknown format {to!r}; expected one of: {' '.join(FORMATS)}")
    if out.suffix != f".{to}":
        raise InputError(f"{out}: expected a name that ends in .{to}")
    model = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # training had channels last
    inputs, about = _of_two(example_inputs), dict(about or {})
    write = {"safetensors": _safetensors, "onnx": _onnx, "pt2": _pt2}[to]
    try:
        data, reader, batch, by = write(model, inputs, about)
    except InputError:
        raise
    except Exception as error:  # torch.export, its passes and the ONNX converter each have their own kinds
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(f"{type(model).__name__} has no {to} form ({type(error).__name__}: {reason})") from None
    given = [inputs, _longer(inputs)] if batch == "any" else [inputs]
    off = 0.0

    def check(path: Path) -> None:
        nonlocal off
        read = reader(path)
        for each in given:
            with torch.no_grad():
                off = max(off, _difference(tensors(call(model, each)), read(each)))
        if not off <= TOLERANCE:
            raise InputError(
                f"{out}: read back by {by}, its outputs differ by {off:.2g}; expected {TOLERANCE:g} at most"
            )

    write_bytes(out, data, check)
    return {
        "to": to, "file": str(out), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "checked_with": by,
        "difference": off, "batch": batch, **({"about": about} if about else {}),
    }  # fmt: skip


def exports(model: nn.Module, example_inputs: Any, about: Mapping[str, str] | None = None) -> dict[str, dict | None]:
    """``model`` in every format, in a folder that is gone afterwards: format -> the facts of ``export``.

    ``None`` stands for safetensors of a network which is not one of this library's, as ``about`` does not name it.

    Raises:
        InputError: as ``export``.
    """
    ours = {"arch", "widths"} <= set(about or {})
    with tempfile.TemporaryDirectory() as folder:
        return {
            to: export(model, example_inputs, Path(folder) / f"network.{to}", to, about)
            if ours or to != "safetensors"
            else None
            for to in FORMATS
        }


def export_file(path: str | Path, out: str | Path, to: str | None = None) -> dict:
    """Export the compact network in a safetensors file of this library; see ``export``."""
    from safetensors import safe_open

    network = load_network(path)
    with safe_open(path, framework="pt") as archive:
        about = dict(archive.metadata() or {})
    image = torch.randn(2, *arch_of(about["arch"]).image, generator=torch.Generator().manual_seed(0))
    return export(network, image, out, to, about)


def _of_two(value: Any) -> Any:
    """``value`` on the CPU with at least two of everything: exporting a batch of one would fix it."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return torch.cat([value, value]) if value.dim() and len(value) == 1 else value
    if isinstance(value, Mapping):
        return {key: _of_two(item) for key, item in value.items()}
    return tuple(_of_two(item) for item in value) if isinstance(value, list | tuple) else value


def _longer(value: Any) -> Any:
    """Another batch, one longer and otherwise filled, to see that the length is really free."""
    if isinstance(value, Tensor):
        return torch.cat([value.flip(0), value[:1]]) if value.dim() else value
    if isinstance(value, Mapping):
        return {key: _longer(item) for key, item in value.items()}
    return tuple(_longer(item) for item in value) if isinstance(value, tuple) else value


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    if [t.shape for t in expected] != [t.shape for t in found]:
        return torch.inf
    offs = [
        float((e - f).abs().max() / e.abs().max().clamp_min(torch.finfo(e.dtype).tiny))
        for e, f in zip(expected, found, strict=True)
    ]
    return max((off if off == off else torch.inf for off in offs), default=torch.inf)


def _program(model: nn.Module, inputs: Any):
    """The network as a graph of torch operations whose batch may have any length, and whether it may."""
    arguments = () if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    free = {0: torch.export.Dim.AUTO}
    shapes: Any = {name: _free(value, free) for name, value in named.items()} or tuple(
        _free(v, free) for v in arguments
    )
    program = torch.export.export(model, arguments, named, dynamic_shapes=shapes)
    sizes = {len(t) for t in tensors(inputs, floating=False) if t.dim()}
    return program, "any" if program.range_constraints else max(sizes, default=1)


def _free(value: Any, how: dict) -> Any:
    if isinstance(value, Tensor):
        return how if value.dim() else None
    if isinstance(value, Mapping):
        return {key: _free(item, how) for key, item in value.items()}
    return tuple(_free(item, how) for item in value) if isinstance(value, tuple) else None


def _pt2(model: nn.Module, inputs: Any, about: dict):
    program, batch = _program(model, inputs)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})

    def reader(path: Path) -> Outputs:
        loaded = torch.export.load(io.BytesIO(path.read_bytes())).module()
        return lambda given: tensors(call(loaded, given))

    return file.getvalue(), reader, batch, f"torch {torch.__version__}"


def _onnx(model: nn.Module, inputs: Any, about: dict):
    with needs("export"):
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's converter needs it
    program, batch = _program(model, inputs)
    converted = torch.onnx.export(program, dynamo=True, verbose=False)
    if converted is None:
        raise InputError("torch.onnx gave nothing back")
    for node in converted.model.graph:
        node.metadata_props.clear()  # traces through the source files of this machine
    converted.model.metadata_props.update(about)

    def reader(path: Path) -> Outputs:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]

        def outputs(given: Any) -> list[Tensor]:
            arrays = [tensor.numpy() for tensor in tensors(given, floating=False)]
            return tensors([torch.from_numpy(a) for a in session.run(None, dict(zip(names, arrays, strict=True)))])

        return outputs

    return converted.model_proto.SerializeToString(), reader, batch, f"onnxruntime {version('onnxruntime')}"


def _safetensors(model: nn.Module, inputs: Any, about: dict):
    from safetensors.torch import save

    if not {"arch", "widths"} <= set(about):
        raise InputError(
            f"safetensors rebuild only networks of this library, and {type(model).__name__} is not called one by its "
            "arch and widths; expected onnx or pt2"
        )
    data = save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, metadata=about)

    def reader(path: Path) -> Outputs:
        loaded = load_network(path)
        return lambda given: tensors(call(loaded, given))

    return data, reader, "any", f"prune_lib, torch {torch.__version__}"
