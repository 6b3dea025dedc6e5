"""The same criteria, and DCFF, on your own network: any torch model that Torch-Pruning's graph can follow.

Every group of channels that go together keeps the same share of them, the largest at which the network costs at most
``flops`` of what it did (rule ``macs``), and one step more where that is still affordable. Within a group the channels
with the highest scores stay, where a channel's score is the sum of those of the filters that make it. A network whose
smaller form would compute something else than the masked one is refused; see ``prune_lib.anynet.groups``.
"""

import copy
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..nets.hooks import call, calling, mapped, tensors, without_hooks
from ..nets.reparam import computed, copied, plain
from ..nets.slim import Keep
from ..nets.spec import Widths
from ..papers import baselines
from ..papers.baselines import Scores
from ..papers.dcff import DCFF
from ..papers.filterexpo import FilterExpo
from ..system.errors import InputError
from .groups import (
    CONVS,
    TOLERANCE,
    Group,
    cut,
    depthwise,
    difference,
    find_groups,
    macs,
    probe,
    shaken,
    sides,
    traced,
    used,
    wiring_in_training,
)  # fmt: skip
from .scores import scores


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what it was made of."""

    model: nn.Module = field(repr=False)  # the smaller network, with the weights of what stayed
    criterion: str
    widths: Widths  # filters of each conv whose channels were to choose from
    kept: Keep = field(repr=False)  # which filters of them stayed: conv name -> (C_out before,) bool
    macs: int  # multiply-accumulates for one example
    full_macs: int
    params: int
    full_params: int
    difference: float  # of the masked and the smaller network's outputs, relative; at most 1e-5

    def __str__(self) -> str:
        return (
            f"{self.criterion}: {self.macs:,} of {self.full_macs:,} MACs ({self.macs / self.full_macs:.1%}), "
            f"{self.params:,} of {self.full_params:,} params; masked and cut network differ by {self.difference:.1e}"
        )


def prune(
    model: nn.Module,
    example_inputs: Any,
    criterion: str = "l1",
    data: Any = None,
    flops: float = 0.5,
    *,
    ignore: Sequence[str] = (),
    images: int = 512,
    seed: int = 0,
) -> Pruned:
    """Prune a copy of ``model`` to the share ``flops`` of its multiply-accumulates; ``model`` stays as it is.

    Args:
        example_inputs: what the model is called with: a tensor ``(N, C, H, W)``, a tuple of arguments, or a dict.
        criterion: a name of ``papers.criteria.CRITERIA``, such as ``l1``, ``taylor`` or ``cdp``; the table says which
            of them look at images, and which need their labels too.
        data: for those that look: an image set of ``prune_lib.tasks``, or batches of what the model takes, images
            ``(N, C, H, W)`` or ``(images, labels, …)``, as a DataLoader gives.
        ignore: modules whose convs keep all channels, and with them all convs that share these.
        images: look at so many at most.
        seed: of ``random``.

    Raises:
        InputError: something that cannot be used, or a network without a smaller form; the layer is named.
    """
    work, inputs, groups, wirings = _groups(model, example_inputs, flops, ignore)
    model = copied(model)
    found = scores(without_hooks(model), groups, criterion, data, images, seed)
    keep, full = _to_share(work, groups, found, inputs, flops)
    off = _check(work, groups, keep, inputs, wirings)
    smaller = cut(model, groups, keep)
    left, n = macs(cut(work, groups, keep), inputs)
    stays = {layer: stay for (layer, side), (stay, _) in sides(groups, keep).items() if side == "out"}
    kept = {name: stays[name] for name, m in model.named_modules() if isinstance(m, CONVS) and name in stays}
    params, full_params = (sum(p.numel() for p in m.parameters()) for m in (smaller, model))
    return Pruned(
        smaller.train(model.training), criterion, {name: int(stay.sum()) for name, stay in kept.items()}, kept,
        sum(left.values()) // n, full // n, params, full_params, off,
    )  # fmt: skip


def dcff(
    model: nn.Module, example_inputs: Any, flops: float = 0.5, *, ignore: Sequence[str] = (), variant: str = "authors"
) -> tuple[DCFF, nn.Module]:
    """``(method, compact)``: what ``train(compact, data, recipe, method)`` needs to train any model by DCFF.

    ``compact`` has the share ``flops`` of the multiply-accumulates and freshly drawn weights (each layer's
    ``reset_parameters``); each plain conv in it that lost filters gets a bank of as many as it had. Grouped and
    transposed convs, whose filters do not all read the same, stay plain.

    Raises:
        InputError: as ``prune``.
    """
    pruned = prune(model, example_inputs, "random", flops=flops, ignore=ignore)
    for layer in pruned.model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # type: ignore[operator]
    full = dict(model.named_modules())
    banks = {
        name: len(pruned.kept[name])
        for name, width in pruned.widths.items()
        if width < len(pruned.kept[name]) and _plain(full[name])
    }
    return DCFF(banks, variant), pruned.model


class _AnyFilterExpo(FilterExpo):
    """FilterExpo whose channels are groups of Torch-Pruning's graph instead of an arch's."""

    def __init__(self, groups: Sequence[Group], **options):
        super().__init__(None, **options)  # type: ignore[arg-type]
        self.groups = list(groups)

    def find_norms(self, model: nn.Module) -> dict[str, str]:
        return {group.root: group.norms[group.root] for group in self.groups}

    def sides(self) -> tuple[Keep, Keep]:
        made: Keep = {}
        read: Keep = {}
        for (layer, side), (stay, _) in sides(self.groups, self.keep).items():
            (made if side == "out" else read)[layer] = stay
        return made, read

    def found(self) -> dict:
        return {"kept": {conv: int(kept.sum()) for conv, kept in self.keep.items()}}

    def export(self, model: nn.Module) -> nn.Module:
        return cut(plain(model), self.groups, self.keep)


def filterexpo(
    model: nn.Module, example_inputs: Any, sparsity: float = 0.5, *, ignore: Sequence[str] = (), **options
) -> FilterExpo:
    """What ``train(model, data, recipe, method)`` needs to train any model by FilterExpo, from scratch.

    Channels that can go are those of every conv but the first that alone makes them and has a BatchNorm of its own; the
    residual stream stays, as in the paper. ``options`` are those of ``FilterExpo``: initial, until, times …

    Raises:
        InputError: as ``prune``; there is no such conv.
    """
    work, inputs, groups, wirings = _groups(model, example_inputs, 1.0, ignore)
    first = next(name for name, module in work.named_modules() if isinstance(module, CONVS))
    groups = [
        g for g in groups
        if g.convs == (g.root,) and g.root in g.norms and g.root != first and _plain(work.get_submodule(g.root))
    ]  # fmt: skip
    if not groups:
        raise InputError(
            f"{type(model).__name__} has no conv with channels and a BatchNorm of its own behind the first"
        )
    half = {g.root: torch.arange(g.size) % 2 == 0 for g in groups}
    _check(work, groups, half, inputs, wirings)
    return _AnyFilterExpo(groups, sparsity=sparsity, **options)


def _plain(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.groups == 1


def _groups(
    model, example_inputs, flops: float, ignore: Sequence[str]
) -> tuple[nn.Module, Any, list[Group], list[tuple[str, ...]]]:
    """A copy on the CPU in float32, inputs for it, the groups of channels to choose from, and the ways it is run."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {type(model).__name__}; expected a torch.nn.Module")
    if isinstance(flops, bool) or not isinstance(flops, int | float) or not 0 < flops <= 1:
        raise InputError(f"flops is {flops!r}; expected a share of the full network's in (0, 1]")
    _ready(model)
    work = without_hooks(copied(model).cpu().float().eval())
    kind, modules = type(work).__name__, dict(work.named_modules())
    if not any(isinstance(m, nn.Conv2d) for m in modules.values()):
        raise InputError(f"{kind} has no Conv2d; expected a network with filters to prune")
    if isinstance(ignore, str) or not all(name in modules for name in ignore):
        odd = [ignore] if isinstance(ignore, str) else [name for name in ignore if name not in modules]
        raise InputError(f"ignore is {odd}; expected a list of names of the model's modules, as 'layer1.0.conv1'")
    inputs = mapped(example_inputs, lambda t: t.detach().cpu().float() if t.is_floating_point() else t.detach().cpu())
    _runs(work, inputs)
    wiring = wiring_in_training(work, inputs)
    groups = find_groups(copy.deepcopy(work), inputs, ignore, wiring)
    refused = [group for group in groups if group.refusal]
    if refused:
        _refuse(kind, groups, refused, refused[0].refusal)
    if not groups:
        raise InputError(f"{kind}: the channels of every conv are ignored or are its output; nothing is left to prune")
    return work, inputs, groups, [(), wiring] if wiring else [()]


def _ready(model: nn.Module) -> None:
    """Raises InputError: layers without weights yet, or with weights that are computed anew in each pass."""
    for name, module in model.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(isinstance(t, nn.UninitializedParameter | nn.UninitializedBuffer) for t in own):
            raise InputError(f"{name} ({type(module).__name__}) has no weights yet; run the model once on its inputs")
    for name, how in computed(model).items():
        raise InputError(f"{name} is {how}; expected plain layers, as nets.reparam.plain(model) gives")


def _runs(work: nn.Module, inputs: Any) -> None:
    """Raises InputError: ``work`` does not run on ``inputs``, gives no tensors, or others each time."""
    kind, layers = type(work).__name__, [name for name, _ in work.named_modules() if name]
    sums: list[tuple[str, float]] = []

    def see(name: str, _: Any, output: Any) -> None:
        sums.extend((name, float(t.double().abs().sum())) for t in tensors(output))

    try:
        with calling(work, layers, see), torch.no_grad():
            found = call(work, inputs)
            see("", None, found)
            once = len(sums)
            see("", None, call(work, inputs))
    except Exception as error:  # whatever a model may raise
        shapes = [tuple(t.shape) for t in tensors(inputs)] or type(inputs).__name__
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(f"{kind} does not run on example_inputs {shapes} ({type(error).__name__}: {reason})") from None
    if not tensors(found):
        raise InputError(
            f"{kind} gives {type(found).__name__}, in which no tensor is found; expected tensors, alone or in tuples, "
            "lists, dicts or dataclasses"
        )
    for (name, one), (_, two) in zip(sums[:once], sums[once:], strict=False):
        if not math.isclose(one, two, rel_tol=1e-6) and math.isfinite(one + two):
            raise InputError(
                f"{kind}, {name or 'outside its layers'}: gives something else each time, in evaluation mode too, so "
                "that no smaller network can be compared to it; expected the same for the same inputs (dropout or "
                "noise off)"
            )


def _refuse(kind: str, groups: Sequence[Group], refused: Sequence[Group], reason: str) -> None:
    """Refuse a network, with the layers to leave whole where that would help."""
    todo = f"leave such layers whole with ignore={[group.root for group in refused]}"
    if len(refused) == len(groups):
        todo = "all of its other convs are like that, so that there is nothing to prune"
    raise InputError(f"{kind}, {refused[0].root}: {reason}; {todo}")


def _check(work: nn.Module, groups: Sequence[Group], keep: Keep, inputs, wirings: Sequence[Sequence[str]]) -> float:
    """The difference of masked and cut, of these weights and of others in which nothing is hidden.

    Raises:
        InputError: it is larger than rounding; the groups that cause it are named.
    """
    other = shaken(work)
    inputs = probe(work, inputs)
    off = max(difference(net, groups, keep, inputs, wirings) for net in (work, other))
    if off <= TOLERANCE:
        return off
    alone = [difference(other, [group], keep, inputs, wirings) for group in groups]
    wrong = [group for group, each in zip(groups, alone, strict=True) if not each <= TOLERANCE]
    off, wrong = (max(alone), wrong) if wrong else (off, list(groups))
    what = "does not run" if off == torch.inf else f"differs from the masked one by {off:.2g}"
    why = _lost(work, inputs) or next((g.doubt for g in wrong if g.doubt), "")
    why = why or "something between its layers mixes, moves or adds channels"
    _refuse(type(work).__name__, groups, wrong, f"without some of its channels the network {what} ({why})")
    return off


def _lost(work: nn.Module, inputs: Any) -> str:
    """Which conv runs, though no output can be traced back to it, in words; empty: there is none."""
    work, ran = copy.deepcopy(work), []
    layers = [name for name, module in work.named_modules() if isinstance(module, CONVS)]
    with calling(work, layers, lambda name, *_: ran.append(name)):
        reached = used(traced(work, inputs))
    for name in ran:
        if work.get_submodule(name).weight not in reached:
            return f"no output can be traced back to {name}, as under inference_mode or through numpy"
    return ""


def _to_share(work: nn.Module, groups: Sequence[Group], found: Scores, inputs, flops: float) -> tuple[Keep, int]:
    """What each group keeps at the largest common share, to a thousandth, that costs at most ``flops``; full MACs.

    In a thin network the next share would add a channel to many groups at once; as many of them as can afford it, in
    the network's order, then get theirs.
    """
    each, _ = macs(work, inputs)
    full = sum(each.values())
    alone = {name for name, module in work.named_modules() if depthwise(module)}

    def keep(thousandths: dict[str, int]) -> Keep:
        chosen = baselines.best(found, {root: max(1, len(s) * thousandths[root] // 1000) for root, s in found.items()})
        return {group.root: chosen[group.root].repeat(group.blocks) for group in groups}

    def cost(thousandths: dict[str, int]) -> float:
        left = dict(each)
        for (layer, side), (stay, _) in sides(groups, keep(thousandths)).items():
            if layer in left and not (layer in alone and side == "in"):
                left[layer] = left[layer] * int(stay.sum()) // len(stay)
        return sum(left.values()) / full

    def alike(thousandths: int) -> dict[str, int]:
        return dict.fromkeys(found, thousandths)

    if (least := cost(alike(0))) > flops:
        raise InputError(
            f"{type(work).__name__} cannot be pruned to {100 * flops:.4g}% of its MACs; expected at least "
            f"{math.ceil(1e5 * least) / 1e3:g}%, one channel in each group"
        )
    low = bisect_right(range(1, 1001), flops, key=lambda thousandths: cost(alike(thousandths)))
    shares = alike(low)
    for group in reversed(groups) if low < 1000 and cost(shares) < 0.99 * flops else ():
        more = shares | {group.root: low + 1}
        shares = more if cost(more) <= flops else shares
    return keep(shares), full
