"""A network made ready to be pruned: copied, looked at, run once, and its channels followed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from warnings import warn

import torch
from torch import nn

from ..cost.counting import by_layer, rule_called
from ..cost.tracing import examples, trace
from ..nets.hooks import call, failing, mapped, tensors, without_hooks
from ..nets.layers import Layer
from ..nets.reparam import computed, copied, inside, plain, twin, wrapped_within
from ..system.errors import InputError
from .checking import line, refuse
from .cutting import clones
from .onetype import of_one_type
from .sizing import Options
from .structure import MAKERS, Structure, find_structure, without_fast_paths
from .telling import Telling


@dataclass(frozen=True)
class Ready:
    """A network that can be pruned: a copy to keep, and one on the CPU in float32 to look at."""

    model: nn.Module
    work: nn.Module
    inputs: Any
    structure: Structure
    macs: dict[str, int]  # of each layer, for all of ``inputs``
    examples: int
    plain: bool  # each layer sees one map or one row of an example, and nothing else multiplies


def ready(
    model: nn.Module, example_inputs: Any, ignore: Sequence[str], options: Options | None = None,
    tell: Telling | None = None, whole: Mapping[str, str] | None = None,
) -> Ready:  # fmt: skip
    """Copies of ``model`` and the structure of its channels, not yet checked; ``whole`` stays so.

    Without ``whole`` it warns of layers that ``example_inputs`` do not reach.

    Raises:
        InputError: as ``prune``.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {type(model).__name__}; expected a torch.nn.Module")
    _has_weights(model)
    tell = tell or Telling(False)
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
        calls, structure = _followed(work, inputs, ignore, hooked, lambda: _as_it_is(own, example_inputs))
    if whole is None and structure.unreached:
        warn(structure.unreached_line, stacklevel=3)
    macs, n = by_layer(calls, rule_called("macs")), examples(tensors(inputs, floating=False), calls)
    if not any(macs.values()):
        _check_examples(inputs)
    if whole:
        structure = structure.without(
            {g.root: whole[layer] for g in structure.groups for layer in g.makers if layer in whole}
        )
    if not structure.groups:
        raise refuse(kind, structure.whole)
    rows = all(layer.x[0] == n and (layer.kind != "Linear" or len(layer.x) == 2) for layer in calls if layer.x)
    return Ready(own, work, inputs, structure, macs, n, rows and structure.products <= len(calls))


def _check_ignore(ignore: Any, modules: Mapping[str, nn.Module]) -> None:
    """Raises InputError: anything but a list of names of the model's modules."""
    if isinstance(ignore, Iterable) and not isinstance(ignore, str):
        ignore = [name for name in ignore if not isinstance(name, str) or name not in modules]
        if not ignore:
            return
    raise InputError(f"ignore is {ignore!r}; expected a list of names of the model's modules, as 'layer1.0.conv1'")


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


def _followed(
    work: nn.Module, inputs: Any, ignore: Sequence[str], hooked: bool, as_it_is: Callable[[], object]
) -> tuple[list[Layer], Structure]:
    """The calls of ``work``'s conv and linear layers and the structure of its channels, from one run.

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
    return calls, structure


def _check_examples(inputs: Any) -> None:
    """Raises InputError: a tensor in which there is no number, as a batch of no examples is."""
    shapes = [tuple(t.shape) for t in tensors(inputs)]
    if any(0 in shape for shape in shapes):
        raise InputError(f"example_inputs {shapes} hold no example; expected at least one")


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
