"""Evaluate weights that somebody else trained, as the compact network of a row."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..cost.counting import cost
from ..nets import build
from ..nets.pretrained import is_named, open_weights
from ..nets.weights import fit, read_compact, read_weights
from ..papers.rows import Row, get_row
from ..system import distributed
from ..system.device import allow_tf32, pick_device, pick_precision
from ..system.errors import InputError, short
from ..tasks import registry
from .training import evaluate


def evaluate_weights(
    row: Row | str,
    weights: str | Path,
    *,
    device: str = "auto",
    data: str | None = None,
    data_dir: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    precision: str = "fp32",
) -> dict:
    """Test accuracy, params and FLOPs of the network of ``row`` with the weights of a file.

    Where the row does not say how wide its compact network is, the file's shapes do.

    Args:
        data: another image set than the one the row's recipe names.
        precision: of ``system.device.PRECISIONS``.
        weights: a file, or for a dense row weights by name (``nets.pretrained``).
        mean, std: of each channel in [0, 1], where the weights were trained with others than the set's own, or than
            those that come with weights by name.

    Returns:
        ``top1`` (and ``top5``) in percent, the ``images`` behind it, and how the weights ``fitted``.

    Raises:
        InputError: an unknown row, or weights that do not fit its network.
    """
    row = get_row(row) if isinstance(row, str) else row
    if data is None and not row.recipes:
        raise InputError(f"{row.id} has no recipe that names its data; name the image set with --data")

    if not all(0 <= value <= 1 for value in mean or ()):
        raise InputError(f"mean is {short(list(mean or ()))}; expected each channel's in [0, 1]")
    if not all(0 < value <= 1 for value in std or ()):
        raise InputError(f"std is {short(list(std or ()))}; expected each channel's in (0, 1]")
    where = pick_device(device)
    precision = pick_precision(where, precision)
    allow_tf32(precision == "tf32")
    distributed.init_process_group(where)
    name = data or row.data
    constants = None
    if is_named(weights):
        if row.pruned:
            raise InputError(f"{weights} is a full {row.arch}, and {row.id} is pruned; expected a dense row, or a file")
        found = open_weights(weights, row.arch)
        widths, model, constants = None, build(row.arch), found.constants
        fitted = f"{fit(model, found.tensors, weights)}, from {found.origin}"
        images = registry.load(name, data_dir, heldout=0).to(where)
    elif row.unknown or not row.pruned:
        _, widths, model = read_compact(weights, row.arch)
        fitted = "by shape"
        images = registry.load(name, data_dir, heldout=0).to(where)
    else:
        widths, tensors = row.widths, read_weights(weights)  # of a compact network, which nobody else publishes
        images = registry.load(name, data_dir, heldout=0).to(where)
        model = build(row.arch, widths, len(images.classes))
        fitted = fit(model, tensors, weights)
    own = constants or (images.mean, images.std)
    images = replace(images, mean=tuple(mean or own[0]), std=tuple(std or own[1]))  # type: ignore[arg-type]
    counted = cost(row.arch, widths if row.pruned else None, row.rule, row.layout, model=model)
    figures = evaluate(model.to(where), images, images.test, precision)
    return {
        "row": row.id, "weights": str(weights), "fitted": fitted, "data": images.name, "images": len(images.test),
        "precision": precision,
        **figures, "params": counted.params, "flops": counted.flops, "rule": row.rule,
    }  # fmt: skip
