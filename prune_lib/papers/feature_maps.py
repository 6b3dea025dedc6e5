"""Pruning by feature maps: score each filter of a trained network by its maps, keep the best at given widths, train on.

HRank's second repository does so, and CFDP, which began from its code, puts another score into it. A paper overrides
``score_of``, and ``places`` where its code looks elsewhere.
"""

import torch
from torch import Tensor, nn

from ..nets import Arch
from ..nets.hooks import run, watching
from ..nets.slim import transplant
from ..system import checkpoint
from ..system.errors import InputError
from . import baselines
from .baselines import Scores
from .criteria import CRITERIA, by_conv
from .method import Method, Start

CHUNK = 16  # maps of so many images are scored at once
VARIANTS = ("authors", "corrected")
Places = dict[str, tuple[str, slice]]  # conv -> the module whose output shows its maps, and which of its channels


class ByFeatureMaps(Method):
    """Choose the filters of given widths by the mean score of their maps, copy them into the compact network, train on.

    Args:
        title: the paper's; in small letters it is the name of its own criterion.
        variant: ``authors``: every conv chooses for itself, so that channels which are added are not the same ones, and
            some layers start afresh (see ``copied``). ``corrected``: convs of one unit choose together, by the sum of
            their scores, each by its own maps, and everything is copied.
        criterion: the paper's own, ``scratch``, which copies nothing, or one of ``CRITERIA``.
        images: how many augmented training images are looked at.
    """

    prunes_trained = True

    def __init__(self, title: str, arch: Arch, variant: str, criterion: str, images: int):
        own = (title.lower(), "scratch")
        if variant not in VARIANTS:
            raise InputError(f"unknown {title} variant {variant!r}; expected one of: {' '.join(VARIANTS)}")
        if criterion not in {*own, *CRITERIA}:
            known = " ".join(dict.fromkeys([*own, *CRITERIA]))
            raise InputError(f"{title}: unknown criterion {criterion!r}; expected one of: {known}")
        if images < 1:
            raise InputError(f"{title}: images is {images}; expected at least 1")
        self.name, self.arch, self.variant = title.lower(), arch, variant
        self.criterion, self.images = criterion, images

    @classmethod
    def for_arch(cls, arch: Arch, **options):
        return cls(arch, **options)

    def score_of(self, maps: Tensor) -> Tensor:
        """The score of each map, ``(N, C, H, W) -> (N, C)``."""
        raise NotImplementedError

    def facts(self) -> dict:
        """What the scores depend on beside network, images, variant and seed."""
        return {}

    def places(self) -> Places:
        return score_places(self.arch, self.variant)

    def begin(self, start: Start) -> dict:
        """Score the dense network's filters, or read the scores of an interrupted run."""
        self.dense, self.chosen = start.dense, {}
        if self.criterion == self.name:
            self.chosen = self.scores(start)
        elif self.criterion != "scratch":
            self.chosen = by_conv(self.criterion, self.arch, start.dense, seed=start.seed)
        return {"images": self.images}

    def scores(self, start: Start) -> Scores:
        """Every filter's score, kept in the run's folder once they are there."""
        images = min(self.images, len(start.data.train))
        facts = {
            "dense": checkpoint.digest(start.dense.state_dict()), "images": images, "variant": self.variant,
            "seed": start.seed, **self.facts(),
        }  # fmt: skip

        def work() -> Scores:
            places = self.places()
            sums: Scores = {}

            def see(module: str, maps: Tensor) -> None:
                parts = maps.float().split(CHUNK)  # a pass of large maps need not be held several times over
                found = torch.stack([self.score_of(part).sum(0).double() for part in parts]).sum(0)
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


def score_places(arch: Arch, variant: str) -> Places:
    """``{conv: (module, which of its channels)}``: the maps by which each conv is scored, after their ReLU.

    ResNets score a block's last conv by the block's output, the shortcut's conv too.
    """
    family = arch.cls.split(":")[0]
    whole = slice(None)
    places: Places = {}
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
    if variant == "authors" and family == "googlenet":
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
