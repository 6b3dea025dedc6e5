"""How important a filter is: every criterion in one table, with one call for the papers' networks and for anyone's.

A criterion is a function ``importance(group, seen) -> (size,)`` in float64, larger = more important. ``group`` is a
group of channels that stay or go together, with the layers that make them; ``seen`` is what the network shows of itself
on some images, for criteria that look. Where several layers make a channel, its score is the sum of theirs. To add one,
write the function and its line in ``CRITERIA``:

    def l1(group, seen):
        return group.sum(lambda layer: layer.filters.abs().sum(1))
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nets import Arch
from ..system.errors import InputError


@dataclass(frozen=True)
class Layer:
    """A layer that makes channels: a conv, transposed conv or linear layer, and the BatchNorm that alone reads it."""

    name: str
    module: nn.Module = field(repr=False)
    norm: nn.Module | None = field(default=None, repr=False)
    maps: str = ""  # the module whose output, rectified, shows its maps; empty: the layer itself

    @property
    def filters(self) -> Tensor:
        """``(C_out, weights)``: a row for each filter, at least in float32."""
        weight: Tensor = self.module.weight.detach()  # type: ignore[operator, assignment]
        return _by_output(self.module, weight if weight.dtype == torch.float64 else weight.float())


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together, the layers that make them, and how many will stay where that is known."""

    name: str
    size: int
    layers: tuple[Layer, ...]
    channels: tuple[tuple[Tensor, Tensor], ...] = ()  # for each layer: filters, and the channels they make; empty: all
    keep: int | None = None

    def sum(self, score: Callable[[Layer], Tensor]) -> Tensor:
        """The sum over the layers of ``score(layer) -> (C_out,)``, channel by channel: ``(size,)`` float64."""
        total, everything = torch.zeros(self.size, dtype=torch.float64), torch.arange(self.size)
        places = self.channels or [(everything, everything)] * len(self.layers)
        for layer, (filters, channels) in zip(self.layers, places, strict=True):
            total.index_add_(0, channels, score(layer).detach().cpu().double()[filters])
        return total


class Seen:
    """What the layers of a network show on some images. A pass over them is made once, when it is first asked for."""

    def __init__(
        self, model: nn.Module, layers: Sequence[Layer], batches: Callable[[], Iterable[tuple[Tensor, Tensor]]] | None,
        images: int = 0, seed: int = 0, precision: str = "fp32",
    ):  # fmt: skip
        """``batches()`` gives ``(images (N, C, H, W), labels)``, ``images`` of them in all; ``None`` gives none."""
        self.model, self.layers, self.images, self.seed, self.precision = model, layers, images, seed, precision
        self._batches, self._passes = batches, {}  # type: ignore[var-annotated]

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        if self._batches is None:
            raise InputError("this criterion looks at images, and there are none; expected batches of them")
        return self._batches()

    def once(self, look: Callable[["Seen"], Any]) -> Any:
        """What ``look(self)`` gives, computed the first time only."""
        if look not in self._passes:
            self._passes[look] = look(self)
        return self._passes[look]


@dataclass(frozen=True)
class Criterion:
    """An entry of ``CRITERIA``."""

    where: str  # "module:function" in this package
    needs: str  # weights, images, or gradients (images with labels)
    source: str
    across: str = "mean"  # how groups compare where widths follow from scores: raw, over their mean, or another's


CRITERIA = {
    "random": Criterion("criteria:at_random", "weights", "the floor that every criterion must beat", "raw"),
    "l1": Criterion("criteria:l1", "weights", "Li et al. 2017, arXiv 1608.08710"),
    "l2": Criterion("criteria:l2", "weights", "He et al. 2018, arXiv 1808.06866"),
    "fpgm": Criterion("criteria:fpgm", "weights", "He et al. 2019, arXiv 1811.00250, eq. 4"),
    "lamp": Criterion("criteria:lamp", "weights", "Lee et al. 2021, arXiv 2010.07611, eq. 1, on filters", "raw"),
    "bn_scale": Criterion("criteria:bn_scale", "weights", "Liu et al. 2017, arXiv 1708.06519", "raw"),
    "taylor": Criterion("criteria:taylor", "gradients", "Molchanov et al. 2019, arXiv 1906.10771, eq. 8", "raw"),
    "hessian": Criterion("criteria:hessian", "gradients", "LeCun et al. 1989, NIPS 2, optimal brain damage", "raw"),
    "cdp": Criterion("cdp:by_discriminative_power", "images", "Xu et al. 2021, doi 10.1145/3474085.3475680", "raw"),
    "cfdp": Criterion("cfdp:by_frequencies", "images", "Khaki & Luo 2023, CVPR workshops, p. 4714"),
    "css": Criterion("filterexpo:by_leverage", "weights", "Hou et al. 2022, arXiv 2203.15794, section 3.2", "bn_scale"),
    "dcff": Criterion("dcff:by_divergence", "weights", "Lin et al. 2021, arXiv 2107.06916, section 3.2"),
}


def importance(name: str) -> Callable[[Group, Seen], Tensor]:
    """The function of the criterion called ``name``.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in CRITERIA:
        raise InputError(f"unknown criterion {name!r}; expected one of: {' '.join(CRITERIA)}")
    module, function = CRITERIA[name].where.split(":")
    return getattr(import_module(f".{module}", __package__), function)


def at_random(group: Group, seen: Seen) -> Tensor:
    """``u_f``, drawn evenly from [0, 1) for each filter f of each layer. Needs nothing but the seed."""
    drawn = seen.once(_draw)
    return group.sum(lambda layer: drawn[layer.name])


def _draw(seen: Seen) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seen.seed)
    return {layer.name: torch.rand(len(layer.filters), generator=generator) for layer in seen.layers}


def l1(group: Group, seen: Seen) -> Tensor:
    """``sum_i |w_i|`` over a filter's weights (Li et al. 2017, arXiv 1608.08710, section 3.1). Needs weights.

    Torch-Pruning's ``MagnitudeImportance(p=1)`` adds, unless told otherwise, the BatchNorm's scale and the weights of
    the next layers that read the channel, takes the mean over these and divides by that of all channels.
    """
    return group.sum(lambda layer: layer.filters.abs().sum(1))


def l2(group: Group, seen: Seen) -> Tensor:
    """``sqrt(sum_i w_i^2)`` over a filter's weights (He et al. 2018, arXiv 1808.06866). Needs weights.

    Torch-Pruning's ``MagnitudeImportance(p=2)`` leaves out the root: of one layer the order is the same, of layers
    that are summed it need not be.
    """
    return group.sum(lambda layer: layer.filters.norm(dim=1))


def fpgm(group: Group, seen: Seen) -> Tensor:
    """``sum_g ||w_f - w_g||_2`` over all filters g of f's layer (He et al. 2019, arXiv 1811.00250, eq. 4).

    A filter near the others' geometric median can be replaced by them. Needs weights. Torch-Pruning's
    ``FPGMImportance`` takes the distances of ``|w|^p`` instead, with p = 2: signs are lost.
    """
    return group.sum(lambda layer: torch.cdist(layer.filters.double(), layer.filters.double()).sum(1))


def lamp(group: Group, seen: Seen) -> Tensor:
    """``n_f / sum of all n_g >= n_f``, with n the squared L2 norms of a layer's filters; the largest has 1.

    Lee et al. 2021, arXiv 2010.07611, eq. 1, which has single weights in place of filters. Needs weights.
    Torch-Pruning's ``LAMPImportance`` is the same of one layer; of several it sums the norms first, not the shares.
    """

    def share(layer: Layer) -> Tensor:
        ordered, order = layer.filters.double().square().sum(1).sort(descending=True)
        return torch.empty_like(ordered).index_copy_(0, order, ordered / ordered.cumsum(0).clamp_min(1e-300))

    return group.sum(share)


def bn_scale(group: Group, seen: Seen) -> Tensor:
    """``|gamma|`` of the BatchNorm behind the filter (Liu et al. 2017, arXiv 1708.06519, section 3). Needs weights.

    Torch-Pruning's ``BNScaleImportance`` is the same before it divides by the mean.

    Raises:
        InputError: a layer that has no BatchNorm of its own.
    """
    for layer in group.layers:
        if getattr(layer.norm, "weight", None) is None:
            raise InputError(f"{layer.name} has no BatchNorm of its own with a scale; bn_scale needs one")
    return group.sum(lambda layer: layer.norm.weight.abs())  # type: ignore[union-attr, operator]


def taylor(group: Group, seen: Seen) -> Tensor:
    """``(sum_i g_i w_i)^2`` over a filter's weights, g the loss's mean gradient: its change, to first order, squared.

    Molchanov et al. 2019, arXiv 1906.10771, eq. 8. Needs images with labels. Torch-Pruning's ``TaylorImportance`` is
    ``sum_i |g_i w_i|``, and with ``multivariable`` the root of ours.
    """
    slopes = seen.once(gradients)
    return group.sum(lambda layer: (slopes[layer.name] * layer.filters.double()).sum(1).square())


def hessian(group: Group, seen: Seen) -> Tensor:
    """``sum_i h_i w_i^2`` over a filter's weights, h the mean over images n of ``g_ni^2``: the loss's second order.

    Optimal brain damage (LeCun et al. 1989, without its factor 1/2, which is the same for all) with the Hessian's
    diagonal by Fisher's information, which it is where the network's answers are as likely as they say. Needs images
    with labels, and a pass for each image. Torch-Pruning's ``HessianImportance`` is meant to be the same; its
    ``accumulate_grad`` (1.6) keeps the last image's squares alone.
    """
    curves = seen.once(squared_gradients)
    return group.sum(lambda layer: (curves[layer.name] * layer.filters.double().square()).sum(1))


def gradients(seen: Seen) -> dict[str, Tensor]:
    """``{layer: (C_out, weights) float64}``: the mean gradient of the cross-entropy, in evaluation mode.

    Raises:
        InputError: images without labels, which are -1.
    """
    return _mean_of_gradients(seen, lambda images, labels: [(images, labels)], lambda gradient: gradient)


def squared_gradients(seen: Seen) -> dict[str, Tensor]:
    """As ``gradients``, the mean over images of the square of each one's gradient."""

    def alone(images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        return zip(images.split(1), labels.split(1), strict=True)

    return _mean_of_gradients(seen, alone, Tensor.square)


def _mean_of_gradients(
    seen: Seen, parts: Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]], of: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The sums of ``of(gradient of a part's summed loss)``, over the number of images; 0 for a layer not used."""
    model, total = seen.model.eval(), 0
    sums = {layer.name: torch.zeros_like(layer.filters, dtype=torch.float64) for layer in seen.layers}
    weights = [layer.module.weight for layer in seen.layers]
    for batch, targets in seen.batches():
        if bool((targets < 0).any()):
            raise InputError("this criterion takes gradients of a loss, and the images have no labels; expected both")
        for images, labels in parts(batch, targets):
            with torch.enable_grad():
                answers = model(images).float()
                _check_classes(answers, labels)
                loss = F.cross_entropy(answers, labels, reduction="sum")
                found = torch.autograd.grad(loss, weights, allow_unused=True)  # type: ignore[arg-type]
            for layer, gradient in zip(seen.layers, found, strict=True):
                if gradient is not None:
                    sums[layer.name] += of(_by_output(layer.module, gradient).double())
        total += len(targets)
    return {name: summed / max(1, total) for name, summed in sums.items()}


def _check_classes(answers: Tensor, labels: Tensor) -> None:
    """Raises InputError: ``labels`` that are not of as many places, or of more classes, than ``answers (N, C, …)``."""
    if answers.dim() < 2 or answers.shape[:1] + answers.shape[2:] != labels.shape:
        raise InputError(
            f"labels are {tuple(labels.shape)} where the network answers with {tuple(answers.shape)}; expected the "
            "number of a class for each example (N,), or for each place (N, …) of answers (N, classes, …)"
        )
    if (most := int(labels.max())) >= answers.shape[1]:
        raise InputError(f"a label is {most} where the network answers with {answers.shape[1]} classes; expected less")


def _by_output(module: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight, or its gradient, as ``(C_out, rest)``; of a transposed conv by what makes each output."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        weight = weight.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def groups_of(arch: Arch, model: nn.Module, keep: dict[str, int] | None = None) -> list[Group]:
    """The groups of a network of this library: its channel units, each made by its convs in order."""
    alone = {of[0]: name for name, of in arch.inputs.items() if len(of) == 1 and _is_norm(model.get_submodule(name))}
    groups = []
    for unit, convs in arch.units.items():
        layers = tuple(
            Layer(conv, model.get_submodule(conv), model.get_submodule(alone[conv]) if conv in alone else None,
                  alone.get(conv, ""))
            for conv in convs
        )  # fmt: skip
        groups.append(Group(unit, arch.filters[unit], layers, keep=(keep or {}).get(unit)))
    return groups


def by_conv(
    criterion: str, arch: Arch, model: nn.Module, batches: Callable[[], Iterable] | None = None, images: int = 0,
    seed: int = 0, precision: str = "fp32",
) -> dict[str, Tensor]:  # fmt: skip
    """``{conv: (C_out,)}``: each conv of a network of this library scored by itself, whatever its unit.

    Raises:
        InputError: an unknown criterion, or one that needs images and has none.
    """
    layers = {layer.name: layer for group in groups_of(arch, model) for layer in group.layers}
    ordered = [layers[conv] for conv in arch.filters]
    choose, seen = importance(criterion), Seen(model, ordered, batches, images, seed, precision)
    return {layer.name: choose(Group(layer.name, arch.filters[layer.name], (layer,)), seen) for layer in ordered}


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
