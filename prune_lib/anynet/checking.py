"""Whether the network that is cut computes what the masked one does, and which groups stay whole where it does not."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..nets import compare
from ..nets.hooks import call, calling, failing, mapped, tensors
from ..nets.reparam import OF_TORCH, SIMPLE, copied, twin
from ..nets.slim import Keep
from ..system.errors import InputError
from .cutting import cut, masked
from .onetype import of_one_type
from .structure import OUTPUT, Group, Structure, within, without_fast_paths
from .waking import training

TOLERANCE = 1e-5  # of the difference between masked and cut, relative to the largest output
ROUNDING = 2e-3  # how much such a difference counts in float32 if it is relative to the largest output of a channel


@dataclass(frozen=True)
class Outcome:
    """How far masked and cut lie apart: infinitely where the cut network does not run, and then where and why."""

    difference: float
    where: str = ""
    error: str = ""

    @property
    def fine(self) -> bool:
        return self.difference <= TOLERANCE


def difference(model: nn.Module, structure: Structure, keep: Keep, inputs: Any) -> Outcome:
    """The largest difference between what ``masked`` and ``cut`` make of ``inputs``; see ``nets.compare``.

    In float32, and where that is not enough in float64, which tells rounding from a fault. Where outputs differ, as
    boxes of which other ones are found, the layers that keep all of their channels are compared.
    """
    outcome = _difference(model, structure, keep, inputs, ROUNDING)
    if outcome.fine or outcome.where:
        return outcome
    try:
        exact = _difference(of_one_type(copied(model), torch.float64), structure, keep, doubled(inputs), 1.0)
    except Exception:  # a network may have operations of its own that take float32 alone
        exact = Outcome(torch.inf, type(model).__name__)
    if exact.where:  # in float32 the channels that hold little may be rounding
        exact = _difference(model, structure, keep, inputs)
    return min(outcome, exact, key=lambda each: each.difference)


def doubled(inputs: Any) -> Any:
    return mapped(inputs, lambda t: t.double() if t.is_floating_point() else t)


def _difference(model: nn.Module, structure: Structure, keep: Keep, inputs: Any, finely: float = 0.0) -> Outcome:
    """The difference over all ways of running the network, and of a second call where it keeps something of the first.

    Raises:
        InputError: for what it keeps, the smaller network does not run a second time; or there is nothing to compare.
    """
    small, full = cut(model, structure, keep, sharing=True).eval(), masked(model, structure, keep).eval()
    watched, worst = [name for name in structure.whole if structure.whole[name]], 0.0
    for way in structure.ways:
        before, _ = state(small)
        outcome = _of_a_call(full, small, inputs, way, watched, finely)
        after, _ = state(small)
        changed = [name for name, value in after.items() if before.get(name) != value]
        worst = max(worst, outcome.difference)
        if changed and not outcome.where:
            again = _of_a_call(full, small, inputs, way, watched, finely)
            if again.where:
                raise InputError(
                    f"{type(model).__name__} keeps {changed[0]} of one call for the next, which with fewer channels "
                    f"does not run ({again.where}: {again.error}); expected a network that keeps nothing of a call"
                )
            worst = max(worst, again.difference)
        if outcome.where:
            return outcome
    return Outcome(worst)


def state(model: nn.Module) -> tuple[dict[str, Any], list[Tensor]]:
    """What modules keep besides weights, by name, such that it is equal only if nothing changed; and its tensors.

    As long as these are kept, no new one can be taken for them.
    """
    found: dict[str, Any] = {}
    held: list[Tensor] = []
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in OF_TORCH} | module._buffers
        for key, value in own.items():
            if isinstance(value, SIMPLE):
                found[f"{name}.{key}".lstrip(".")] = value
            elif kept := tensors(value):
                held += kept
                versions = [(id(t), 0 if t.is_inference() else t._version) for t in kept]
                found[f"{name}.{key}".lstrip(".")] = versions
    return found, held


def _of_a_call(
    full: nn.Module, small: nn.Module, inputs: Any, way: Sequence[str], layers: Sequence[str], finely: float
) -> Outcome:
    """The difference of what the networks give, and where that tells little, of what ``layers`` make."""
    with torch.no_grad():
        with training(small, way), without_fast_paths(small):
            found, error, where = failing(small, inputs)
        if error is not None:
            return Outcome(torch.inf, where or type(small).__name__, line(error))
        with training(full, way), without_fast_paths(full):
            pair = tensors(call(full, inputs)), tensors(found)
        off, telling = compare.difference(*pair, finely), any(map(_tells, pair[0]))
        if off <= TOLERANCE and telling:
            return Outcome(off)
        strictly = off > TOLERANCE and _comparable(*pair)
        within = _at_layers(full, small, inputs, way, layers, strictly, finely)
        if off > TOLERANCE:
            return Outcome(off if within is None else min(off, within))
        if within is None and all(t.numel() > 1 and bool((t == t.reshape(-1)[0]).all()) for t in pair[0]):
            raise InputError(
                f"{type(full).__name__} gives {pair[0][0].reshape(-1)[0].item()} everywhere on example_inputs, so that "
                "nothing can be compared; expected example_inputs that it tells apart, or a network that gives what "
                "it decides by"
            )
        return Outcome(off if within is None else within)


def _tells(output: Tensor) -> bool:
    """Whether an output shows if a network computes something else: it is neither whole numbers nor saturated."""
    if not output.is_floating_point() or not output.numel():
        return output.is_complex()
    if output.numel() == 1:
        return float(output.abs()) not in (0.0, 1.0)
    least, most = output.min(), output.max()
    between = float(((output > least) & (output < most)).double().mean())
    return between > 0.1 or (output.numel() <= 10 and bool(least < most))


def _comparable(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    return [t.shape for t in expected] == [t.shape for t in found] and any(t.numel() for t in expected)


def _at_layers(
    full: nn.Module, small: nn.Module, inputs: Any, way: Sequence[str], layers: Sequence[str], strictly: bool,
    finely: float,
) -> float | None:  # fmt: skip
    """The difference of what ``layers``, which keep all of their channels, make when they are called last.

    From there on both networks have the same to work with: what they choose among equals, as boxes, may still differ.
    None where there is nothing to compare, or, ``strictly``, something that cannot be.
    """
    seen: list[dict[str, Tensor]] = [{}, {}]
    for model, made in zip((full, small), seen, strict=True):
        with training(model, way), without_fast_paths(model), calling(model, layers, _noting(made)):
            call(model, inputs)
    pairs = [[made[name] for made in seen] for name in layers if all(name in made for made in seen)]
    alike = [pair for pair in pairs if pair[0].shape == pair[1].shape]
    if not alike or (strictly and len(alike) < len(layers)):
        return None
    return max(compare.difference([one], [other], finely) for one, other in alike)


def _noting(made: dict[str, Tensor]) -> Callable[[str, Tensor, Tensor], None]:
    def note(name: str, _: Tensor, output: Tensor) -> None:
        made[name] = output

    return note


def trusted(model: nn.Module, structure: Structure, inputs: Any) -> Structure:
    """The structure without the groups whose cut does not compute what masking does; they stay whole, with the reason.

    Half of each group goes. Where the cut network does not run, the groups of the layer that fails are tried alone;
    where it gives something else, all are, one of each kind. Those that fail alone are left whole. Groups are of one
    kind if their layers have the same names in modules of the same classes.

    Raises:
        InputError: ``model`` gives something else each time it is run.
    """
    faults: Counter = Counter()
    while structure.groups:
        outcome = difference(model, structure, _half(structure.groups), inputs)
        if outcome.fine:
            return structure
        if not outcome.where:
            steady(model, inputs)
        near = _touching(structure, outcome.where) if outcome.where else structure.groups
        wrong = _alone(model, structure, near, inputs) if len(near) > 1 else {}
        wrong = wrong or {group.root: outcome for group in near}
        kinds = {kind_of(model, group): wrong[group.root] for group in near if group.root in wrong}
        faults.update(kinds.keys())
        again = {kind: found for kind, found in kinds.items() if faults[kind] > 1 or not outcome.where}
        more = {g.root: again[kind] for g in structure.groups if (kind := kind_of(model, g)) in again}
        structure = structure.without({root: _reason(structure, root, found) for root, found in (more | wrong).items()})
    return structure


def steady(model: nn.Module, inputs: Any) -> None:
    """Raises InputError: ``model`` gives something else each time; the first layer that does is named."""
    runs: list[list[tuple[str, float]]] = [[], []]
    layers = [name for name, _ in model.named_modules() if name]
    for seen in runs:
        with torch.no_grad(), without_fast_paths(model), calling(model, layers, _listing(seen)):
            _listing(seen)("outside its layers", None, call(model, inputs))
    for (name, one), (_, other) in zip(*runs, strict=False):
        if math.isfinite(one + other) and not math.isclose(one, other, rel_tol=1e-5):
            raise InputError(
                f"{type(model).__name__}, {name}: gives something else each time, in evaluation mode too, so that no "
                "smaller network can be compared to it; expected the same for the same inputs (dropout or noise off)"
            )


def _listing(seen: list[tuple[str, float]]) -> Callable[[str, Any, Any], None]:
    def note(name: str, _: Any, output: Any) -> None:
        with suppress(RuntimeError):  # within a vmap no number can be read
            seen.extend((name, float(torch.linalg.vector_norm(t.detach().float()))) for t in tensors(output))

    return note


def _reason(structure: Structure, root: str, outcome: Outcome) -> str:
    """Why a group stays whole: what came out when it was cut."""
    if outcome.where and within(outcome.where, structure.unreached):
        return f"{outcome.where}, which the example inputs do not reach but the smaller network does, reads them"
    if outcome.where:
        return f"{outcome.where} does not run with fewer channels ({outcome.error})"
    choices = next(group.choices for group in structure.groups if group.root == root).tolist()
    doubt = next((f" ({structure.doubts[choice]})" for choice in choices if choice in structure.doubts), "")
    return f"the smaller network gives something else than the masked one{doubt}"


def wrong(structure: Structure, outcome: Outcome) -> str:
    """Why a network that was cut is none that computes what the masked one does."""
    if within(outcome.where, structure.unreached):
        return (
            f"{outcome.where} is not reached from the example inputs, but from the smaller network's own values; "
            "expected an example that reaches it, or the layers before it in ignore"
        )
    if outcome.where:
        return f"{outcome.where} does not run with fewer channels ({outcome.error})"
    return f"the smaller network differs from the masked one by {outcome.difference:.2g}"


@torch.no_grad()
def sound(awake: nn.Module, model: nn.Module, structure: Structure, inputs: Any) -> nn.Module:
    """``awake``, or ``model`` itself where ``awake`` does not run as ``model`` does.

    That is, if it fails, gives NaN, or reaches layers that ``model`` did not when its channels were followed.
    """
    modules = dict(model.named_modules())
    reached: list[str] = []
    layers = [name for name in structure.unreached if name in modules]
    with without_fast_paths(awake), calling(awake, layers, lambda name, *_: reached.append(name)):
        found, error, _ = failing(awake, inputs)
    odd = any(bool(t.isnan().any()) for t in tensors(found, floating=True))
    return model if error or odd or reached else awake


def _half(groups: Iterable[Group]) -> Keep:
    return {group.root: torch.arange(group.size) % 2 == 0 for group in groups}


def kind_of(model: nn.Module, group: Group) -> tuple:
    """What groups of the same part of a repeated block have in common."""
    kinds = set()
    for layer in group.makers:
        above, _, name = layer.rpartition(".")
        kinds.add((type(model.get_submodule(above)).__name__, name, type(model.get_submodule(layer)).__name__))
    return tuple(sorted(kinds))


def _touching(structure: Structure, where: str) -> list[Group]:
    """The groups with channels in the module called ``where``, or else in the nearest one around it."""
    while True:
        numbers = torch.cat([of for (name, _), of in structure.along.items() if within(name, [where])] or
                            [torch.zeros(1, dtype=torch.int64)]).unique()  # fmt: skip
        found = [group for group in structure.groups if bool(torch.isin(group.choices, numbers).any())]
        if found or not where:
            return found
        where = where.rpartition(".")[0]
        if not where:
            return list(structure.groups)


def _alone(model: nn.Module, structure: Structure, among: Sequence[Group], inputs: Any) -> dict[str, Outcome]:
    """What came out of the groups, ``among`` those, that are wrong by themselves, one of each kind being tried."""
    kinds: dict[tuple, list[Group]] = {}
    for group in among:
        kinds.setdefault(kind_of(model, group), []).append(group)
    wrong: dict[str, Outcome] = {}
    for groups in kinds.values():
        outcome = difference(model, structure, _half(groups[:1]), inputs)
        if not outcome.fine:
            wrong |= {group.root: outcome for group in groups}
    return wrong


def probe(model: nn.Module, inputs: Any) -> Any:
    """What to compare masked and cut networks on: ``inputs``, or where they are constant noise in their place.

    Where ``model`` makes no finite numbers of noise, as where a root is taken, they are ``inputs`` all the same.
    """
    dense = [t for t in tensors(inputs, floating=True) if t.numel() > 1 and t.layout == torch.strided]
    if all(bool((t != t.reshape(-1)[0]).any()) for t in dense):
        return inputs
    generator = torch.Generator().manual_seed(0)
    noise = mapped(
        inputs,
        lambda t: torch.randn(t.shape, generator=generator, dtype=t.dtype) if t.is_floating_point() else t,
    )
    try:
        with torch.no_grad(), without_fast_paths(model):
            finite = all(bool(t.isfinite().all()) for t in tensors(call(model, noise)))
    except Exception:  # whatever a model may raise
        finite = False
    return noise if finite else inputs


@torch.no_grad()
def woken(model: nn.Module) -> nn.Module:
    """A network like ``model`` in which nothing is hidden: what is constant in a tensor, or nearly 0, is drawn anew.

    As it stands a network may have betas of 0, and branches multiplied by 0 or by little, and then a wrong cut need not
    show. It has the other weights in common with ``model``, and all buffers but those of norms.
    """
    generator = torch.Generator().manual_seed(1)
    instead: dict[int, Tensor] = {}
    norms = [m for m in model.modules() if getattr(m, "running_var", None) is not None]
    variances = {id(m.running_var) for m in norms}
    statistics = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    for tensor in [*model.parameters(), *statistics]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        least, most = tensor.aminmax()
        if float(most - least) > 0 and float(torch.maximum(most.abs(), least.abs())) > 1e-2:
            continue
        new = torch.empty_like(tensor, requires_grad=False)
        if tensor.dim() > 1 and tensor[0].numel() > 1 and isinstance(tensor, nn.Parameter):
            new.normal_(generator=generator).mul_((2 / tensor[0].numel()) ** 0.5)
        elif id(tensor) in variances or float(most) > 0.5:
            new.uniform_(0.5, 1.5, generator=generator)
        else:
            new.uniform_(-0.5, 0.5, generator=generator)
        instead[id(tensor)] = nn.Parameter(new) if isinstance(tensor, nn.Parameter) else new
    return twin(model, instead)


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """A copy with other weights in which nothing is hidden: no norm's beta is 0, and no branch is multiplied by 0.

    A network may start with both (BatchNorm's beta, a residual branch's last gamma), and then a wrong cut need not
    show. Weights are drawn by He's initialisation, so that signals neither vanish nor grow.
    """
    model, generator = copied(model), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.is_floating_point():
            continue
        if parameter.dim() > 1:
            fan = max(1, parameter[0].numel())
            parameter.normal_(generator=generator).mul_((2 / fan) ** 0.5)
        else:
            parameter.uniform_(-0.5, 0.5, generator=generator)
    for module in model.modules():
        norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
        if norm and module.weight is not None:
            module.weight.uniform_(0.5, 1.5, generator=generator)  # type: ignore[operator, union-attr]
        if norm and getattr(module, "running_mean", None) is not None:
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[operator, union-attr]
    return model


def refuse(kind: str, whole: Mapping[str, str], what: str = "nothing is left to prune") -> InputError:
    """The refusal of a network in which too little can be pruned, with the first layer and its reason."""
    inner = [item for item in whole.items() if item[1] != OUTPUT]
    layer, reason = next(iter(inner or whole.items()), ("", "it has no layer that makes channels"))
    return InputError(f"{kind}{layer and ', '}{layer}: {reason}; {what}")


def line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:160]
