"""Pictures of filters and feature maps as PNG, drawn quickly enough to follow a slider."""

import io
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...nets.hooks import watching
from ...system.errors import InputError, needs
from ..figures.style import COMPACT, closed, styled
from .subject import Subject, score


def ranked(of: Subject, conv: str, criterion: str) -> tuple[Tensor, Tensor]:
    """A conv's filters, best first: scores ``(C,)``, positions ``(C,)``.

    Raises:
        InputError: the network has no such conv.
    """
    if conv not in of.arch.filters:
        raise InputError(f"{of.arch.name} has no conv called {conv!r}; expected one of: {' '.join(of.arch.filters)}")
    order = score(of, criterion)[conv].argsort(descending=True)
    return score(of, criterion)[conv][order], order


def answers(of: Subject, conv: str, criterion: str, image: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """What ``ranked`` gives, and in the same order the feature maps ``(C, H, W)`` of one image.

    Raises:
        InputError: the network has no such conv, or there are no images here.
    """
    scores, order = ranked(of, conv, criterion)
    found: dict[str, Tensor] = {}
    with watching(of.model, [conv], lambda name, output: found.update({name: output.relu()[0]})), torch.no_grad():
        of.model(of.batch(len(of.data.classes))[0][image : image + 1])
    return scores, order, found[conv][order]


def bars(scores: Tensor, title: str):
    """A bar for each of the scores ``(C,)``, in the order given."""
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(8.4, 1.8))
        axes.bar(range(len(scores)), scores.tolist(), color=COMPACT, width=0.9)
        axes.set(title=title, xlabel="filter", ylabel="score")
        axes.grid(axis="x", visible=False)
    return closed(plt, figure)


def kernels(of: Subject, conv: str, order: Tensor) -> Tensor:
    """The weights of the filters in ``order`` as pictures ``(C, k, k, 3)`` uint8; middle grey is 0.

    Filters with three inputs are shown in colour, others by the mean over their inputs, in grey.
    """
    weight: Tensor = of.model.get_submodule(conv).weight.detach()[order]  # type: ignore[operator, assignment, index]
    weight = weight if weight.shape[1] == 3 else weight.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return _bytes(0.5 + 0.5 * weight / weight.abs().max().clamp_min(1e-12)).permute(0, 2, 3, 1)


def heat(found: Tensor, images: Tensor | None = None) -> Tensor:
    """Maps ``(N, H, W)`` in [0, 1] as colours ``(N, H, W, 3)`` uint8, over grey ``images (N, 3, H, W)`` if given."""
    with needs("lab"):
        from matplotlib import colormaps

    colour = torch.from_numpy(colormaps["inferno"](found.clamp(0, 1).numpy())[..., :3]).float()
    if images is not None:
        colour = 0.6 * colour + 0.4 * (images.float().mean(1) / 255)[..., None]
    return _bytes(colour)


def mosaic(lines: Sequence[Tensor], side: int = 72, gap: int = 3) -> bytes:
    """A PNG with a line of pictures for each tensor ``(N, H, W, 3)`` uint8; every picture is ``side`` pixels wide."""
    from PIL import Image

    across = max(len(line) for line in lines)
    canvas = torch.full((len(lines) * (side + gap), across * (side + gap), 3), 255, dtype=torch.uint8)
    for y, line in enumerate(lines):
        large = nn.functional.interpolate(line.permute(0, 3, 1, 2), size=(side, side), mode="nearest")
        for x, tile in enumerate(large.permute(0, 2, 3, 1)):
            canvas[y * (side + gap) : y * (side + gap) + side, x * (side + gap) : x * (side + gap) + side] = tile
    file = io.BytesIO()
    Image.fromarray(canvas.numpy()).save(file, format="png")
    return file.getvalue()


def best_and_worst(of: Subject, conv: str, criterion: str, image: int = 0, each: int = 12) -> bytes:
    """A PNG of the best filters of a conv, with their feature maps below, then the worst in the same way.

    Without images there are no feature maps.
    """
    _, order = ranked(of, conv, criterion)
    lines = [kernels(of, conv, order)]
    if of.images is not None:
        _, _, found = answers(of, conv, criterion, image)
        lines.append(heat(found / found.amax().clamp_min(1e-12)))
    parts = [slice(0, each), slice(max(each, len(order) - each), None)] if len(order) > each else [slice(None)]
    return mosaic([line[part] for part in parts for line in lines])


def _bytes(values: Tensor) -> Tensor:
    return (255 * values).round().clamp(0, 255).to(torch.uint8)
