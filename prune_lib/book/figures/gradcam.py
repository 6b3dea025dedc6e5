"""Grad-CAM: where a network looks for a class, how alike two networks look, and both drawn over the images."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...system.errors import needs
from .style import closed, styled

ACROSS, WIDTH = 6, 8.4  # images in a row at most, and inches for them: the width of a page


def grad_cam(model: nn.Module, layer: str, images: Tensor, classes: Sequence[int]) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) by pytorch-grad-cam: ``(N, 3, H, W) -> (N, H, W)`` in [0, 1].

    ``layer`` names the module with the feature maps (an arch's ``cam_layer``); image i is explained for ``classes[i]``.
    """
    with needs("book"):
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=model.eval(), target_layers=[model.get_submodule(layer)]) as cam:
        maps = cam(input_tensor=images, targets=[ClassifierOutputTarget(int(c)) for c in classes])
    return torch.from_numpy(maps)


def agreement(first: Tensor, second: Tensor) -> list[tuple[float, float]]:
    """How alike two batches of maps ``(N, H, W)`` are: for each pair, (correlation, overlap of the top fifths).

    The overlap is the intersection over union of the pixels above the 80th percentile. The correlation with a constant
    map is 0.
    """
    result = []
    for a, b in zip(first.flatten(1).double(), second.flatten(1).double(), strict=True):
        spread = a.std() * b.std()
        correlation = float(((a - a.mean()) * (b - b.mean())).sum() / ((len(a) - 1) * spread)) if spread > 0 else 0.0
        top_a, top_b = a > a.quantile(0.8), b > b.quantile(0.8)
        union = (top_a | top_b).sum()
        result.append((correlation, float((top_a & top_b).sum() / union) if union else 0.0))
    return result


def cams(
    images: Tensor, labels: Sequence[str], maps: Mapping[str, Tensor], notes: Mapping[str, Sequence[str]], *,
    hidden: bool = False,
):  # fmt: skip
    """Images ``(N, 3, H, W)`` uint8 in a row, and below them a row of maps for each network; six at most in one row.

    Args:
        hidden: nothing of the images is to be seen: their row is left out, and the maps are on grey.
    """
    names = [*maps] if hidden else ["image", *maps]
    if hidden:
        first = next(iter(maps))
        images = torch.full_like(images, 200)
        notes = {**notes, first: [f"{label}\n{note}" for label, note in zip(labels, notes[first], strict=True)]}
    blocks = -(-len(images) // ACROSS)
    across, lines = -(-len(images) // blocks), len(names)
    side = min(1.9, WIDTH / across)
    with styled() as plt:
        figure, grid = plt.subplots(
            lines * blocks, across, figsize=(side * across, (side + 0.2) * lines * blocks), squeeze=False
        )
        for block in range(blocks):
            some, rows = slice(block * across, (block + 1) * across), grid[block * lines : (block + 1) * lines]
            found = {name: heat[some] for name, heat in maps.items()}
            said = {name: words[some] for name, words in notes.items()}
            _fill([None, *rows] if hidden else rows, images[some], labels[some], found, said)
            for axes, name in zip(rows[:, 0], names, strict=True):
                axes.set_ylabel(name, fontsize=9)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[], frame_on=False)
            axes.grid(False)
    return closed(plt, figure)


def beside(images: Tensor, labels: Sequence[str], maps: Mapping[str, Tensor], notes: Mapping[str, Sequence[str]]):
    """A line for each image ``(3, H, W)`` uint8: the image, and right of it a map for each network."""
    with styled() as plt:
        figure, grid = plt.subplots(
            len(images), len(maps) + 1, figsize=(2.1 * (len(maps) + 1), 2.35 * len(images)), squeeze=False
        )
        _fill(grid.T, images, labels, maps, notes)
        for axes, name in zip(grid[0], ["image", *maps], strict=True):
            axes.set_title(f"{name}\n{axes.get_title(loc='center')}", fontsize=9, loc="center", fontweight="normal")
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[], frame_on=False)
            axes.grid(False)
    return closed(plt, figure)


def _fill(grid, images: Tensor, labels: Sequence[str], maps: Mapping[str, Tensor], notes) -> None:
    """Panels ``grid[1 + networks][N]``: images, and maps over them in grey; where a map is 0 the image is as it is."""
    pixels = images.permute(0, 2, 3, 1).numpy()
    for column, image in enumerate(pixels):
        if grid[0] is not None:
            grid[0][column].imshow(image, interpolation="nearest")
            grid[0][column].set_title(labels[column], fontsize=8, loc="center", fontweight="normal")
        for line, (name, heat) in enumerate(maps.items(), 1):
            found = heat[column].clamp(0, 1).numpy()
            grid[line][column].imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            grid[line][column].imshow(found, cmap="inferno", alpha=0.25 + 0.5 * found, vmin=0, vmax=1)
            grid[line][column].set_title(notes[name][column], fontsize=8, loc="center", fontweight="normal")
