"""The same criteria on your own network: any torch model that runs, whatever it is made of.

    pruned = prune(model, torch.randn(1, 3, 224, 224), "l1", flops=0.5)

The model is run once and every channel followed (``channels``); channels that go together are one choice, and the
groups of them that share a layer keep so many as the budget pays (``choosing``), those with the highest scores
(``scores``). Then two networks are computed, one in which whatever makes a pruned channel gives zero, and one in which
the channel is gone. Where they differ, the groups that are at fault stay whole, and ``Pruned.whole`` says which, and
why (``checking``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ..nets.reparam import inside
from ..nets.slim import Keep
from ..papers.criteria import CRITERIA, importance
from ..system.errors import InputError
from .checking import difference, probe, refuse, sound, trusted, woken, wrong
from .choosing import choose
from .cutting import cut
from .measuring import counted
from .pruned import Pruned
from .ready import Ready, ready
from .scores import checked_numbers, comparable, kept_of, scores
from .sizing import Options
from .structure import MAKERS, within
from .telling import Telling

SHARES = ("flops", "params", "latency", "memory")


def prune(
    model: nn.Module,
    example_inputs: Any,
    criterion: str = "l1",
    data: Any = None,
    flops: float | None = None,
    *,
    params: float | None = None,
    latency: float | None = None,
    memory: float | None = None,
    allocation: str | Mapping[str, float] = "uniform",
    round_to: int = 1,
    floor: float = 0.0,
    steps: int = 1,
    between: Callable[[nn.Module], object] | None = None,
    ignore: Sequence[str] = (),
    images: int = 512,
    seed: int = 0,
    progress: bool = False,
) -> Pruned:
    """Prune a copy of ``model`` to a share of what it costs; ``model`` stays as it is.

    Args:
        example_inputs: what the model is called with: a tensor ``(N, C, H, W)``, a tuple of arguments, or a mapping.
        criterion: a name of ``papers.criteria.CRITERIA``, such as ``l1``, ``taylor`` or ``cdp``; the table says which
            of them look at images, and which need their labels too.
        data: for those that look: an image set of ``prune_lib.tasks``, or batches of what the model takes, images
            ``(N, C, H, W)``, ``(images, labels, …)`` or a mapping, as a DataLoader gives.
        flops: the share of the multiply-accumulates (rule ``macs``) that stays; 0.5 if no share is given.
        params, latency, memory: instead of it, the share of the parameters; of the time that one forward pass on
            ``example_inputs`` takes here, measured; of the bytes that weights and the largest maps take.
        allocation: ``uniform``, the same share of every group; ``global``, the channels with the highest scores
            wherever they are; ``isomorphic``, that among groups of the same kind (Fang et al. 2024, arXiv 2407.04616);
            or a share for some layers, ``{name: share}``, with the rest uniform.
        round_to: channels of a layer stay a multiple of it.
        floor: the least share of its channels that a group keeps.
        steps: prune in so many steps, each to the same share of the one before, and call ``between(network)`` after
            each but the last, which may train the network in place.
        ignore: modules whose layers keep all channels they make, and with them all layers that share these.
        images: look at so many at most.
        seed: of ``random``.
        progress: show on stderr what is being done, as a bar on a terminal; after 20 seconds it is said anyway.

    Raises:
        InputError: something that cannot be used, or a network without a smaller form; the layer is named.
    """
    importance(criterion)  # an unknown one is said at once
    kind, share = _budget(flops, params, latency, memory)
    options = Options(allocation, round_to, floor)
    if type(steps) is not int or steps < 1:
        raise InputError(f"steps is {steps!r}; expected a whole number from 1")
    if between is not None and not callable(between):
        raise InputError(f"between is {type(between).__name__}; expected a function of a network")
    checked_numbers(images, seed)
    data = kept_of(data, images) if steps > 1 and CRITERIA[criterion].needs != "weights" else data
    with Telling(progress, 3 * steps) as tell:
        start = ready(model, example_inputs, ignore, options, tell)
        options = replace(options, allocation=_shares(options.allocation, start))
        now, found, sizes = start, None, {group.root: group.size for group in start.structure.groups}
        for step in range(1, steps + 1):
            goal = share ** (step / steps)
            limits = options.at(step / steps, sizes)
            found = _once(start, now, found, criterion, data, kind, goal, limits, images, seed, tell)
            if step < steps:
                if between is not None:
                    between(found.model)
                now = ready(found.model, example_inputs, ignore, options, tell, now.structure.whole)
    assert found is not None
    modes = {name: module.training for name, module in inside(model).named_modules()}
    for name, module in found.model.named_modules():  # a norm that is kept in evaluation mode stays there
        module.training = modes.get(name, module.training)
    return found


def _shares(allocation: Any, start: Ready) -> Any:
    """An allocation that gives each layer of a group that it names the group's share; the innermost name counts.

    Raises:
        InputError: a name without layers that can lose channels, or two shares for layers that lose the same ones.
    """
    if isinstance(allocation, str):
        return allocation
    shares: dict[str, float] = {}
    named: set[str] = set()
    for group in start.structure.groups:
        around = {maker: [name for name in allocation if within(maker, [name])] for maker in group.makers}
        inner = [max(names, key=len) for names in around.values() if names]
        named |= {name for names in around.values() for name in names}
        for name in inner:
            if allocation[name] != allocation[inner[0]]:
                raise InputError(
                    f"allocation gives {inner[0]} {allocation[inner[0]]!r} and {name} {allocation[name]!r}, whose "
                    "layers lose the same channels; expected one share for both"
                )
        shares |= {maker: allocation[inner[0]] for maker in group.makers if inner}
    for name in allocation:
        if name not in named:
            raise InputError(f"allocation names {name!r}, {_why_not(name, start)}; expected layers that lose channels")
    return shares


def _why_not(name: str, start: Ready) -> str:
    """Why no layer of the module called so can lose channels."""
    why = next((why for layer, why in start.structure.whole.items() if within(layer, [name])), "")
    kind = type(start.model.get_submodule(name)).__name__
    return f"which keeps all of its channels ({why})" if why else f"a {kind}, in which no layer makes channels"


def _once(
    start: Ready, now: Ready, before: Pruned | None, criterion: str, data: Any, kind: str, share: float,
    options: Options, images: int, seed: int, tell: Telling,
) -> Pruned:  # fmt: skip
    """Prune ``now``, which ``before`` led to, so that the share ``share`` of ``start`` is left."""
    structure, name = now.structure, type(now.work).__name__
    tell(f"scoring {len(structure.groups)} groups of channels by {criterion}")
    found = scores(now.model, structure.groups, criterion, data, images, seed)
    compared = found
    if options.allocation in ("global", "isomorphic"):
        compared = comparable(found, now.model, structure.groups, criterion, seed)
    inputs, awake = probe(now.work, now.inputs), woken(now.work)
    for attempt in range(2):
        chosen = choose(start, now, structure, compared, kind, share, options, tell)
        tell("comparing the smaller network to the masked one", again=attempt > 0)
        outcome = difference(awake, structure, chosen.keep, inputs)
        if outcome.fine:
            break
        if attempt:
            raise InputError(f"{name} cannot be pruned so: {wrong(structure, outcome)}")
        awake = sound(awake, now.work, structure, inputs)
        tell("finding the groups whose smaller form computes something else", again=True)
        structure = trusted(awake, structure, inputs)
        if not structure.groups:
            lost = {layer: why for layer, why in structure.whole.items() if layer not in now.structure.whole}
            raise refuse(name, lost or structure.whole)
    smaller = cut(now.model, structure, chosen.keep)
    layers = [layer for layer, module in now.model.named_modules() if isinstance(module, MAKERS)]
    kept = _composed(before.kept if before else {}, structure.kept(chosen.keep, layers))
    whole = counted(start.work, start.inputs) if chosen.products else None
    params, full_params = (sum(p.numel() for p in m.parameters()) for m in (smaller, start.model))
    return Pruned(
        smaller, criterion, {layer: int(stay.sum()) for layer, stay in kept.items()}, kept,
        sum(chosen.left.values()) // start.examples, sum(start.macs.values()) // start.examples, params, full_params,
        outcome.difference, dict(structure.whole), _table(start, smaller, chosen.left),
        (chosen.products // start.examples, whole[1] // start.examples) if whole and chosen.products else None,
    )  # fmt: skip


def _table(start: Ready, smaller: nn.Module, left: Mapping[str, int]) -> tuple:
    """What ``Pruned.layers`` holds."""
    return tuple(
        (name, tuple(layer.weight.shape), tuple(smaller.get_submodule(name).weight.shape),  # type: ignore[arg-type, union-attr]
         start.macs.get(name, 0) // start.examples, left.get(name, 0) // start.examples)
        for name, layer in start.model.named_modules() if name in start.structure.weights
    )  # fmt: skip


def _composed(before: Keep, now: Keep) -> Keep:
    """Which of the first network's channels stay, when ``now`` says which of those stay that ``before`` left."""
    found = dict(before)
    for layer, stay in now.items():
        if layer in before:
            found[layer] = before[layer].clone()
            found[layer][before[layer]] = stay
        else:
            found[layer] = stay
    return found


def _budget(flops, params, latency, memory) -> tuple[str, float]:
    given = {k: v for k, v in zip(SHARES, (flops, params, latency, memory), strict=True) if v is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are given; expected one of them")
    kind, share = next(iter(given.items()), ("flops", 0.5))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InputError(f"{kind} is {share!r}; expected a share of the full network's in (0, 1]")
    return kind, share
