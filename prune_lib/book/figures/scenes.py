"""What networks find in images: boxes, masks, refined edges, keypoints; one row of panels for each network.

Every function returns a matplotlib Figure of the data that it is given, and looks nothing up.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .style import ACCENT, closed, styled

COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#7048e8", "#c2255c", "#0b7285")


def detections(data, pictures: Sequence, named: Mapping[str, list[dict]], least: float = 0.5):
    """Annotated boxes in the first row, below them what each network finds with a score of ``least`` or more.

    Args:
        data: the detection set; pictures: some of its test images; named: title -> results of ``data.predict``.
    """
    from ...tasks.coco import decode

    with styled() as plt:
        figure, grid = _grid(plt, ["annotated", *named], len(pictures))
        for column, picture in enumerate(pictures):
            image = data.read(picture.path, picture.height, picture.width)
            for line, name in enumerate(["annotated", *named]):
                found = [(o.label, o.box, None, o.mask) for o in picture.objects] if not line else [
                    (r["category_id"], r["bbox"], r["score"], r.get("segmentation", {}).get("counts"))
                    for r in named[name] if r["image_id"] == picture.id and r["score"] >= least
                ]  # fmt: skip
                axes = grid[line][column]
                axes.imshow(image)
                for label, (x, y, width, height), sure, mask in found:
                    colour = COLOURS[label % len(COLOURS)]
                    if mask:
                        inside = decode(mask, picture.height, picture.width)[..., None]
                        axes.imshow(inside * np.array(plt.matplotlib.colors.to_rgba(colour, 0.5)))
                    axes.add_patch(plt.Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.5))
                    text = data.classes[label] + ("" if sure is None else f" {sure:.2f}")
                    axes.text(x, y, text, fontsize=6, color="white", va="bottom", clip_on=True,
                              bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8})  # fmt: skip
    return closed(plt, figure)


def streets(images: Sequence[np.ndarray], named: Mapping[str, Sequence[np.ndarray]]):
    """Images ``(H, W, 3)`` in the first row, below them maps ``(H, W)`` of the class of each pixel; 255 is black."""
    with styled() as plt:
        figure, grid = _grid(plt, ["image", *named], len(images), wide=2.0)
        for column, image in enumerate(images):
            grid[0][column].imshow(image)
            for line, labels in enumerate(named.values(), 1):
                grid[line][column].imshow(_painted(plt, labels[column]), interpolation="nearest")
    return closed(plt, figure)


def edges(image: np.ndarray, named: Mapping[str, np.ndarray], window: tuple[int, int, int, int]):
    """The same ``window`` (top, left, height, width) of an image and of each map of classes, side by side."""
    top, left, height, width = window
    part = np.s_[top : top + height, left : left + width]
    with styled() as plt:
        figure, panels = plt.subplots(1, len(named) + 1, figsize=(8.4, 8.4 / (len(named) + 1) * height / width + 0.3))
        panels[0].imshow(image[part], interpolation="nearest")
        panels[0].set_title("image", fontsize=9)
        for panel, (name, labels) in zip(panels[1:], named.items(), strict=True):
            panel.imshow(_painted(plt, labels[part]), interpolation="nearest")
            panel.set_title(name, fontsize=9)
        for panel in panels:
            panel.set(xticks=[], yticks=[])
            panel.grid(False)
    return closed(plt, figure)


def keypoints(data, people: Sequence, named: Mapping[str, list[dict]], least: float = 0.2):
    """Annotated people in the first row, below them each network's keypoints with a score of ``least`` or more.

    Args:
        data: the pose set; people: some of its test persons; named: title -> results of ``data.predict`` for these.
    """
    from ...tasks.shapes import SKELETON

    with styled() as plt:
        figure, grid = _grid(plt, ["annotated", *named], len(people))
        for column, person in enumerate(people):
            picture = person.picture
            image = data.read(picture.path, picture.height, picture.width)
            for line, name in enumerate(["annotated", *named]):
                values = person.body.keypoints if not line else named[name][column]["keypoints"]
                points, axes = np.array(values).reshape(-1, 3), grid[line][column]
                axes.imshow(image)
                for limb in SKELETON:
                    ends = points[[limb[0] - 1, limb[1] - 1]]
                    if (ends[:, 2] >= least).all():
                        axes.plot(ends[:, 0] - 0.5, ends[:, 1] - 0.5, color="white", linewidth=1.2)
                sure = points[points[:, 2] >= least]
                axes.scatter(sure[:, 0] - 0.5, sure[:, 1] - 0.5, s=6, color=ACCENT, zorder=3)
    return closed(plt, figure)


def _grid(plt, names: Sequence[str], columns: int, wide: float = 1.0):
    """Panels without ticks, one row for each name."""
    side = 8.4 / columns
    figure, grid = plt.subplots(len(names), columns, figsize=(8.4, len(names) * (side / wide + 0.05)), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=9)
    return figure, grid


def _painted(plt, labels) -> np.ndarray:
    """A colour for each class, black for 255: ``(H, W)`` -> ``(H, W, 3)``."""
    labels = labels.numpy() if isinstance(labels, Tensor) else labels
    colours = np.array([*plt.get_cmap("tab20").colors, (0, 0, 0)])
    return colours[np.where(labels == 255, 20, labels)]
