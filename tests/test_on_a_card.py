"""What would go wrong on a card, shown on a CPU: a stand-in for what differs there in each test."""

import dataclasses

import pytest
import tiny
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from prune_lib.nets import ARCHS, build
from prune_lib.nets.slim import mask, slim
from prune_lib.papers.method import Method
from prune_lib.runs import history, training
from prune_lib.runs.engines import GraphedStep
from prune_lib.runs.execution import Execution
from prune_lib.system import checkpoint
from prune_lib.system import device as devices
from prune_lib.system.errors import InputError
from prune_lib.tasks import classification

CARD = torch.device("cuda", 1)


class Tf32(TorchDispatchMode):
    """Convolutions as cudnn does them by default: float32 rounded to 10 bits of mantissa."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            args = tree_map(_rounded, args[:2]) + args[2:]
        return func(*args, **(kwargs or {}))


def _rounded(tensor):
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 2**12) & ~(2**13 - 1)).view(torch.float32).view(tensor.shape)


def test_a_masked_network_and_its_smaller_one_are_compared_where_nothing_is_rounded(shaken):
    arch, model = ARCHS["resnet20"], shaken(build("resnet20"))
    keep = {conv: torch.arange(n) % 3 > 0 for conv, n in arch.filters.items()}
    mask(model, arch, keep)
    with Tf32(), torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        compact = slim(model, arch, keep)
        off = (compact.eval()(images) - model.eval()(images)).abs().max()
    assert off > 1e-5  # so much that comparing them in float32 would refuse them
    with torch.no_grad():
        torch.testing.assert_close(compact(images), model(images), rtol=1e-5, atol=1e-5)


class Recorded(TorchDispatchMode):
    """Records every operation; ``replay`` does them again on the same memory, as a CUDA graph does.

    A capture does not run what it records, and this does, so the first replay, of the same step, does nothing.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.played = [], False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self):
        if not self.played:
            self.played = True
            return
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


@pytest.fixture
def card(monkeypatch):
    """Engine graph on the CPU with captures that are recorded; gives the graphs that were made."""
    made = []

    class Graph(GraphedStep):
        def __init__(self, step, device, size):
            super().__init__(step, torch.device("cuda"), size)
            made.append(self)

        def _aside(self, work):
            work()

    monkeypatch.setattr(training, "GraphedStep", Graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", lambda recorded: recorded)
    return made


FLAT = dataclasses.replace(tiny.RECIPE, warmup=0, milestones=(0.9,), gamma=1.0, epochs=5)


def test_a_graph_resumed_at_a_last_smaller_batch_is_of_whole_batches(card, tmp_path):
    data, state = tiny.digits(), tmp_path / "state"
    whole = tiny.fit(data, Method(), recipe=FLAT, precision="fp32")

    class Stops(Method):
        def on_step(self, model, step, steps):
            if step == 5:  # 80 images are two batches of 32 and one of 16: step 5 is the last of the second epoch
                raise KeyboardInterrupt
            return {}

    with pytest.raises(KeyboardInterrupt):
        tiny.fit(data, Stops(), recipe=FLAT, precision="fp32", engine="graph", state=state, save_every=0)
    resumed = tiny.fit(data, Method(), recipe=FLAT, precision="fp32", engine="graph", state=state, save_every=0)
    assert resumed.resumed[0]["step"] == 2
    assert [len(graph.images) for graph in card] == [32, 32]
    assert card[1].graph is not None
    assert card[1].graph.played
    losses = [[epoch["loss"] for epoch in run.curve] for run in (whole, resumed)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_the_optimizer_keeps_comes_back_as_its_parameters_lie(tmp_path, monkeypatch, optimizer):
    """Fused steps, as a card has them, refuse momentum of another layout than the parameter's."""
    data, state, seen = tiny.digits(), tmp_path / "state", []
    recipe = dataclasses.replace(tiny.RECIPE, optimizer=optimizer, epochs=2, lr=0.01)
    restore = history.resume

    def spy(state, identity, model, optimizer, *rest):
        found = restore(state, identity, model, optimizer, *rest)
        seen.append([(p.stride(), t.stride()) for p, kept in optimizer.state.items() for t in kept.values() if t.dim()])
        return found

    monkeypatch.setattr(training, "resume", spy)

    class Stops(Method):
        def on_epoch(self, model, epoch, epochs):
            if epoch == 1:
                raise KeyboardInterrupt
            return {}

    with pytest.raises(KeyboardInterrupt):
        tiny.fit(data, Stops(), recipe=recipe, state=state)
    tiny.fit(data, Method(), recipe=recipe, state=state)
    assert seen[0] == []
    assert len(seen[1]) == 9 * (2 if optimizer == "adam" else 1)
    assert all(own == kept for own, kept in seen[1])
    assert any(own != torch.empty(shape).stride() for (own, _), shape in zip(seen[1], [(4, 3, 3, 3)], strict=False))


def test_a_card_that_is_named_becomes_the_current_one(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("current", device)))
    monkeypatch.setattr(devices.torch, "zeros", lambda *size, device: calls.append(("used", device)))
    assert devices.pick_device("cuda:1") == CARD
    assert calls == [("current", CARD), ("used", CARD)]


@pytest.mark.parametrize(
    ("capability", "picked"), [((7, 0), "fp32"), ((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_bf16_is_picked_where_it_is_multiplied_and_not_where_it_is_emulated(monkeypatch, capability, picked):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # what torch says of a T4 and a V100 too
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.pick_precision(CARD) == picked
    assert devices.pick_precision(CARD, "bf16") == "bf16"
    if picked == "fp32":
        with pytest.raises(InputError, match="precision tf32 is for CUDA cards of compute capability 8 or more"):
            devices.pick_precision(CARD, "tf32")
    else:
        assert devices.pick_precision(CARD, "tf32") == "tf32"
    with pytest.raises(InputError, match="unknown precision 'fp8'; expected one of: fp32 tf32 bf16 fp16"):
        devices.pick_precision(CARD, "fp8")


def test_tf32_is_off_unless_it_was_asked_for(monkeypatch):
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    tiny.fit(tiny.digits(), Method(), recipe=recipe, precision="fp32")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    devices.allow_tf32(True)
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    devices.allow_tf32(False)


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_is_deterministic_unless_speed_was_asked_for(deterministic):
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    tiny.fit(tiny.digits(), Method(), recipe=recipe, precision="fp32", deterministic=deterministic)
    assert torch.backends.cudnn.deterministic is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic
    assert Execution(deterministic=deterministic).facts() == {"cudnn_deterministic": deterministic}
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


@pytest.mark.parametrize("scale", [0.0, 128.0])
def test_fp16_scales_its_loss_and_is_resumed_with_the_scale_that_it_had(tmp_path, scale):
    data, recipe = tiny.digits(), dataclasses.replace(tiny.RECIPE, epochs=3)
    options = {"recipe": recipe, "precision": "fp16", "loss_scale": scale}
    whole = tiny.fit(data, Method(), **options)
    exact = tiny.fit(data, Method(), recipe=recipe, precision="fp32")
    assert whole.curve[-1]["loss"] == pytest.approx(exact.curve[-1]["loss"], rel=0.02)
    assert whole.curve[-1]["loss"] != exact.curve[-1]["loss"]

    class Stops(Method):
        def on_epoch(self, model, epoch, epochs):
            if epoch == 2:
                raise KeyboardInterrupt
            return {}

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(data, Stops(), state=state, **options)
    kept = checkpoint.read(state)[1]["scaler"]
    assert kept["scale"] == (scale or 65536.0)
    assert tiny.fit(data, Method(), state=state, **options).curve[-1]["loss"] == whole.curve[-1]["loss"]


def test_a_scale_is_of_fp16_and_numbers_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="loss-scale 128 is for precision fp16"):
        Execution(loss_scale=128.0, precision="bf16")
    with pytest.raises(InputError, match="micro-batch is -1; expected"):
        Execution(micro_batch=-1)
    assert Execution(precision="fp16", loss_scale=128.0, micro_batch=8).facts() == {
        "cudnn_deterministic": True, "micro_batch": 8, "batch_norm": "of micro-batches, not of whole batches",
        "loss_scale": 128.0,
    }  # fmt: skip


class Plain(nn.Sequential):
    """Without BatchNorm, so that an image's loss does not depend on the others."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=4)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(256, 10)


@pytest.mark.parametrize("recipe", [tiny.RECIPE, dataclasses.replace(tiny.RECIPE, mixup=0.4, cutout=8, clip=0.5)])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(recipe):
    fitted, passed = [], []
    for micro_batch in (0, 7):  # 32 images are five parts of 6 or 7, the last batch's 16 are three
        torch.manual_seed(0)
        model = Plain()
        sizes: list[int] = []
        model.register_forward_pre_hook(
            lambda m, given, sizes=sizes: sizes.append(len(given[0])) if m.training else None
        )
        fitted.append(
            tiny.fit(tiny.digits(), Method(), recipe=recipe, model=model, precision="fp32", micro_batch=micro_batch)
        )
        passed.append(sizes)
    assert passed[0][:3] == [32, 32, 16]
    assert passed[1][:13] == [6, 7, 6, 7, 6, 6, 7, 6, 7, 6, 5, 6, 5]
    for name, tensor in fitted[0].weights["last"].items():
        torch.testing.assert_close(fitted[1].weights["last"][name], tensor, rtol=1e-4, atol=1e-5)
    losses = [[epoch["loss"] for epoch in run.curve] for run in fitted]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-5, atol=1e-6)
    counts = [[epoch["train_top1"] for epoch in run.curve] for run in fitted]
    assert counts[0] == counts[1]


def test_an_evaluation_that_does_not_fit_is_done_in_smaller_batches(monkeypatch):
    data, tried = tiny.digits(), []

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny.Net()

        def forward(self, images):
            tried.append(len(images))
            if len(images) > 20:
                raise torch.OutOfMemoryError
            return self.net(images)

    torch.manual_seed(0)
    model = Small()
    found = training.evaluate(model, data, data.test)
    assert tried[:3] == [classification.AT_ONCE, 32, 16]
    assert found == training.evaluate(model.net, data, data.test)
    monkeypatch.setattr(model.net, "forward", lambda images: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        training.evaluate(model, data, data.test)
