"""What the explorer computes when a slider moves: plain functions, quick enough to follow it.

The slow parts (training, scores, the full network's maps) are done once for each ``Subject``. The widgets are in
``widgets``. Where no images are at hand, the committed network is shown with the scores and accuracies that
``book.gallery`` recorded for it, in the figure ``explorer_curves``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...cost.counting import Cost, costs
from ...nets import Arch, arch_of, build, read_spec
from ...nets.slim import Keep, mask, slim, slim_widths
from ...nets.spec import Widths, parse
from ...nets.weights import fit, read_weights
from ...papers import baselines
from ...papers.baselines import Scores
from ...papers.cdp import CDP, keep_above
from ...papers.cfdp import CFDP
from ...papers.criteria import by_conv
from ...papers.method import Start
from ...papers.recipe import NORMALISE, Recipe, normalised
from ...papers.rows import all_rows, get_row
from ...runs import kept
from ...runs.training import evaluate, train
from ...system import checkpoint
from ...system.errors import DataMissing, InputError
from ...system.paths import home
from ...tasks import load
from ...tasks.images import ImageSet, Split
from ...tasks.registry import is_there
from ..figures import charts, committed, gradcam
from ..tables.table import Grid

OFFERED = ("l1", "cdp", "cfdp", "random")  # of ``papers.criteria.CRITERIA``, for the sliders
SPREADS = ("the same share of each layer", "one threshold for all layers")
COMMITTED = ("arena/dense/resnet20", "fast", 0, "selected")  # the trained network that is looked into
RECORDED = "explorer_curves"  # the committed figure whose record has its scores and accuracies
BEGIN = 0.1  # the sparsity that is shown first
SEEN = 256  # training images that a criterion is computed on
TRAINING = Recipe(data="digits", epochs=4, batch_size=32, lr=0.1, warmup=1, schedule="cosine", heldout=200)


def in_lab(wanted: str = "auto") -> bool:
    """Whether to make widgets: ``yes``, ``no``, or ``auto``, which means yes if a Jupyter server started this kernel.

    The server sets ``JPY_SESSION_NAME``; papermill, which starts kernels by itself, does not.
    """
    return wanted == "yes" or (wanted == "auto" and bool(os.environ.get("JPY_SESSION_NAME")))


# ---- specs ----


def rows_to_choose() -> dict[str, list[str]]:
    """All rows whose network this library has, as ``{paper/table: [row ids]}``."""
    found: dict[str, list[str]] = {}
    for row in all_rows().values():
        if row.arch:
            found.setdefault(row.table, []).append(row.id)
    return found


def runs(rates: Sequence[float]) -> list[tuple[float, int]]:
    """Group equal neighbours in a rate list, one slider each: ``[.5, .5, .4] -> [(.5, 2), (.4, 1)]``."""
    return [(rate, len(list(same))) for rate, same in groupby(rates)]


def written(found: Sequence[tuple[float, int]]) -> str:
    """The rate string of these runs; ``runs(parse(…))`` reads it back."""
    return "+".join(f"[{rate:.6g}]" + (f"*{times}" if times > 1 else "") for rate, times in found)


@dataclass(frozen=True)
class Counted:
    """A spec, its widths, and its cost under every rule."""

    arch: str
    runs: list[tuple[float, int]]
    widths: Widths
    costs: dict[str, Cost]

    @property
    def chart(self):
        return charts.widths(arch_of(self.arch).filters, self.widths, f"{self.arch}, {written(self.runs)[:70]}")

    @property
    def grid(self) -> Grid:
        cells = [["Rule", "FLOPs", "of the full network's", "cut", "Params", "cut"]]
        for c in self.costs.values():
            cuts = f"{c.flops_cut:.2f} %", f"{c.params_cut:.2f} %"
            cells.append([c.rule, f"{c.flops:,}", f"{c.base_flops:,}", cuts[0], f"{c.params:,}", cuts[1]])
        return Grid(cells)


def recount(arch: str, spec: str, layout: str | None = None) -> Counted:
    """Count a spec under every rule.

    Raises:
        InputError: an unknown arch or layout, or an unusable spec.
    """
    how = arch_of(arch).layouts.get(layout or "") or next(iter(arch_of(arch).layouts.values()))
    _, widths = read_spec(arch, spec, layout)
    return Counted(arch, runs(parse(spec, how.rounding)), widths, costs(arch, widths, layout))


def unpruned(arch: str, layout: str | None = None) -> str:
    """The rate string for ``arch`` that prunes nothing."""
    layouts = arch_of(arch).layouts
    how = layouts[layout] if layout in layouts else next(iter(layouts.values()))
    return written([(10.0 if how.rounding == "tenths" else 0.0, len(how.groups))])


# ---- a trained network ----


@dataclass(frozen=True)
class Subject:
    """A trained full network, a few hundred test images or none, and the scores computed so far."""

    arch: Arch
    model: nn.Module
    images: ImageSet | None  # its test split holds only the images that are evaluated; None: there are none here
    accuracy: float | None  # on these, or as it was recorded
    known: dict[Any, Any] = field(default_factory=dict, repr=False)
    recorded: Mapping[str, Mapping[str, Sequence]] = field(default_factory=dict, repr=False)  # spread -> criterion -> …

    @property
    def data(self) -> ImageSet:
        """Its images.

        Raises:
            DataMissing: there are none here.
        """
        if self.images is None:
            raise DataMissing("no images here; expected CIFAR-10, whose folder data_dir or $PRUNE_DATA names")
        return self.images

    @property
    def offered(self) -> tuple[str, ...]:
        """The criteria to choose from: with images, or with scores that were recorded, all of them."""
        return OFFERED if self.images else tuple(c for c in OFFERED if c in self.known)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` test images of different classes: normalised, as stored, and their labels."""
        labels = self.data.test.labels
        first = [int((labels == c).nonzero()[0]) for c in range(len(self.data.classes)) if bool((labels == c).any())]
        some = self.data.test.take(torch.tensor(first[:count]))
        return self.data.normalise(some.images), some.images, some.labels


def make_subject(
    weights: str | Path = "", arch: str = "resnet20", data: str = "auto", *, normalise: str = "own",
    data_dir: str | Path | None = None, images: int = 200,
) -> Subject:  # fmt: skip
    """The network with the given ``weights``, or the committed one.

    Args:
        data: ``cifar10``; ``digits``, small ones, on which a network without ``weights`` is trained here in seconds and
            kept for next time; ``none``: the committed network with what was recorded of it; ``auto``: cifar10 where it
            is, else none.
        normalise: the normalising constants that the weights were trained with, named as in ``Recipe.normalise``.
        images: how many test images to evaluate, equally many of each class.

    Raises:
        InputError: weights or data are missing or do not fit, or there are too few images.
    """
    if normalise not in NORMALISE:
        raise InputError(f"normalise is {normalise!r}; expected one of: {' '.join(NORMALISE)}")
    if data == "auto":
        data = "cifar10" if weights or is_there("cifar10", data_dir) else "none"
    if data == "none":
        if weights:
            raise InputError("data is none, and weights are given; expected cifar10 or digits to look at with them")
        return _as_recorded()
    found = load(data, data_dir, heldout=0 if weights or data != "digits" else TRAINING.heldout)
    if not isinstance(found, ImageSet):
        raise InputError(f"data is {data!r}; expected auto, cifar10, digits or none")
    found = normalised(found, Recipe(normalise=normalise))
    each = images // len(found.classes)
    if each < 1:
        raise InputError(f"images is {images}; expected at least one of each of the {len(found.classes)} classes")
    if weights:
        model = build(arch, None, len(found.classes))
        fit(model, read_weights(weights), weights)
    elif data == "digits":
        found = _small(found)
        model = _trained(arch, found)
    else:
        arch, model = get_row(COMMITTED[0]).arch, kept.load(*COMMITTED)
    labels = found.test.labels
    index = torch.cat([(labels == c).nonzero().flatten()[:each] for c in range(len(found.classes))])
    found = replace(found, test=found.test.take(index))
    model.eval().requires_grad_(False)
    return Subject(arch_of(arch), model, found, evaluate(model, found, found.test)["top1"])


def _as_recorded() -> Subject:
    """The committed network without images: the scores of its filters and its accuracies as they were recorded."""
    found = committed.read(RECORDED).found
    model = kept.load(*COMMITTED).eval().requires_grad_(False)
    known = {c: {conv: torch.tensor(s) for conv, s in scores.items()} for c, scores in found["scores"].items()}
    return Subject(arch_of(get_row(COMMITTED[0]).arch), model, None, found["full"], known, found["curves"])


def _small(data: ImageSet) -> ImageSet:
    """The digits at half their size: originally 8x8 pixels, they lose nothing, and take a quarter of the work."""
    parts = (Split(part.images[:, :, ::2, ::2].contiguous(), part.labels) for part in (data.train, data.heldout))
    test = Split(data.test.images[:, :, ::2, ::2].contiguous(), data.test.labels)
    train_, heldout = parts
    return replace(data, train=train_, heldout=heldout, test=test, pad=1)


def _trained(arch: str, data: ImageSet) -> nn.Module:
    """A network trained on 960 of the digits; its weights are kept under ``runs/``."""
    path = home() / "runs" / "explorer" / f"{arch}-digits.safetensors"
    facts = {"arch": arch, "data": data.fingerprint, "side": data.train.images.shape[-1], **TRAINING.not_default()}
    model = build(arch, None, len(data.classes))
    if (saved := checkpoint.read(path)) and saved[1] == facts:
        model.load_state_dict(saved[0])
        return model
    data = replace(data, train=data.train.take(torch.arange(960)))
    torch.manual_seed(0)
    model = build(arch, None, len(data.classes))
    history = train(model, data, TRAINING, seed=0, device="cpu", precision="fp32", progress=False)
    checkpoint.write(path, history.weights["last"], facts)
    model.load_state_dict(history.weights["last"])
    return model


def score(of: Subject, criterion: str) -> Scores:
    """The score of every filter, larger = more important. Computed once for each subject and criterion.

    Raises:
        InputError: an unknown criterion.
        DataMissing: it looks at images, and there are none here.
    """
    if criterion not in of.known:
        start = Start(of.model, of.data, seed=0, precision="fp32", folder=None)
        count = min(SEEN, len(of.data.train))
        if criterion == "cdp":
            method = CDP(of.arch, sparsity=0.0, images=count)
            method.dense = of.model.state_dict()
            found = method.scores(start)
        elif criterion == "cfdp":
            found = CFDP(of.arch, "corrected", images=count).scores(start)
        else:
            found = by_conv(criterion, of.arch, of.model)
        of.known[criterion] = {conv: s.float() for conv, s in found.items()}
    return of.known[criterion]


def choose(arch: Arch, scores: Scores, sparsity: float, spread: str = SPREADS[0]) -> Keep:
    """Choose the filters to keep when the share ``sparsity`` is pruned; convs of one unit lose the same channels.

    Raises:
        InputError: an unknown spread, or a sparsity outside [0, 1).
    """
    if spread not in SPREADS:
        raise InputError(f"unknown spread {spread!r}; expected one of: {'; '.join(SPREADS)}")
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity is {sparsity}; expected a share in [0, 1)")
    together = baselines.by_unit(scores, arch)
    if spread == SPREADS[0]:
        return baselines.best(together, {c: max(1, n - int(n * sparsity)) for c, n in arch.filters.items()})
    size = {conv: len(convs) for convs in arch.units.values() for conv in convs}
    return keep_above({conv: s / size[conv] for conv, s in together.items()}, sparsity)


@dataclass(frozen=True)
class Pruned:
    """A network with filters removed and not trained any further, with its accuracy and cost."""

    model: nn.Module
    widths: Widths
    accuracy: float | None  # None: there are no images here, and nobody recorded it
    cost: Cost  # under the rule macs, for one image of the size that the arch expects


def prune(of: Subject, criterion: str, sparsity: float, spread: str = SPREADS[0]) -> Pruned:
    """Remove the filters with the lowest scores for real, and evaluate the smaller network on the test images."""
    keep = choose(of.arch, score(of, criterion), sparsity, spread)
    full = build(of.arch.name)
    if of.images is not None:
        full = build(of.arch.name, None, len(of.images.classes))
    full.load_state_dict(of.model.state_dict())
    compact = slim(mask(full.eval(), of.arch, keep), of.arch, keep).requires_grad_(False)
    widths = slim_widths(of.arch, keep)
    accuracy: float | None
    if of.images is not None:
        accuracy = evaluate(compact, of.images, of.images.test)["top1"]
    else:
        accuracy = dict(of.recorded.get(spread, {}).get(criterion, ())).get(sparsity)
    return Pruned(compact, widths, accuracy, costs(of.arch.name, widths)["macs"])


def compared(of: Subject, pruned: Pruned) -> Grid:
    """The full and the pruned network side by side."""
    cost = pruned.cost
    return Grid([
        ["Network", "Top-1", "MACs", "Params"],
        ["full", _percent(of.accuracy), f"{cost.base_flops:,}", f"{cost.base_params:,}"],
        ["pruned", _percent(pruned.accuracy), f"{cost.flops:,} (-{cost.flops_cut:.1f} %)",
         f"{cost.params:,} (-{cost.params_cut:.1f} %)"],
    ])  # fmt: skip


def _percent(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{accuracy:.1f} %"


def curves(of: Subject, sparsities: Sequence[float], spread: str = SPREADS[0]) -> dict[str, list[tuple[float, float]]]:
    """What the slider shows, for all criteria at once: ``{criterion: [(sparsity, accuracy)]}``.

    Without images, what was recorded, whatever the sparsities.
    """
    if of.images is None:
        return {c: [(s, accuracy) for s, accuracy in line] for c, line in of.recorded[spread].items()}
    found = {c: [(s, prune(of, c, s, spread).accuracy) for s in sparsities] for c in OFFERED}
    return {c: [(s, a) for s, a in line if a is not None] for c, line in found.items()}


def maps(of: Subject, network: nn.Module, count: int = 6) -> tuple[Tensor, list[str]]:
    """Grad-CAM ``(N, H, W)`` in [0, 1] for an image of each of ``count`` classes, and the classes predicted."""
    images, _, labels = of.batch(count)
    network.requires_grad_(True)  # Grad-CAM needs the gradients of feature maps
    found = gradcam.grad_cam(network, of.arch.cam_layer, images, labels.tolist())
    with torch.no_grad():
        said = [of.data.classes[c] for c in network(images).argmax(1)]
    return found, said
