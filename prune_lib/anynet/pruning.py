"""The same criteria on your own network: any torch model that runs, whatever it is made of.

    pruned = prune(model, torch.randn(1, 3, 224, 224), "l1", flops=0.5)

The model is run once and every channel followed (``channels``); channels that go together are one choice, and the
groups of them that share a layer keep so many as the budget pays (``sizing``), those with the highest scores
(``scores``). Then two networks are computed, one in which whatever makes a pruned channel gives zero, and one in which
the channel is gone. Where they differ, the groups that are at fault stay whole, and ``Pruned.whole`` says which, and
why (``checking``).
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from warnings import warn

import torch
from torch import nn
from tqdm import tqdm

from ..cost.counting import by_layer, rule_called
from ..cost.tracing import examples, trace
from ..nets.hooks import call, failing, mapped, tensors, without_hooks
from ..nets.layers import Layer
from ..nets.reparam import computed, copied, inside, plain, twin, wrapped_within
from ..nets.slim import Keep
from ..nets.spec import Widths
from ..papers.criteria import CRITERIA, importance
from ..system.errors import InputError
from .checking import difference, kind_of, line, probe, refuse, sound, trusted, woken, wrong
from .measuring import MEASURES, counted
from .onetype import in_its_type, of_one_type
from .scores import checked_numbers, comparable, kept_of, scores
from .sizing import Options, Prices, sized
from .structure import MAKERS, Structure, clones, cut, find_structure, within, without_fast_paths

SHARES = ("flops", "params", "latency", "memory")
QUIET = 20.0  # seconds without a word
APART = 0.02  # of the full network's operations, by which two counts may differ unsaid


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what it was made of."""

    model: nn.Module = field(repr=False)  # the smaller network, with the weights of what stayed
    criterion: str
    widths: Widths  # channels of each layer that lost some or could have: convs' and linear layers' outputs
    kept: Keep = field(repr=False)  # which of them stayed: layer -> (C_out before,) bool
    macs: int  # multiply-accumulates for one example
    full_macs: int
    params: int
    full_params: int
    difference: float  # of the masked and the smaller network's outputs, relative, at most 1e-5; see checking.woken
    whole: dict[str, str] = field(default_factory=dict, repr=False)  # layers that keep all of their channels -> why
    layers: tuple = field(default=(), repr=False)  # (layer, shape before, shape after, MACs before, MACs after)
    products: tuple[int, int] | None = field(default=None, repr=False)  # MACs after and before by torch's counter

    def __str__(self) -> str:
        share = self.macs / self.full_macs
        said = (
            f"{self.criterion}: {self.macs:,} of {self.full_macs:,} MACs ({share:.1%}), "
            f"{self.params:,} of {self.full_params:,} params; masked and cut network differ by {self.difference:.1e}"
        )
        if self.products and abs(self.products[0] / self.products[1] - share) > APART:
            after, before = self.products
            said += (
                "; that is conv and linear layers alone, with attention and other products (torch's counter) it is "
                f"{after:,} of {before:,} ({after / before:.1%})"
            )
        return said

    def report(self) -> str:
        """A table of the layers: weight before and after, MACs before and after, and why a layer stayed whole."""
        lines = [("layer", "before", "after", "MACs", "left", "")]
        for name, before, after, macs, left in self.layers:
            share = f"{left / macs:.0%}" if macs else ""
            lines.append((name, _shape(before), _shape(after), f"{macs:,}", share, self.whole.get(name, "")))
        wide = [max(len(line[column]) for line in lines) for column in range(5)]
        rows = ["  ".join([f"{line[0]:<{wide[0]}}", *(f"{t:>{w}}" for t, w in zip(line[1:5], wide[1:], strict=True)),
                           line[5]]).rstrip() for line in lines]  # fmt: skip
        return "\n".join([*rows, str(self)])

    def save(self, path: str) -> None:
        """Write the smaller network's weights and shapes to ``path`` (safetensors); ``anynet.load`` reads them."""
        from .saving import save

        save(self, path)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


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
    with _Telling(progress, 3 * steps) as tell:
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


@dataclass(frozen=True)
class Ready:
    """A network that can be pruned: a copy to keep, and one on the CPU in float32 to look at."""

    model: nn.Module
    work: nn.Module
    inputs: Any
    structure: Structure
    macs: dict[str, int]  # of each layer, for all of ``inputs``
    examples: int


def ready(
    model: nn.Module, example_inputs: Any, ignore: Sequence[str], options: Options | None = None,
    tell: "_Telling | None" = None, whole: Mapping[str, str] | None = None,
) -> Ready:  # fmt: skip
    """Copies of ``model`` and the structure of its channels, not yet checked; ``whole`` stays so.

    Without ``whole`` it warns of layers that ``example_inputs`` do not reach.

    Raises:
        InputError: as ``prune``.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {type(model).__name__}; expected a torch.nn.Module")
    _has_weights(model)
    tell = tell or _Telling(False)
    own, work = _copies(model)
    kind, modules = type(work).__name__, dict(work.named_modules())
    if not any(isinstance(m, MAKERS) for m in modules.values()):
        raise InputError(f"{kind} has no convolution and no linear layer; expected a network with channels to prune")
    _check_ignore(ignore, modules)
    if options:
        options.check(list(modules))
    _numbers(work)
    inputs = mapped(example_inputs, lambda t: t.detach().cpu().float() if t.is_floating_point() else t.detach().cpu())
    tell(f"running {kind} on example_inputs and following its channels")
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in own.modules())
    with _untouched(model):
        macs, n, structure = _followed(work, inputs, ignore, hooked, lambda: _as_it_is(own, example_inputs))
    if whole is None and structure.unreached:
        warn(structure.unreached_line, stacklevel=3)
    if not any(macs.values()):
        _check_examples(inputs)
    if whole:
        structure = structure.without(
            {g.root: whole[layer] for g in structure.groups for layer in g.makers if layer in whole}
        )
    if not structure.groups:
        raise refuse(kind, structure.whole)
    return Ready(own, work, inputs, structure, macs, n)


def _check_ignore(ignore: Any, modules: Mapping[str, nn.Module]) -> None:
    """Raises InputError: anything but a list of names of the model's modules."""
    if isinstance(ignore, Iterable) and not isinstance(ignore, str):
        ignore = [name for name in ignore if not isinstance(name, str) or name not in modules]
        if not ignore:
            return
    raise InputError(f"ignore is {ignore!r}; expected a list of names of the model's modules, as 'layer1.0.conv1'")


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


def _copies(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """What is to be kept of ``model``, out of its wrappers, and a copy on the CPU in float32 to look at.

    Raises:
        InputError: it cannot be copied.
    """
    try:
        own = plain(model) if computed(model) else inside(model)
        own = copied(own) if wrapped_within(own) else own
        tensors = [*own.parameters(), *own.buffers()]
        simple = all(
            t.device.type == "cpu" and (t.dtype == torch.float32 or not t.is_floating_point()) for t in tensors
        )
        if simple:
            return own, twin(own, clones(own.buffers())).eval()
        work = without_hooks(copied(own)).cpu()
        mixed = any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors)
        return own, (of_one_type(work, torch.float32) if mixed else work).eval()
    except Exception as error:  # whatever a model may keep, as a lock
        raise InputError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {line(error)}); "
            "expected a model that copy.deepcopy copies"
        ) from None


def _check_examples(inputs: Any) -> None:
    """Raises InputError: a tensor in which there is no number, as a batch of no examples is."""
    shapes = [tuple(t.shape) for t in tensors(inputs)]
    if any(0 in shape for shape in shapes):
        raise InputError(f"example_inputs {shapes} hold no example; expected at least one")


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Within this block, in which a copy of ``model`` is run, ``model`` itself must not be.

    Raises:
        InputError: a function that the copy keeps, as a lambda, calls modules of the model that it was made in.
    """

    def called(name: str):
        def refuse(module: nn.Module, _: Any) -> None:
            raise InputError(
                f"{name or 'model'} ({type(module).__name__}) is called by a function that the model keeps, as a "
                "lambda, also in a copy of it, so that none can be cut; expected a method in its place"
            )

        return refuse

    handles = [module.register_forward_pre_hook(called(name)) for name, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _once(
    start: Ready, now: Ready, before: Pruned | None, criterion: str, data: Any, kind: str, share: float,
    options: Options, images: int, seed: int, tell: "_Telling",
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
        chosen = _choose(start, now, structure, compared, kind, share, options, tell)
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


def _weights(model: nn.Module, layer: str) -> int:
    """How many weights ``layer`` of ``model`` has, less its bias."""
    return model.get_submodule(layer).weight.numel()  # type: ignore[operator, union-attr]


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


@dataclass(frozen=True)
class _Chosen:
    """What each group keeps, and the MACs then left, of all inputs: of each layer, and of all by torch's counter."""

    keep: Keep
    left: dict[str, int]
    products: int | None


def _chosen(now: Ready, structure: Structure, keep: Keep) -> _Chosen:
    """``keep`` with its costs: counted, or where values decide what is run, by the weights that a layer has left."""
    smaller = cut(now.work, structure, keep, sharing=True)
    if found := counted(smaller, now.inputs):
        return _Chosen(keep, {name: found[0].get(name, 0) for name in now.macs}, found[1])
    left = {name: cost * _weights(smaller, name) // _weights(now.work, name) for name, cost in now.macs.items()}
    return _Chosen(keep, left, None)


def _choose(
    start: Ready, now: Ready, structure: Structure, found, kind: str, share: float, options: Options, tell: "_Telling"
) -> _Chosen:
    """What each group keeps so that the share ``share`` of what ``start`` costs is left.

    A layer costs as its weights do, unless channels become what another is called with, as patches or tokens: then the
    MACs are measured.
    """
    kinds: dict[str, object] = {group.root: kind_of(now.model, group) for group in structure.groups}
    if kind in ("latency", "memory"):
        keep = _measured(start, now, structure, found, kinds, kind, share, options, tell)
        return _chosen(now, structure, keep)
    each, full = _costs(now, kind), sum(_costs(start, kind).values())
    price, scale = Prices(structure, each), sum(each.values()) / full
    try:
        keep = sized(structure, found, kinds, lambda alive: scale * price(alive), share, options)
    except InputError as error:
        words = str(error).replace("its cost", {"flops": "its MACs", "params": "its parameters"}[kind])
        raise InputError(f"{type(now.work).__name__} {words}{_why_so_much(structure)}") from None
    chosen = _chosen(now, structure, keep)
    if kind == "flops" and abs(sum(chosen.left.values()) / full - scale * price(structure.alive(keep))) > APART / 2:
        keep = _measured(start, now, structure, found, kinds, kind, share, options, tell)
        return _chosen(now, structure, keep)
    return chosen


def _costs(of: Ready, kind: str) -> dict[str, int]:
    """What each weight costs: MACs, or its number of entries."""
    if kind == "params":
        return {name: p.numel() for name, p in of.work.named_parameters()}
    found: dict[str, int] = {}
    for layer, cost in of.macs.items():
        weight = of.structure.weights.get(layer, (layer, 0))[0]
        found[weight] = found.get(weight, 0) + cost
    return found


def _why_so_much(structure: Structure) -> str:
    whole = {layer: why for layer, why in structure.whole.items() if why and "output" not in why}
    if not whole:
        return ""
    layer, why = next(iter(whole.items()))
    return f" ({len(whole)} layers stay whole, as {layer}: {why})"


def _measured(start, now, structure, found, kinds, kind, share, options, tell) -> Keep:
    """As ``_choose`` for what must be measured: the MACs by weights are bisected until the measured share fits."""
    measure = _in_its_type(MEASURES[kind])
    full = measure(start.work, start.inputs)
    price = Prices(structure, _costs(now, "flops"))
    least, most, best = 0.0, 1.0, None
    for _ in range(9 if kind == "flops" else 7):
        middle = (least + most) / 2
        try:
            keep = sized(structure, found, kinds, price, middle, options)
        except InputError:
            least = middle
            continue
        tell(f"measuring {kind} with weights for {middle:.0%} of the MACs", again=True)
        if measure(cut(now.work, structure, keep, sharing=True), now.inputs) / full <= share:
            least, best = middle, keep
        else:
            most = middle
    if best is None:
        raise InputError(f"{type(now.work).__name__} cannot be pruned to {100 * share:.4g}% of its {kind} here")
    return best


def _in_its_type(measure: Callable[[nn.Module, Any], float]) -> Callable[[nn.Module, Any], float]:
    def within_it(model: nn.Module, inputs: Any) -> float:
        with in_its_type(model):
            return measure(model, inputs)

    return within_it


def _budget(flops, params, latency, memory) -> tuple[str, float]:
    given = {k: v for k, v in zip(SHARES, (flops, params, latency, memory), strict=True) if v is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are given; expected one of them")
    kind, share = next(iter(given.items()), ("flops", 0.5))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InputError(f"{kind} is {share!r}; expected a share of the full network's in (0, 1]")
    return kind, share


class _Telling:
    """Says what is being done: where that is wanted, as a bar on a terminal and as lines elsewhere; else if it is long.

    Args:
        wanted: say it from the start, and not only after ``QUIET`` seconds.
        stages: how many things are going to be done, as far as is known.
    """

    def __init__(self, wanted: bool, stages: int = 0):
        live = wanted and sys.stderr.isatty()
        self.bar = tqdm(total=stages, unit="stage", disable=not live, bar_format="{desc} |{bar}| {n}/{total} {elapsed}")
        self.lines, self.start = wanted and not live, time.monotonic()

    def __enter__(self) -> "_Telling":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def __call__(self, what: str, again: bool = False) -> None:
        """``what`` begins; ``again``: it is more of the stage before."""
        self.bar.set_description_str(what)
        self.bar.update(0 if again else 1)
        if self.lines or (self.bar.disable and time.monotonic() - self.start > QUIET):
            print(f"prune: {what} …", file=sys.stderr, flush=True)


def _has_weights(model: nn.Module) -> None:
    """Raises InputError: layers without weights yet, or with weights that cannot be replaced."""
    for name, module in model.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        what = f"{name or 'model'} ({type(module).__name__})"
        if any(isinstance(t, nn.UninitializedParameter | nn.UninitializedBuffer) for t in own):
            raise InputError(f"{what} has no weights yet; run the model once on its inputs")
        if any(t.is_meta for t in own):
            raise InputError(f"{what} has no weights yet, only shapes (device meta); expected a model with its weights")
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(f"{what} is compiled by TorchScript and cannot be cut; expected it as it was before that")


def _numbers(model: nn.Module) -> None:
    """Raises InputError: weights, or a norm's statistics, that are no numbers. -inf may be: it masks."""
    statistics = (item for item in model.named_buffers() if item[0].endswith(("running_mean", "running_var")))
    for name, tensor in (*model.named_parameters(), *statistics):
        odd = tensor.is_floating_point() and not bool(tensor.detach().sum().isfinite())
        if odd and bool((tensor.isnan() | tensor.isposinf()).any()):
            raise InputError(f"{type(model).__name__}, {name}: holds NaN or inf; expected weights that are numbers")


def _answered(kind: str, inputs: Any, outputs: Sequence[torch.Tensor]) -> None:
    """Raises InputError: what ``example_inputs`` hold besides numbers shows in what the network gives."""
    given = tensors(inputs, floating=True)
    if all(bool(t.isfinite().all()) for t in given if t.layout == torch.strided):
        return
    unseen = not outputs and any(bool(t.isnan().any()) for t in given)
    if unseen or any(bool(t.isnan().any()) for t in outputs):
        raise InputError(
            f"example_inputs hold NaN or inf, of which {kind} makes NaN, so that nothing can be compared; expected "
            "numbers"
        )


def _as_it_is(model: nn.Module, inputs: Any) -> Any:
    return call(without_hooks(copied(model)).eval(), inputs)


def _runs(attempt: Callable[[], object]) -> bool:
    try:
        with torch.no_grad():
            attempt()
    except Exception:  # whatever a model may raise
        return False
    return True


def _followed(
    work: nn.Module, inputs: Any, ignore: Sequence[str], hooked: bool, as_it_is: Callable[[], object]
) -> tuple[dict[str, int], int, Structure]:
    """``macs`` of ``work`` and the structure of its channels, from one run.

    Args:
        hooked: it is a copy of a network with hooks, which it has not.
        as_it_is: runs a copy of that network in its own types.

    Raises:
        InputError: it does not run on ``inputs``, or gives no tensors.
    """
    kind, rule = type(work).__name__, rule_called("macs")
    found: list[Any] = []
    calls: list[Layer] = []

    def run(model: nn.Module, inputs: Any) -> Any:
        calls.extend(trace(model, lambda: found.append(call(model, inputs)), rule.kinds))
        if not tensors(found):
            raise InputError(
                f"{kind} gives {type(found[0]).__name__}, in which no tensor is found; expected tensors, alone or in "
                "tuples, lists, dicts or dataclasses"
            )
        return found[0]

    try:
        structure = find_structure(work, inputs, ignore, run)
    except InputError:
        raise
    except Exception:
        with without_fast_paths(work):
            _, error, _ = failing(work, inputs)
        if error is None:
            raise
        shapes = [tuple(t.shape) for t in tensors(inputs)] or type(inputs).__name__
        reason = (str(error).strip().splitlines() or [""])[0][:200] + ("; hooks are not called" if hooked else "")
        why = f"({type(error).__name__}: {reason})"
        if not hooked and _runs(as_it_is):
            raise InputError(
                f"{kind} runs on example_inputs {shapes} as it is, but not in float32 on the CPU, where its channels "
                f"are followed {why}"
            ) from None
        raise InputError(f"{kind} does not run on example_inputs {shapes} {why}") from None
    _answered(kind, inputs, tensors(found[0], floating=True))
    return by_layer(calls, rule), examples(tensors(inputs, floating=False), calls), structure
