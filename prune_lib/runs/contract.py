"""The contract of a pruning method, as tests: what this library's own methods are held to, for anybody's.

Every method trains ResNet-20 on the embedded digits for three epochs of three steps, pruned to half of each layer if
it does not choose the widths itself. ``pytest_plugin`` says how to run it.
"""

import contextlib
import copy
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..cost.counting import cost, count
from ..nets import ARCHS, Widths, build, load_network
from ..papers.method import Method, Start
from ..papers.named import method_named, taken
from ..papers.recipe import Recipe
from ..system.checkpoint import digest
from ..system.errors import InputError
from ..tasks import load
from .history import PROTOCOLS, History, Saver
from .training import train

__all__ = [
    "dense",
    "digits",
    "held",
    "test_a_run_of_one_epoch_trains_or_is_refused",
    "test_a_second_run_is_the_same_bit_for_bit",
    "test_an_interrupted_run_ends_as_if_it_had_not_been",
    "test_it_trains_on_digits",
    "test_options_that_cannot_be_are_refused_in_one_line",
    "test_the_counts_are_those_of_the_exported_network",
    "test_the_exported_network_gives_what_the_trained_one_gives",
    "test_the_exported_network_is_plain_and_rebuilds_itself_from_a_file",
    "test_the_trained_network_that_it_begins_from_stays_as_it_was",
    "test_what_it_finds_can_be_recorded",
]
ARCH = ARCHS["resnet20"]
RECIPE = Recipe(data="digits", epochs=3, batch_size=32, lr=0.05, heldout=20, train_images=80)
STEPS = math.ceil(80 / 32)  # an epoch
HALF: Widths = {conv: filters // 2 for conv, filters in ARCH.filters.items()}


class Cut(BaseException):
    """What stands for the end of the process: nothing that a method does on errors sees it."""


@dataclass
class Held:
    """A method that is held to the contract, and what one whole run of it left."""

    make: Callable[..., Method]
    options: dict[str, type]
    data: Any
    dense: nn.Module
    folder: Path
    whole: "Left"


@dataclass
class Left:
    """What a run leaves."""

    method: Method
    model: nn.Module
    history: History
    found: dict
    widths: Widths

    def facts(self) -> dict:
        """Everything that must not depend on how often the run was interrupted."""
        tensors = {**self.model.state_dict(), **{f"method/{name}": t for name, t in self.method.state().items()}}
        networks = {protocol: digest(weights) for protocol, weights in self.history.weights.items()}
        curve, found = _without_times(self.history.curve), _without_times(self.found)
        return {"weights": digest(tensors), "networks": networks, "curve": curve, "found": found}


def run(make: Callable[[], Method], data, dense: nn.Module, folder: Path, chance: int = 0, **options: Any) -> Left:
    """One run of the method, as ``prune run`` has it: a look at the trained network, then training.

    Args:
        chance: the state of the global generators before it, which is whatever a process happens to have.
        options: ``cut``, a moment of ``MOMENTS`` at which it ends; what ``train`` takes beside.
    """
    random.seed(chance), np.random.seed(chance), torch.manual_seed(chance)
    method, begun = make(), {}
    if method.prunes_trained:
        begun = method.begin(Start(copy.deepcopy(dense), data, 0, "fp32", folder))
    torch.manual_seed(0)
    model = build(ARCH, None if method.chooses_widths else HALF)
    if moment := options.pop("cut", ""):
        _cut(method, moment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "share", math.inf)
        prepared: list[nn.Module] = []
        whole = method.prepare
        method.prepare = lambda model: prepared.append(whole(model)) or prepared[0]  # type: ignore[method-assign, func-returns-value]
        history = train(model, data, RECIPE, method, device="cpu", progress=False, **options)
    found = begun | method.found()
    return Left(method, prepared[0], history, found, found.get("widths", HALF))


MOMENTS = {  # of the second epoch: which hook, its which call in all, and whether the method has done it by then
    "between two epochs": ("on_epoch", 2, False),
    "when it has begun an epoch": ("on_epoch", 2, True),
    "before the hook of a step": ("after_step", STEPS + 2, False),
}


def _cut(method: Method, moment: str) -> None:
    hook, last, done = MOMENTS[moment]
    whole, calls = getattr(method, hook), []

    def wrapped(*args):
        calls.append(hook)
        if len(calls) == last and not done:
            raise Cut
        result = whole(*args)
        if len(calls) == last:
            raise Cut
        return result

    setattr(method, hook, wrapped)


def _without_times(found: Any) -> Any:
    if isinstance(found, dict):
        timed = ("seconds", "images_per_second")
        return {name: _without_times(value) for name, value in found.items() if not name.endswith(timed)}
    if isinstance(found, list | tuple):
        return [_without_times(value) for value in found]
    return str(found) if isinstance(found, float) else found  # so that NaN, which has a clause of its own, is itself


def _images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network BatchNorm statistics and affine parameters that a forgotten one would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
    return model.eval()


@pytest.fixture(scope="module")
def digits():
    """80 digits to train on and 20 for the test, at a quarter of the pixels."""
    data = load("digits", heldout=RECIPE.heldout, train_images=RECIPE.train_images)

    def half(split):
        return replace(split, images=split.images[:, :, ::2, ::2].contiguous())

    few = data.test.take(torch.arange(0, 300, 15))
    return replace(data, train=half(data.train), heldout=half(data.heldout), test=half(few))


@pytest.fixture(scope="module")
def dense():
    """The full network that methods begin from which prune a trained one."""
    torch.manual_seed(1)
    return shake(build(ARCH))


@pytest.fixture(scope="module")
def held(pruning_method, digits, dense, tmp_path_factory):
    cls, options = method_named(pruning_method)
    make, folder = partial(cls.for_arch, ARCH, **options), tmp_path_factory.mktemp("held")
    torch.set_num_threads(1)
    return Held(make, taken(cls), digits, dense, folder, run(make, digits, dense, folder))


def test_it_trains_on_digits(held):
    """The loss falls in three epochs, and a network is kept for each protocol."""
    left = held.whole
    losses = [epoch["loss"] for epoch in left.history.curve]
    assert len(losses) == RECIPE.epochs
    assert losses[-1] < losses[0]
    assert set(left.history.weights) == set(PROTOCOLS)
    assert bool(left.history.before) == left.method.prunes_trained
    if left.method.chooses_widths:
        assert "widths" in left.found, "a method that chooses the widths names them in what it found"


def test_the_exported_network_gives_what_the_trained_one_gives(held):
    """Masked equals slim: the same outputs, whatever its norms hold, up to the rounding of float64."""
    method, model = held.whole.method, copy.deepcopy(held.whole.model)
    shake(model)
    method.after_step(model)  # which puts its masks on again
    exported, images = method.export(model).eval(), _images().double()
    with torch.no_grad():
        expected = model.double().eval()(images)
        torch.testing.assert_close(copy.deepcopy(exported).double()(images), expected, rtol=1e-6, atol=1e-6)
        again = exported.double()(images)
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.zero_()
        assert torch.equal(exported(images), again), "the exported network shares tensors with the trained one"


def test_the_exported_network_is_plain_and_rebuilds_itself_from_a_file(held, tmp_path):
    left = held.whole
    exported = left.method.export(left.model).eval()
    assert not any(parametrize.is_parametrized(module) for module in exported.modules())
    convs = {name: m.out_channels for name, m in exported.named_modules() if isinstance(m, nn.Conv2d)}
    assert {conv: convs.get(conv) for conv in ARCH.filters} == left.widths
    weights = {name: tensor.contiguous() for name, tensor in exported.state_dict().items()}
    about = {"arch": ARCH.name, "widths": json.dumps(left.widths)}
    save_file(weights, tmp_path / "x.safetensors", metadata=about)
    images = _images()
    with torch.no_grad():
        torch.testing.assert_close(load_network(tmp_path / "x.safetensors")(images), exported(images))


def test_the_counts_are_those_of_the_exported_network(held):
    """Params and MACs of the widths that it names are those that its network has; none is wider than the full one."""
    left = held.whole
    exported = left.method.export(left.model)
    counted = cost(ARCH, left.widths, "macs", classes=10)
    assert count(exported, "macs") == (counted.params, counted.flops)
    assert sum(p.numel() for p in exported.parameters()) == counted.params <= counted.base_params
    if "flops" in left.found:
        assert 0 < left.found["flops"] <= cost(ARCH, None, "chex", classes=10).flops


def test_a_second_run_is_the_same_bit_for_bit(held, tmp_path):
    """With the same seed, whatever the global generators held before."""
    again = run(held.make, held.data, held.dense, tmp_path, chance=1)
    assert again.facts() == held.whole.facts()


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_run_ends_as_if_it_had_not_been(held, moment, tmp_path):
    """The state that a killed process left is gone on from, by a method that was made anew."""
    saved = {"state": tmp_path / "state", "save_every": 0.0}  # after every step
    with pytest.raises(Cut):
        run(held.make, held.data, held.dense, tmp_path, cut=moment, **saved)
    again = run(held.make, held.data, held.dense, tmp_path, chance=2, **saved)
    assert again.history.resumed, "it began anew"
    assert again.facts() == held.whole.facts()


def test_the_trained_network_that_it_begins_from_stays_as_it_was(held, tmp_path):
    """A look at a network is no change of it: outputs, tensors, mode and hooks."""
    method, network = held.make(), copy.deepcopy(held.dense)
    if not method.prunes_trained:
        return
    before = digest(network.state_dict())
    method.begin(Start(network, held.data, 0, "fp32", tmp_path))
    assert digest(network.state_dict()) == before
    assert not network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())


def test_what_it_finds_can_be_recorded(held):
    """As JSON, in which NaN is no number; the tensors of its state have names and are tensors."""
    json.dumps(held.whole.found, allow_nan=False)
    json.dumps(held.whole.history.curve, allow_nan=False)
    assert all(isinstance(name, str) and isinstance(t, Tensor) for name, t in held.whole.method.state().items())


def test_a_run_of_one_epoch_trains_or_is_refused(held, tmp_path):
    """As ``make`` runs it; one that needs more says so in a line."""
    method = held.make()
    if method.prunes_trained:
        method.begin(Start(copy.deepcopy(held.dense), held.data, 0, "fp32", tmp_path))
    torch.manual_seed(0)
    model = build(ARCH, None if method.chooses_widths else HALF)
    with contextlib.suppress(InputError):
        history = train(model, held.data, replace(RECIPE, epochs=1), method, device="cpu", progress=False)
        assert math.isfinite(history.curve[0]["loss"])


def test_options_that_cannot_be_are_refused_in_one_line(held):
    """Before anything is run: an option that there is not, NaN, a number far below zero, a word that means nothing."""
    with pytest.raises((TypeError, InputError)):
        held.make(no_such_option=1)
    bad = {int: -(10**9), float: math.nan, str: "no such word"}
    for option, kind in held.options.items():
        with pytest.raises(InputError) as caught:
            held.make(**{option: bad[kind]})
        said = str(caught.value)
        assert "\n" not in said
        assert option in said or str(bad[kind]) in said, (
            f"{option}={bad[kind]!r} is refused without being named: {said}"
        )
