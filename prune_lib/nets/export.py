"""Take a compact network away: safetensors that rebuild themselves, ONNX, or torch.export's ``.pt2``.

Every file is read back by what will read it, onnxruntime or torch, and its outputs are compared to the network's before
it gets its name; where they differ by more than rounding there is no file.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..system.errors import InputError, needs
from ..system.files import write_bytes
from .compare import difference
from .hooks import call, mapped, tensors
from .networks import arch_of, load_network
from .reparam import copied

FORMATS = ("safetensors", "onnx", "pt2")
TOLERANCE = 1e-5  # largest difference of the outputs, relative to the largest of them, or 4 roundings if that is more
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
            first dimension is taken for the batch, and may have any length in the exported network if it allows that;
            an input without a batch keeps its shape.
        to: ``onnx`` or ``pt2`` for any network; ``safetensors`` for one of this library's, whose ``arch`` and
            ``widths`` (JSON) ``about`` must name. ``None``: as the name of ``out`` ends.
        about: what the file says of itself: ONNX metadata, ``about.json`` in a ``.pt2``.

    Returns:
        ``to``, ``file``, ``bytes``, ``sha256``, ``checked_with``, ``difference`` (relative), ``batch`` (``any`` or N).

    Raises:
        InputError: an unknown format or another file name, a network that cannot be exported, or one whose outputs,
            read back, differ by more than 1e-5, or four roundings of half precision. What was at ``out`` is as it was.
    """
    out = Path(out)
    to = _format(out, to)
    return _export(_Prepared(model, example_inputs), out, to, about)


def _format(out: Path, to: str | None) -> str:
    to = to or out.suffix.removeprefix(".")
    if to not in FORMATS:
        raise InputError(f"unknown format {to!r}; expected one of: {' '.join(FORMATS)}")
    if out.suffix != f".{to}":
        raise InputError(f"{out}: expected a name that ends in .{to}")
    return to


class _Prepared:
    """A copy of a network as it is exported, the inputs that it is tried with, and its graph once that is asked for."""

    def __init__(self, model: nn.Module, example_inputs: Any):
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in model.parameters()):
            raise InputError(f"{type(model).__name__} has layers without weights yet; run the model once on its inputs")
        self.model = copied(model).cpu().eval().to(memory_format=torch.contiguous_format)  # training had channels last
        self.inputs = _of_two(self.model, example_inputs)

    @cached_property
    def program(self) -> tuple:
        return _program(self.model, self.inputs)


def _export(prepared: _Prepared, out: Path, to: str, about: Mapping[str, str] | None) -> dict:
    model, inputs, about = prepared.model, prepared.inputs, dict(about or {})
    numbers = [t.dtype for t in (*model.parameters(), *tensors(inputs)) if t.is_floating_point()]
    tolerance = max([TOLERANCE, *(4 * torch.finfo(dtype).eps for dtype in numbers)])
    write = {"safetensors": _safetensors, "onnx": _onnx, "pt2": _pt2}[to]
    try:
        data, reader, free, by = write(prepared, about)
    except InputError:
        raise
    except Exception as error:  # torch.export, its passes and the ONNX converter each have their own kinds
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(f"{type(model).__name__} has no {to} form ({type(error).__name__}: {reason})") from None
    given = [inputs, _longer(inputs, free)] if any(free) else [inputs]
    off, batched = 0.0, [t for t in tensors(inputs) if t.dim()]

    def check(path: Path) -> None:
        nonlocal off
        read = reader(path)
        for each in given:
            try:
                with torch.no_grad():
                    off = max(off, difference(tensors(call(model, each)), read(each)))
            except Exception as error:  # what a model or a runtime raises, of an operation or a shape that it has not
                shapes = [tuple(t.shape) for t in tensors(each)]
                reason = (str(error).strip().splitlines() or [""])[0][:200]
                raise InputError(
                    f"{out}: read back by {by}, it does not run on {shapes} ({type(error).__name__}: {reason})"
                ) from None
        if not off <= tolerance:
            raise InputError(
                f"{out}: read back by {by}, its outputs differ by {off:.2g}; expected {tolerance:g} at most"
            )

    write_bytes(out, data, check)
    return {
        "to": to, "file": str(out), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "checked_with": by,
        "difference": off, "batch": "any" if any(free) else len(batched[0]) if batched else 1,
        **({"about": about} if about else {}),
    }  # fmt: skip


def exports(model: nn.Module, example_inputs: Any, about: Mapping[str, str] | None = None) -> dict[str, dict | None]:
    """``model`` in every format, in a folder that is gone afterwards: format -> the facts of ``export``.

    ``None`` stands for safetensors of a network which is not one of this library's, as ``about`` does not name it.

    Raises:
        InputError: as ``export``.
    """
    ours, prepared = {"arch", "widths"} <= set(about or {}), _Prepared(model, example_inputs)
    with tempfile.TemporaryDirectory() as folder:
        return {
            to: _export(prepared, Path(folder) / f"network.{to}", to, about) if ours or to != "safetensors" else None
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


def _of_two(model: nn.Module, value: Any) -> Any:
    """``value`` on the CPU, a batch of one made two where the network takes that: exporting one would fix it."""
    value = mapped(value, lambda t: t.detach().cpu())
    sizes = [len(t) for t in tensors(value) if t.dim()]
    if not sizes or sizes[0] != 1:
        return value
    twice = mapped(value, lambda t: torch.cat([t, t]) if t.dim() and len(t) == 1 else t)
    try:
        with torch.no_grad():
            call(model, twice)
    except Exception:  # whatever a model may raise
        return value
    return twice


def _longer(value: Any, free: list[bool]) -> Any:
    """Another batch, one longer and otherwise filled, to see that the length is really free."""
    frees = iter(free)
    return mapped(value, lambda t: torch.cat([t.flip(0), t[:1]]) if next(frees) else t)


def _program(model: nn.Module, inputs: Any):
    """The network as a graph of torch operations, and which tensors of ``inputs`` have the batch's length, if free."""
    arguments = () if isinstance(inputs, Mapping) else tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    free = {0: torch.export.Dim.AUTO}
    shapes: Any = mapped(named or arguments, lambda t: free if t.dim() else None)  # type: ignore[arg-type, return-value]
    program = torch.export.export(model, arguments, named, dynamic_shapes=shapes)
    nodes = {node.name: node.meta.get("val") for node in program.graph_module.graph.nodes}
    given = [nodes.get(name) for name in program.graph_signature.user_inputs if isinstance(name, str)]
    lengths = [str(t.shape[0]) if t.dim() and not isinstance(t.shape[0], int) else "" for t in tensors(given)]
    ranges = {str(symbol) for symbol in program.range_constraints}  # one without a range has come out fixed
    batch = next((length for length in lengths if length in ranges), "")  # a symbol, the same wherever a batch is
    return program, [length == batch != "" for length in lengths]


def _pt2(prepared: _Prepared, about: dict):
    program, free = prepared.program
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})

    def reader(path: Path) -> Outputs:
        loaded = torch.export.load(io.BytesIO(path.read_bytes())).module()
        return lambda given: tensors(call(loaded, given))

    return file.getvalue(), reader, free, f"torch {torch.__version__}"


def _onnx(prepared: _Prepared, about: dict):
    with needs("export"):
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's converter needs it
    program, free = prepared.program
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
            arrays = [tensor.numpy() for tensor in tensors(given)]
            return tensors([torch.from_numpy(a) for a in session.run(None, dict(zip(names, arrays, strict=True)))])

        return outputs

    return converted.model_proto.SerializeToString(), reader, free, f"onnxruntime {version('onnxruntime')}"


def _safetensors(prepared: _Prepared, about: dict):
    from safetensors.torch import save

    model, inputs = prepared.model, prepared.inputs

    if not {"arch", "widths"} <= set(about):
        raise InputError(
            f"safetensors rebuild only networks of this library, and {type(model).__name__} is not called one by its "
            "arch and widths; expected onnx or pt2"
        )
    data = save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, metadata=about)

    def reader(path: Path) -> Outputs:
        loaded = load_network(path)
        return lambda given: tensors(call(loaded, given))

    return data, reader, [True] * len(tensors(inputs)), f"prune_lib, torch {torch.__version__}"
