"""Two rows that prune the same network, one of them at random, trained and looked at by Grad-CAM."""

import torch

from ...nets import arch_of, build
from ...nets.weights import fit, read_weights
from ...papers import get_row, open_data
from ...runs.runner import network, run
from ...runs.settings import changed_rows
from ...system.words import Given
from ..figures.looks import Looks, look

CLASSES = 10  # of a set with more, the first so many are looked at


def pair(
    pruned: str, control: str, budget: str, seed: int = 0, *, per_class: int = 10, device: str = "auto",
    data_dir: str = "", given: Given = "", weights: str = "",
) -> Looks:  # fmt: skip
    """Train the rows ``pruned`` and ``control``, and look at them and at their full network.

    Args:
        per_class: the first so many test images of each class are looked at.
        given: settings of the user's own, as after ``prune run --set``.
        weights: a trained full network to prune; empty: the one that the row's ``start`` leaves, trained first.

    Raises:
        InputError: a row, a budget, weights or data that cannot be used.
    """
    rows = dict(
        zip(("pruned", "random"), changed_rows([get_row(pruned), get_row(control)], budget, given), strict=True)
    )
    for row in rows.values():
        run(row, budget, seed, device=device, data_dir=data_dir or None, weights=weights or None)
    first = rows["pruned"]
    data, arch = open_data(first.recipes[budget], data_dir or None), arch_of(first.arch)
    if weights:
        full = build(arch.name, None, len(data.classes))
        fit(full, read_weights(weights), weights)
    else:
        full = network(get_row(first.start), budget, seed, "selected")
    networks = {"full": full, **{name: network(row, budget, seed) for name, row in rows.items()}}
    some = range(min(CLASSES, len(data.classes)))
    index = torch.cat([(data.test.labels == c).nonzero().flatten()[:per_class] for c in some])
    images, labels = next(iter(data.whole(data.test.take(index), len(index))))
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in (data.mean, data.std))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return look(networks, arch.cam_layer, images, labels, pixels, data.classes)
