"""What several networks look at in the same images: their Grad-CAM maps, what they say, and how alike both are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import gradcam

BATCH = 50  # images that Grad-CAM is computed for at once


@dataclass(frozen=True)
class Looks:
    """Grad-CAM of several networks for the same images; the others are compared with the first."""

    pixels: Tensor  # (N, 3, H, W) uint8, as they are shown
    truth: list[str]  # the class of each image, for which its maps are
    said: dict[str, list[str]]  # network -> the class that it gives each image
    maps: dict[str, Tensor]  # network -> (N, H, W) in [0, 1]
    alike: dict[str, list[tuple[float, float]]]  # network but the first -> (correlation, overlap) with the first's map

    @property
    def first(self) -> str:
        return next(iter(self.maps))

    def by_likeness(self, name: str) -> list[int]:
        """The places of the images: first those in which ``name`` looks most like the first network."""
        return sorted(range(len(self.truth)), key=lambda i: -self.alike[name][i][0])

    def figure(self, places: Sequence[int], *, rows: bool = False, hidden: bool = False):
        """The images at these places, each with every network's map, what it says, and how alike it is.

        Args:
            rows: one line for each image, rather than one column.
            hidden: the images themselves are not to be seen, as those that nobody may pass on.
        """
        places = list(places)
        notes = {self.first: [self.said[self.first][i] for i in places]}
        for name, pairs in self.alike.items():
            notes[name] = [f"{self.said[name][i]}\nr {pairs[i][0]:.2f}, IoU {pairs[i][1]:.2f}" for i in places]
        pixels, truth = self.pixels[places], [self.truth[i] for i in places]
        maps = {name: every[places] for name, every in self.maps.items()}
        if rows:
            return gradcam.beside(pixels, truth, maps, notes)
        return gradcam.cams(pixels, truth, maps, notes, hidden=hidden)

    def found(self) -> dict[str, Any]:
        """Each network's figures over all of the images: mean and standard deviation of the likeness, shares."""
        lines = {}
        for name in self.maps:
            right = sum(a == b for a, b in zip(self.said[name], self.truth, strict=True)) / len(self.truth)
            lines[name] = {"right": right}
            if name in self.alike:
                r, overlap = (torch.tensor(values) for values in zip(*self.alike[name], strict=True))
                same = sum(a == b for a, b in zip(self.said[name], self.said[self.first], strict=True))
                lines[name] |= {
                    "same_class": same / len(self.truth),
                    "r": float(r.mean()), "r_sd": float(r.std()),
                    "overlap": float(overlap.mean()), "overlap_sd": float(overlap.std()),
                }  # fmt: skip
        return {"images": len(self.truth), "networks": lines}


def look(
    networks: Mapping[str, nn.Module], layer: str, images: Tensor | Mapping[str, Tensor], labels: Tensor,
    pixels: Tensor, classes: Sequence[str],
) -> Looks:  # fmt: skip
    """Grad-CAM of every network for each image's true class; the first network is what the others are held against.

    Args:
        layer: the module whose maps are weighed, which all of the networks have.
        images: ``(N, 3, H, W)``, as all of the networks take them, or as each does; labels: ``(N,)``.
        pixels: the same images, uint8, to be shown.
        classes: the words for the labels.
    """
    maps: dict[str, Tensor] = {}
    said: dict[str, list[str]] = {}
    for name, model in networks.items():
        model.eval().requires_grad_(True)  # the gradients of feature maps
        parts = (images if isinstance(images, Tensor) else images[name]).split(BATCH)
        pairs = zip(parts, labels.split(BATCH), strict=True)
        maps[name] = torch.cat([gradcam.grad_cam(model, layer, some, targets.tolist()) for some, targets in pairs])
        with torch.no_grad():
            answers = torch.cat([model(some).argmax(1) for some in parts])
        said[name] = [classes[c] for c in answers.tolist()]
    first, *others = maps
    alike = {name: gradcam.agreement(maps[first], maps[name]) for name in others}
    return Looks(pixels, [classes[c] for c in labels.tolist()], said, maps, alike)


def table(found: Mapping[str, Any]) -> list[list[str]]:
    """``Looks.found`` as cells: a line for each network, the one that the others are held against last."""
    cells = [["Network", "Correlation with full", "Overlap of the top fifth", "Same class as full", "Right"]]
    for name, line in reversed(found["networks"].items()):
        if "r" in line:
            cells.insert(1, [
                name, f"{line['r']:.2f} ± {line['r_sd']:.2f}", f"{line['overlap']:.2f} ± {line['overlap_sd']:.2f}",
                f"{line['same_class']:.0%}", f"{line['right']:.0%}",
            ])  # fmt: skip
        else:
            cells.append([name, "1", "1", "100%", f"{line['right']:.0%}"])
    return cells
