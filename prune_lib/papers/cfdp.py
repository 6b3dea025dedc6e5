"""CFDP: Common Frequency Domain Pruning. Khaki, Luo: CVPR workshops 2023, pages 4714-4723.

A filter matters when its feature maps have strong low frequencies in many places. The published code cuts a map into
2x2 blocks, takes each block's cosine transform, blurs it, and looks at the matrix of the results.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from ..nets import Arch
from ..nets.hooks import run, watching
from ..nets.slim import transplant
from ..system import checkpoint
from ..system.errors import InputError
from . import baselines
from .baselines import Scores
from .criteria import CRITERIA, Group, Seen, by_conv
from .method import Method, Start

SIGMA, TRUNCATE = 10.0, 4.0  # of the Gaussian; on a block of two pixels it is nearly a mean
ALPHA = 0.03
CHUNK = 16  # maps of so many images are scored at once
VARIANTS = ("authors", "corrected")
OWN = ("cfdp", "scratch")  # criteria beside those of ``CRITERIA``


def importance(maps: Tensor, alpha: float = ALPHA) -> Tensor:
    """Mean over images of each filter's score, ``maps (N, C, H, W) -> (C,)``; maps are square.

    The score of a map x of H x H pixels, with M the blurred 2x2 cosine transforms of its blocks, each in its place:

        ||M||_F  x  (the share of all H x H entries of M above their mean)  +  alpha ||x||_F.

    An odd last row and column belong to no block and stay 0 in M; the M of a single pixel is that pixel.

    Both steps are linear on a block of four pixels. They are taken one after the other in float32, as the definition
    has them, since on small maps the share is decided by the last digits.

    Raises:
        InputError: maps that are not square, or none.
    """
    if maps.dim() != 4 or maps.shape[2] != maps.shape[3] or not maps.numel():
        raise InputError(f"maps are {tuple(maps.shape)}; expected (images, filters, side, side)")
    return score(maps.float(), alpha).mean(0)


def score(maps: Tensor, alpha: float = ALPHA) -> Tensor:
    """The score of each map, ``(N, C, H, H) -> (N, C)`` in float32; see ``importance``."""
    side = maps.shape[-1]
    result = alpha * maps.flatten(2).norm(dim=2)
    if side == 1:  # its M is itself, and no value is above its own mean
        return result
    blocks = transform(maps).flatten(2)
    # an odd side leaves 2 side - 1 zeros in M; mean and share include them
    mean = blocks.sum(2) / side**2
    above = (blocks > mean[..., None]).sum(2) + (side**2 - blocks.shape[2]) * (mean < 0)
    return result + blocks.norm(dim=2) * above / side**2


def transform(maps: Tensor) -> Tensor:
    """The blurred cosine transforms of all whole 2x2 blocks, ``(N, C, H, H) -> (N, C, 4, H//2, H//2)``."""
    half = 2 * (maps.shape[-1] // 2)
    a, b = maps[..., 0:half:2, 0:half:2], maps[..., 0:half:2, 1:half:2]
    c, d = maps[..., 1:half:2, 0:half:2], maps[..., 1:half:2, 1:half:2]
    top, bottom, left, right = a + b, c + d, a - b, c - d  # the orthonormal DCT-II of two values, along a row
    rows = ((top + bottom) / 2, (left + right) / 2, (top - bottom) / 2, (left - right) / 2)
    stay, move = _blur()
    upper = (stay * rows[0] + move * rows[2], stay * rows[1] + move * rows[3])  # the Gaussian, down the columns
    lower = (move * rows[0] + stay * rows[2], move * rows[1] + stay * rows[3])
    return torch.stack([
        stay * upper[0] + move * upper[1], move * upper[0] + stay * upper[1],
        stay * lower[0] + move * lower[1], move * lower[0] + stay * lower[1],
    ], dim=2)  # fmt: skip


@cache
def _blur() -> tuple[float, float]:
    """How much of a value a Gaussian with reflecting borders keeps in a row of two, and how much its neighbour gets."""
    radius = int(TRUNCATE * SIGMA + 0.5)
    weights = [math.exp(-0.5 * (i / SIGMA) ** 2) for i in range(-radius, radius + 1)]
    # the row … b b a a | a b | b a a b b … seen from the first of the two: which offsets fall on itself
    own = sum(w for i, w in zip(range(-radius, radius + 1), weights, strict=True) if i % 4 in (0, 3))
    return own / sum(weights), 1 - own / sum(weights)


def by_frequencies(group: Group, seen: Seen) -> Tensor:
    """CFDP as a criterion of ``CRITERIA``: by a conv's own maps, behind its BatchNorm, rectified."""
    means = seen.once(_mean_scores)
    return group.sum(lambda layer: means[layer.name])


def _mean_scores(seen: Seen) -> Scores:
    owners = {layer.maps or layer.name: layer.name for layer in seen.layers}
    sums: Scores = {}

    def look(place: str, maps: Tensor) -> None:
        parts = maps.relu().float().split(CHUNK)
        total = torch.stack([importance(part).double() * len(part) for part in parts]).sum(0)
        sums[owners[place]] = sums[owners[place]] + total if owners[place] in sums else total

    with watching(seen.model, owners, look):
        images = run(seen.model, seen.batches(), seen.precision)
    return {conv: total / images for conv, total in sums.items()}


class CFDP(Method):
    """Choose the filters of given widths by their scores in a trained network, copy them, train on.

    Args:
        variant: ``authors``, what the published code does: every conv chooses for itself, so that channels which are
            added are not the same ones; ResNet-56 scores *every* conv by the stem's 16 maps; some layers start
            afresh (see ``copied``). ``corrected``: convs of one unit choose together, by the sum of their scores, each
            by its own maps, and everything is copied.
        criterion: ``cfdp``, or a baseline at the same widths: ``l1``, ``random``, or ``scratch``, which copies nothing.
        images: how many augmented training images are looked at; the published code takes 5 batches of 128.
        alpha: the weight of a map's own norm beside that of its frequencies.
    """

    prunes_trained = True

    def __init__(
        self, arch: Arch, variant: str = "authors", criterion: str = "cfdp", images: int = 640, alpha: float = ALPHA
    ):
        if variant not in VARIANTS:
            raise InputError(f"unknown CFDP variant {variant!r}; expected one of: {' '.join(VARIANTS)}")
        if criterion not in {*OWN, *CRITERIA}:
            known = " ".join(dict.fromkeys([*OWN, *CRITERIA]))
            raise InputError(f"CFDP: unknown criterion {criterion!r}; expected one of: {known}")
        if images < 1:
            raise InputError(f"CFDP: images is {images}; expected at least 1")
        if not 0 <= alpha < math.inf:
            raise InputError(f"CFDP: alpha is {alpha}; expected a number from 0")
        self.arch, self.variant, self.criterion, self.images, self.alpha = arch, variant, criterion, images, alpha

    @classmethod
    def for_arch(cls, arch: Arch, **options) -> "CFDP":
        return cls(arch, **options)

    def begin(self, start: Start) -> dict:
        """Score the dense network's filters, or read the scores of an interrupted run."""
        self.dense, self.chosen = start.dense, {}
        if self.criterion == "cfdp":
            self.chosen = self.scores(start)
        elif self.criterion not in OWN:
            self.chosen = by_conv(self.criterion, self.arch, start.dense, seed=start.seed)
        return {"images": self.images}

    def scores(self, start: Start) -> Scores:
        """Every filter's score, kept in the run's folder once they are there."""
        images = min(self.images, len(start.data.train))
        facts = {
            "dense": checkpoint.digest(start.dense.state_dict()), "images": images, "alpha": self.alpha,
            "variant": self.variant, "seed": start.seed,
        }  # fmt: skip

        def work() -> Scores:
            places = score_places(self.arch, self.variant)
            sums: Scores = {}

            def see(module: str, maps: Tensor) -> None:
                parts = maps.float().split(CHUNK)  # a pass of large maps need not be held several times over
                found = torch.stack([score(part, self.alpha).sum(0).double() for part in parts]).sum(0)
                sums[module] = sums[module] + found if module in sums else found

            def some():
                seen = 0
                for batch, labels in start.training_batches(128):
                    yield batch[: images - seen], labels[: images - seen]
                    seen += len(labels)
                    if seen >= images:
                        return

            with watching(start.dense, dict.fromkeys(module for module, _ in places.values()), see):
                run(start.dense, some(), start.precision)
            return {conv: (sums[module] / images)[part].cpu().contiguous() for conv, (module, part) in places.items()}

        return start.scored(work, facts)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Copy the chosen filters of the dense network into the compact one."""
        widths = {conv: model.get_submodule(conv).out_channels for conv in self.arch.filters}
        if self.criterion == "scratch":
            return model
        if self.variant == "authors":
            return _copy_as_published(self.dense, model, self.arch, self.chosen, widths)  # type: ignore[arg-type]
        aligned = baselines.by_unit(self.chosen, self.arch)
        return transplant(self.dense, model, self.arch, baselines.best(aligned, widths))  # type: ignore[arg-type]


def score_places(arch: Arch, variant: str) -> dict[str, tuple[str, slice]]:
    """``{conv: (module, which of its channels)}``: the maps by which each conv is scored, after their ReLU.

    ResNets score a block's last conv by the block's output, the shortcut's conv too.
    """
    family = arch.cls.split(":")[0]
    whole = slice(None)
    places = {}
    for conv in arch.filters:
        module = conv
        if family == "vgg":
            module = conv.replace("conv", "relu")
        elif family == "googlenet":
            module = conv.replace(".conv", ".relu")
        elif family in ("resnet", "resnet_cifar") and conv.startswith("layer"):
            block = ".".join(conv.split(".")[:2])
            last = 3 if f"{block}.conv3" in arch.filters else 2
            module = f"{block}.relu{last if 'downsample' in conv else conv[-1]}"
        elif family in ("resnet", "resnet_cifar") and conv == "conv1":
            module = "maxpool" if variant == "authors" and family == "resnet" else "relu"
        places[conv] = (module, whole)
    if variant == "authors":
        if arch.name == "resnet56":  # a misspelt variable leaves the stem's hook in place for every layer
            places = dict.fromkeys(places, ("relu", whole))
        if family == "googlenet":
            for inception in dict.fromkeys(conv.split(".")[0] for conv in places if conv != "stem.conv"):
                places[f"{inception}.b3_a.conv"] = places[f"{inception}.b3_b.conv"]  # one score for both
            for inception, pool in (("b3", "pool_a4"), ("e4", "pool_a5")):
                start = 0
                for branch in ("b1", "b2", "b3_b", "b4"):
                    conv = f"{inception}.{branch}.conv"
                    places[conv] = (pool, slice(start, start + arch.filters[conv]))
                    start += arch.filters[conv]
                places[f"{inception}.b3_a.conv"] = places[f"{inception}.b3_b.conv"]
    return places


def copied(arch: Arch, module: str) -> bool:
    """Whether the published code copies a module from the trained network at all; the rest starts afresh."""
    family = arch.cls.split(":")[0]
    is_conv, is_head = module in arch.filters, module == arch.head
    return is_conv or (is_head and family != "vgg") or (family in ("resnet", "googlenet", "densenet"))


@torch.no_grad()
def _copy_as_published(dense: nn.Module, model: nn.Module, arch: Arch, scores: Scores, widths: dict) -> nn.Module:
    """Copy what the published code copies, filter by filter; what does not fit its scores stays as it was drawn."""
    chosen = {}
    for conv, total in arch.filters.items():
        ranked = scores[conv].argsort()  # from a table that may be shorter than the layer
        chosen[conv] = ranked[total - widths[conv] :].sort().values if widths[conv] < total else torch.arange(total)
    theirs, ours = dense.state_dict(), model.state_dict()
    for name, tensor in theirs.items():
        module, _, part = name.rpartition(".")
        if not tensor.dim() or not copied(arch, module):
            continue
        kind = model.get_submodule(module)
        if isinstance(kind, nn.Conv2d):
            if part == "bias":
                continue
            rows = chosen[module]
            columns = _columns(arch, module, chosen, tensor.shape[1])
            ours[name][: len(rows), : len(columns)] = tensor[rows][:, columns].to(ours[name])
        elif tensor.shape == ours[name].shape:
            ours[name].copy_(tensor)
        elif isinstance(kind, nn.BatchNorm2d) and arch.cls.startswith("resnet:"):
            rows = chosen[arch.inputs[module][0]]
            ours[name][: len(rows)] = tensor[rows].to(ours[name])
    model.load_state_dict(ours)
    return model


def _columns(arch: Arch, conv: str, chosen: dict[str, Tensor], channels: int) -> Tensor:
    """Which input channels a conv's filters are copied for: those that the convs before it chose."""
    if conv not in arch.inputs:
        return torch.arange(channels)
    parts, offset = [], 0
    for source in arch.inputs[conv]:
        parts.append(chosen[source] + offset)
        offset += arch.filters[source]
    return torch.cat(parts)
