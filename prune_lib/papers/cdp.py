"""Towards Optimal Filter Pruning via Class-wise Discriminative Power (CDP).

Xu, Wu, Zheng, Xi, Zhang, Ding, Chao, Ji: ACM Multimedia 2021. TF-IDF of text retrieval, with filters as words and
images as documents: a filter matters when it answers strongly to few images. What follows is what the published code
does, which differs from the paper's words in that images, not classes, are the documents.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..nets import Arch
from ..nets.hooks import maps_of, parts, run, watching
from ..nets.reparam import plain
from ..nets.slim import Keep, mask, slim, slim_widths
from ..system import checkpoint
from ..system.errors import InputError
from . import baselines
from .baselines import Scores
from .criteria import CRITERIA, Group, Seen, by_conv
from .method import Method, Start

IN_CACHE = 2**17  # values of a conv's output that a CPU rectifies and averages at once
OWN = ("cdp", "uniform", "scratch")  # criteria beside those of ``CRITERIA``


def importance(features: Tensor, balance: float = 0.0) -> Tensor:
    """TF-IDF of each filter, ``features (C, N) -> (C,)`` in float64: mean answer of filter c to image n in ``[c, n]``.

    With ``A_c`` the images to which filter c answers at least as much as on average,

        score_c = mean over A_c of (b f[c,n] / sum_c' f[c',n])  x  ln(N / (|A_c| + 1)),

    where ``b`` is 1, or ``ln(e C / balance)``, which makes up for the small shares of a wide layer's filters (the
    code's ``coe``). A filter that never answers scores 0 or a little below. An image to which no filter of the layer
    answers counts for nothing (the published code divides 0 by 0 there and loses the whole layer).

    Raises:
        InputError: not a table of finite numbers from 0, or a ``balance`` that is not above 0 where it is given.
    """
    if features.dim() != 2 or not features.shape[1] or not bool((features.isfinite() & (features >= 0)).all()):
        raise InputError(f"features are {tuple(features.shape)}; expected (filters, images), finite and from 0")
    if balance < 0 or not math.isfinite(balance):
        raise InputError(f"balance is {balance}; expected 0 (none) or a number above it")
    answers = features.double()
    filters, images = answers.shape
    factor = math.log(math.e * filters / balance) if balance else 1.0
    active = answers >= answers.mean(1, keepdim=True)
    shares = factor * answers / answers.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    frequency = (shares * active).sum(1) / active.sum(1)
    return frequency * (images / (active.sum(1) + 1.0)).log()


def gather(model: nn.Module, convs: Iterable[str], batches: Iterable, images: int, precision: str = "fp32") -> Scores:
    """``{conv: (C_out, images)}``: the spatial mean of each conv's rectified output, before its BatchNorm.

    One pass; what is kept of an image is one number for each filter, in float32, on the network's device until the
    last image. A conv that the network uses several times answers with the sum.

    Raises:
        InputError: fewer images than said, or a conv that is not given the images one by one.
    """
    found: Scores = {}
    now = slice(0)  # the images of the current pass

    def see(conv: str, output: Tensor) -> None:
        output = maps_of(model.get_submodule(conv), output)
        if conv not in found:
            found[conv] = torch.zeros(images, output.shape[1], device=output.device)
        table = found[conv][now]
        if len(output) != len(table):
            raise InputError(f"{conv} gives {len(output)} maps for {len(table)} images; expected one for each")
        at_once = len(output) if output.is_cuda else max(1, IN_CACHE // output[0].numel())
        for part, answers in zip(output.split(at_once), table.split(at_once), strict=True):
            answers += part.relu().mean((2, 3), dtype=torch.float32)

    def passes() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal now
        for batch, labels in batches:
            for part in parts(model, batch[: images - now.stop]):
                now = slice(now.stop, now.stop + len(part))
                yield part, labels
            if now.stop >= images:
                return

    with watching(model, convs, see):
        seen = run(model, passes(), precision)
    if seen < images:
        raise InputError(f"{seen} images were given; expected {images}")
    return {conv: table.T.cpu().contiguous() for conv, table in found.items()}


def by_discriminative_power(group: Group, seen: Seen) -> Tensor:
    """CDP as a criterion of ``CRITERIA``: the TF-IDF of each filter's answers to the images."""
    answers = seen.once(_answers)
    return group.sum(lambda layer: importance(answers[layer.name]))


def _answers(seen: Seen) -> Scores:
    return gather(seen.model, [layer.name for layer in seen.layers], seen.batches(), seen.images, seen.precision)


def keep_above(scores: Scores, sparsity: float) -> Keep:
    """The masks of one threshold over all filters of all layers, as the published code sets it.

    The threshold is the lowest of the ``int(n (1 - sparsity))`` best scores, and a filter must be *above* it, so one
    fewer stays. A layer that would lose everything keeps its best filter (in the published code it loses it).

    Raises:
        InputError: a sparsity outside [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity is {sparsity}; expected a share in [0, 1)")
    everything = torch.cat([s.flatten() for s in scores.values()])
    best = everything.topk(max(1, int(len(everything) * (1 - sparsity)))).values
    keep = (
        {conv: s > best[-1] for conv, s in scores.items()}
        if sparsity
        else {c: s > -math.inf for c, s in scores.items()}
    )
    for conv, kept in keep.items():
        if not kept.any():
            kept[scores[conv].argmax()] = True
    return keep


def emptied(scores: Scores, sparsity: float) -> list[str]:
    """The layers that the published rule would leave without filters."""
    everything = torch.cat([s.flatten() for s in scores.values()])
    threshold = everything.topk(max(1, int(len(everything) * (1 - sparsity)))).values[-1]
    return [conv for conv, s in scores.items() if not (s > threshold).any()]


def sparsity_for(arch: Arch, scores: Scores, flops: float) -> float:
    """The smallest sparsity, to a filter, at which CDP's counter gives at most the share ``flops`` of the full network.

    Raises:
        InputError: a share outside (0, 1], or below what one filter in each layer costs; that bound is named.
    """
    from ..cost.counting import masked_flops

    if not 0 < flops <= 1:
        raise InputError(f"flops is {flops}; expected a share of the full network's in (0, 1]")
    total = sum(len(s) for s in scores.values())
    full = masked_flops(arch.name, dict(arch.filters))

    def cost(pruned: int) -> float:
        keep = keep_above(scores, pruned / total)
        return masked_flops(arch.name, {conv: int(k.sum()) for conv, k in keep.items()}) / full

    if (least := cost(total - 1)) > flops:
        raise InputError(f"{arch.name} cannot be masked to {flops:.1%} of its FLOPs; expected at least {least:.1%}")
    return bisect_left(range(total - 1), -flops, key=lambda pruned: -cost(pruned)) / total


class CDP(Method):
    """Mask a trained network's filters by their scores, then train it on.

    Args:
        sparsity, flops: one of them: the share of all filters that goes, or of the FLOPs (CDP's counter) that stays.
        balance: what makes up for the small shares of a wide layer's filters, the paper's coe; 0: nothing does.
        criterion: ``cdp``; or a baseline at the same number of filters in each layer (``l1``, ``random``; ``scratch``
            has CDP's masks on fresh weights) or at the same FLOPs (``uniform``: one share for all layers, CDP's order).
        images: how many training images are looked at; 0 is all of them, as for CIFAR-10.
        norms: ``masked``, so that a smaller network exists; or ``authors``: a masked filter still emits a constant.
    """

    prunes_trained = chooses_widths = True

    def __init__(
        self, arch: Arch, sparsity: float | None = None, flops: float | None = None, balance: float = 0.0,
        criterion: str = "cdp", images: int = 0, norms: str = "masked",
    ):  # fmt: skip
        if (sparsity is None) == (flops is None):
            raise InputError(f"CDP: sparsity is {sparsity} and flops is {flops}; expected one of them")
        if criterion not in {*OWN, *CRITERIA}:
            known = " ".join(dict.fromkeys([*OWN, *CRITERIA]))
            raise InputError(f"CDP: unknown criterion {criterion!r}; expected one of: {known}")
        if norms not in ("masked", "authors"):
            raise InputError(f"CDP: norms is {norms!r}; expected masked or authors")
        if sparsity is not None and not 0 <= sparsity < 1:
            raise InputError(f"CDP: sparsity is {sparsity}; expected a share in [0, 1)")
        if flops is not None and not 0 < flops <= 1:
            raise InputError(f"CDP: flops is {flops}; expected a share of the full network's in (0, 1]")
        if not 0 <= balance < math.inf:
            raise InputError(f"CDP: balance is {balance}; expected 0 (none) or a number above it")
        if images < 0:
            raise InputError(f"CDP: images is {images}; expected how many, 0 for all")
        self.arch, self.sparsity, self.flops, self.balance = arch, sparsity, flops, float(balance)
        self.criterion, self.images, self.norms = criterion, images, norms

    @classmethod
    def for_arch(cls, arch: Arch, **options) -> "CDP":
        return cls(arch, **options)

    def begin(self, start: Start) -> dict:
        """Score the dense network's filters (or read the scores of an interrupted run) and choose the masks."""
        from ..cost.counting import masked_flops

        self.dense = start.dense.state_dict()
        scores = self.scores(start)
        sparsity = self.sparsity if self.sparsity is not None else sparsity_for(self.arch, scores, self.flops or 1.0)
        keep = keep_above(scores, sparsity)
        widths = {conv: int(kept.sum()) for conv, kept in keep.items()}
        flops = masked_flops(self.arch.name, widths)
        if self.criterion == "uniform":
            keep = baselines.best(scores, baselines.uniform(self.arch, flops))
        elif self.criterion not in OWN:
            keep = baselines.best(by_conv(self.criterion, self.arch, start.dense, seed=start.seed), widths)
        self.keep = keep
        widths = {conv: int(kept.sum()) for conv, kept in keep.items()}
        return {
            "sparsity": sparsity,
            "kept": widths,
            "flops": masked_flops(self.arch.name, widths),
            "emptied": emptied(scores, sparsity),
            "widths": slim_widths(self.arch, keep) if self.norms == "masked" else dict(self.arch.filters),
        }

    def scores(self, start: Start) -> Scores:
        """Every filter's score, kept in the run's folder once they are there.

        Of CIFAR-10 from cropped and mirrored training images in any order; of ImageNet, as the published code has it,
        from centre crops of the first files, which are those of the first classes.
        """
        from ..tasks.imagenet import FolderSet

        images = min(self.images or len(start.data.train), len(start.data.train))
        weights = checkpoint.digest(self.dense)
        facts: dict = {"dense": weights, "images": images, "balance": self.balance, "seed": start.seed}
        if from_files := isinstance(start.data, FolderSet):
            facts["images_are"] = "the first files, centre crops"

        def work() -> Scores:
            batches = start.data.whole(start.data.train, 128) if from_files else start.training_batches(256)
            features = gather(start.dense, self.arch.filters, batches, images, start.precision)
            return {conv: importance(table, self.balance) for conv, table in features.items()}

        return start.scored(work, facts)

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.criterion != "scratch":
            model.load_state_dict(self.dense)
        return mask(model, self.arch, self.keep, norms=self.norms == "masked")

    def export(self, model: nn.Module) -> nn.Module:
        """The slim network; of masks without their norms, which has no smaller form, the full-width one."""
        return slim(model, self.arch, self.keep) if self.norms == "masked" else plain(model)
