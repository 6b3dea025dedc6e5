import copy
import dataclasses
import math
import os
import platform
import shutil
import signal
import subprocess
import sys

import pytest
import tiny
import torch
from torch import nn

from prune_lib.cli import completion
from prune_lib.papers.dcff import DCFF
from prune_lib.papers.method import Method
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import get_row
from prune_lib.runs.engines import ENGINES
from prune_lib.runs.history import Diverged, History
from prune_lib.runs.progress import Progress
from prune_lib.runs.training import evaluate
from prune_lib.system import checkpoint
from prune_lib.system.device import pick_device
from prune_lib.system.errors import InputError
from prune_lib.tasks import load


def test_the_step_schedule_is_the_papers():
    recipe = Recipe()
    for epoch, lr in {0: 0.1, 149: 0.1, 150: 0.01, 224: 0.01, 225: 0.001, 299: 0.001}.items():
        assert recipe.lr_at(epoch, 0, 196) == pytest.approx(lr)
        assert recipe.lr_at(epoch, 195, 196) == pytest.approx(lr)


def test_the_cosine_schedule_falls_to_zero_after_the_warm_up():
    recipe = Recipe(epochs=25, lr=0.4, schedule="cosine", warmup=5)
    assert recipe.lr_at(5, 0, 10) == pytest.approx(0.4)
    assert recipe.lr_at(15, 3, 10) == pytest.approx(0.2)
    assert recipe.lr_at(20, 9, 10) == pytest.approx(0.2 * (1 + math.cos(math.pi * 0.75)))
    assert Recipe(epochs=2, schedule="cosine").lr_at(1, 0, 1) == pytest.approx(0.05)


def test_the_warm_up_rises_step_by_step():
    recipe = Recipe(epochs=10, lr=1.0, warmup=2)
    got = [recipe.lr_at(epoch, step, 4) for epoch in (0, 1, 2) for step in range(4)]
    assert got == pytest.approx([i / 8 for i in range(1, 9)] + [1.0] * 4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lr": "1e-3"}, r"lr is '1e-3', str; expected float \(in YAML write 1.0e-3, not 1e-3\)"),
        ({"momentun": 0.9}, "unknown field 'momentun'; expected one of: data epochs"),
        ({"epochs": 3.0}, "epochs is 3.0, float; expected int"),
        ({"epochs": True}, "epochs is True, bool; expected int"),
        ({"nesterov": 1}, "nesterov is 1, int; expected bool"),
        ({"milestones": 0.5}, "milestones is 0.5, float; expected tuple"),
        ({"train_images": "all"}, "train_images is 'all', str; expected int"),
        ({"lr": None}, "lr is None, NoneType; expected float"),
        ({"epochs": 0}, "epochs is 0; expected 1"),
        ({"batch_size": -1}, "batch_size is -1; expected 1"),
        ({"lr": -0.1}, "lr is -0.1; expected 0"),
        ({"lr": float("nan")}, "lr is nan; expected 0"),
        ({"momentum": 1.5}, "momentum is 1.5; expected 0"),
        ({"schedule": "saw"}, "schedule is 'saw'; expected one of: step linear cosine"),
        ({"milestones": [0.5, 150]}, "expected fractions of the epochs"),
    ],
)
def test_a_recipe_that_is_not_one_is_refused_by_name(fields, words):
    with pytest.raises(InputError, match=words) as refusal:
        Recipe.from_dict(fields)
    assert "\n" not in str(refusal.value)


def test_a_recipe_takes_whole_numbers_and_lists_and_names_what_differs():
    recipe = Recipe.from_dict({"lr": 1, "milestones": [0.3, 0.6], "train_images": None, "epochs": 300})
    assert recipe.not_default() == {"lr": 1.0, "milestones": (0.3, 0.6)}
    assert type(recipe.lr) is float
    assert Recipe().not_default() == {}


@pytest.fixture(scope="module")
def data():
    return tiny.digits()


@pytest.fixture(scope="module")
def whole(data):
    """The training that the interrupted ones below must equal."""
    return tiny.fit(data)


def _curve(history):
    """The figures of each epoch, all but the time it took."""
    times = ("seconds", "images_per_second")
    return [{name: value for name, value in epoch.items() if name not in times} for epoch in history.curve]


def _same(history, other):
    shas = [{p: checkpoint.digest(weights) for p, weights in h.weights.items()} for h in (history, other)]
    return _curve(history) == _curve(other) and shas[0] == shas[1]


def test_a_training_follows_from_its_seed_and_learns(data, whole):
    assert _same(tiny.fit(data), whole)
    assert not _same(tiny.fit(data, seed=1), whole)
    assert whole.curve[-1]["loss"] < whole.curve[0]["loss"]
    assert [e["epoch"] for e in whole.curve] == [0, 1, 2, 3]
    assert [e["lr"] for e in whole.curve] == [pytest.approx(lr) for lr in (0.05, 0.05, 0.005, 0.0005)]


@pytest.mark.parametrize("protocol", ["last", "selected", "test_best"])
def test_each_protocols_weights_score_what_the_curve_says(data, whole, protocol):
    model = tiny.Net()
    model.load_state_dict(whole.weights[protocol])
    top1, epoch = whole.top1(protocol)
    assert whole.curve[epoch]["test_top1"] == top1
    assert evaluate(model, data, data.test) == {"top1": pytest.approx(top1)}
    assert evaluate(model, data, data.heldout) == {"top1": pytest.approx(whole.curve[epoch]["heldout_top1"])}


class Interrupted(DCFF):
    def on_epoch(self, model, epoch, epochs):
        if epoch == 2:
            raise KeyboardInterrupt
        return super().on_epoch(model, epoch, epochs)


@pytest.fixture
def two_epochs(data, tmp_path):
    """The state of a training that was interrupted after two of its four epochs."""
    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(data, Interrupted(tiny.BANKS), state=state)
    return state


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(data, whole, two_epochs):
    torch.manual_seed(99)  # whatever a new process would start from
    model = tiny.Net()
    assert len(checkpoint.read(two_epochs)[1]["curve"]) == 2
    assert _same(tiny.fit(data, model=model, state=two_epochs), whole)


def test_a_training_whose_newest_state_is_damaged_goes_on_from_the_one_before(data, whole, two_epochs, capsys):
    two_epochs.write_bytes(two_epochs.read_bytes()[:-100])
    assert len(checkpoint.read(two_epochs)[1]["curve"]) == 1
    assert "damaged" in capsys.readouterr().out
    assert _same(tiny.fit(data, state=two_epochs), whole)


def test_a_training_interrupted_within_an_epoch_goes_on_from_its_last_step(data, whole, tmp_path):
    """The third epoch has three steps; it is interrupted before each, with the state saved after every step."""
    for before in (6, 7, 8):
        torch.manual_seed(0)
        state, model, steps = tmp_path / str(before), tiny.Net(), []

        def stop(module, _, steps=steps, before=before):
            if module.training:
                if len(steps) == before:
                    raise KeyboardInterrupt
                steps.append(1)

        hook = model.register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            tiny.fit(data, model=model, state=state, save_every=0)
        hook.remove()
        assert checkpoint.read(state)[1]["part"].get("step", 0) == before - 6
        counted = tiny.Net()
        counted.register_forward_pre_hook(lambda module, _, steps=steps: steps.append(1) if module.training else None)
        assert _same(tiny.fit(data, model=counted, state=state), whole)
        assert len(steps) == 12  # no step was done twice


def test_mixup_mixes_pairs_and_their_labels(data):
    recipe = dataclasses.replace(tiny.RECIPE, mixup=0.2)
    mixed, again = (tiny.fit(data, recipe=recipe) for _ in range(2))
    assert _same(mixed, again)
    assert mixed.curve[-1]["loss"] > tiny.fit(data).curve[-1]["loss"]  # a mixed label is never certain


def test_a_finished_training_is_not_trained_again(data, whole, tmp_path):
    class Refuses(DCFF):
        def on_epoch(self, model, epoch, epochs):
            raise AssertionError("trained again")

    state = tmp_path / "state.safetensors"
    tiny.fit(data, state=state)
    before = state.read_bytes()
    assert _same(tiny.fit(data, Refuses(tiny.BANKS), state=state), whole)
    assert state.read_bytes() == before


def test_the_state_of_another_run_is_refused(data, two_epochs):
    before = two_epochs.read_bytes()
    with pytest.raises(InputError, match=r"belongs to another run \(tiny\); expected other; move it away"):
        tiny.fit(data, state=two_epochs, identity="other")
    assert two_epochs.read_bytes() == before


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with the state of one training for each moment of ``tiny.KILLS`` at which it was killed."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, tiny.__file__, str(folder), str(torch.get_num_threads())]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == [str(-signal.SIGKILL)] * len(tiny.KILLS)
    return folder


@pytest.mark.parametrize("when", tiny.KILLS)
def test_a_killed_training_goes_on_as_if_it_had_not_been(data, whole, killed, when):
    state = killed / when
    assert state.exists()
    assert len(checkpoint.read(state)[1]["curve"]) == (3 if when == "between renames" else 2)
    assert _same(tiny.fit(data, state=state), whole)


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_state_before(data, tmp_path):
    class Breaks(Method):
        def on_epoch(self, model, epoch, epochs):
            if epoch == 1:
                nn.init.constant_(model.linear.bias, float("nan"))
            return {}

    state = tmp_path / "state.safetensors"
    with pytest.raises(Diverged, match="epoch 2: the training loss is nan; expected a number"):
        tiny.fit(data, Breaks(), state=state)
    tensors, facts = checkpoint.read(state)
    assert [epoch["epoch"] for epoch in facts["curve"]] == [0]
    assert tensors["model/linear.bias"].isfinite().all()


def test_protocols_pick_their_epochs_and_ties_go_to_the_earlier():
    heldout, test = [40, 60, 50, 60, 10], [30, 20, 70, 70, 50]
    history = History(
        [{"epoch": e, "heldout_top1": h, "test_top1": t} for e, (h, t) in enumerate(zip(heldout, test, strict=True))]
    )
    assert history.top1("last") == (50, 4)
    assert history.top1("selected") == (20, 1)
    assert history.top1("test_best") == (70, 2)


def test_evaluation_weighs_every_image_the_same(data, shaken):
    model = shaken(tiny.Net())
    correct = [
        model(data.normalise(image[None])).argmax().item() == label.item()
        for image, label in zip(data.test.images, data.test.labels, strict=True)
    ]
    assert evaluate(model, data, data.test) == {"top1": pytest.approx(100 * sum(correct) / 100)}
    assert evaluate(model, data, data.test.take(torch.arange(0))) == {}


def test_the_dense_method_leaves_the_network_as_it_is(data):
    model = tiny.Net()
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    history = tiny.fit(data, Method(), recipe=recipe, model=model)
    assert checkpoint.digest(history.weights["last"]) == checkpoint.digest(model.state_dict())


def test_the_schedule_is_followed_and_each_epoch_draws_its_own_crops(data):
    """Once the learning rate is 0 the weights stay, and losses differ only by what the epochs draw."""
    seen = []

    class Looks(Method):
        def export(self, model):
            seen.append(checkpoint.digest(dict(model.named_parameters())))
            return super().export(model)

    recipe = dataclasses.replace(tiny.RECIPE, epochs=3, warmup=0, milestones=(0.3,), gamma=0.0)
    model = tiny.Net()
    start = checkpoint.digest(dict(model.named_parameters()))
    history = tiny.fit(data, Looks(), recipe=recipe, model=model)
    assert [epoch["lr"] for epoch in history.curve] == [0.05, 0.0, 0.0]
    assert seen[0] == seen[1] == seen[2] != start
    assert len({epoch["loss"] for epoch in history.curve}) == 3


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"device '{name}' is not usable here"):
        pick_device(name)


def test_freed_memory_is_kept_for_the_next_tensors():
    """In a process of its own, since what malloc was told stays: how often pages of 64 MiB are brought in again.

    glibc aligns a block by splitting off a few bytes, which its thread cache keeps, seven of a size, so that a freed
    block can be a little too small for the next: only after up to nine blocks, by where the heap happens to begin,
    does one lie where another was.
    """
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("this machine's C library is not glibc")
    code = """
import resource, sys, torch
from prune_lib.system.device import keep_freed_memory
keep_freed_memory()
for _ in range(32):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}

    def faults(**environment):
        command = [sys.executable, "-c", code]
        return int(subprocess.run(command, env=plain | environment, capture_output=True, check=True, text=True).stdout)

    pages = 2**26 // os.sysconf("SC_PAGE_SIZE")
    assert faults(MALLOC_MMAP_THRESHOLD_=str(2**20)) > 7 * pages  # what the user set is left as it is
    assert faults() < pages


def test_every_row_has_a_recipe_for_each_budget():
    recipes = get_row("dcff/cifar10/vgg16").recipes
    assert recipes["paper"] == Recipe()
    assert (recipes["short"].epochs, recipes["short"].batch_size, recipes["smoke"].data) == (6, 64, "digits")


OF_TORCH = pytest.mark.filterwarnings("ignore:Skipping serialization")  # torch 2.6, about settings of its own
COMPILER = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@OF_TORCH
@pytest.mark.parametrize(
    ("method", "engine"),
    [
        pytest.param(None, "graph", id="dcff"),
        pytest.param(Method(), "graph", id="dense"),
        pytest.param(None, "compile", marks=COMPILER, id="compiled"),
    ],
)
def test_an_engine_gives_the_same_numbers(data, method, engine):
    """Without a GPU the graph's buffers and its learning rate in memory are what is tested, not the capture."""
    recipe = dataclasses.replace(tiny.RECIPE, cutout=4)
    eager, faster = (tiny.fit(data, method, recipe=recipe, engine=name, precision="fp32") for name in ("eager", engine))
    for one, other in zip(eager.curve, faster.curve, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["test_top1"] == pytest.approx(one["test_top1"], abs=1.1)


def test_an_engine_that_cannot_is_refused(data):
    with pytest.raises(InputError, match="unknown engine 'x'; expected one of: eager graph"):
        tiny.fit(data, engine="x")
    assert tuple(completion.WORDS["engine"]()) == tuple(ENGINES)
    for engine in ("graph", "compile"):
        with pytest.raises(InputError, match=f"engine {engine} is for one process"):
            tiny.fit(data, engine=engine, recipe=dataclasses.replace(tiny.RECIPE, mixup=0.2))


@OF_TORCH
def test_a_machine_without_a_compiler_is_told_so(data, monkeypatch, tmp_path):
    import torch._inductor.config as config

    monkeypatch.setattr(config.cpp, "cxx", (str(tmp_path / "c++"),))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    with pytest.raises(InputError, match=r"engine compile cannot run here: .*compiler.*; expected eager or graph"):
        tiny.fit(data, engine="compile", recipe=dataclasses.replace(tiny.RECIPE, batch_size=20))


def test_fifty_steps_are_those_of_a_plain_loop():
    """The same images in the same order through a loop anybody would write, in float32."""
    digits = load("digits", heldout=0)
    recipe = Recipe(data="digits", epochs=2, batch_size=50, lr=0.05, momentum=0.9, weight_decay=5e-4)
    seen = []

    class Watched(Method):
        def after_step(self, model):
            seen.append([p.detach().clone() for p in model.parameters()])

    torch.manual_seed(3)
    model = tiny.Net()
    plain = copy.deepcopy(model)
    history = tiny.fit(digits, Watched(), recipe=recipe, model=model, precision="fp32")
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    steps = 0
    for epoch in range(2):
        losses = []
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(epoch, 0, 30)
        for images, labels in digits.batches(50, torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(plain(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item() * len(labels))
            for mine, theirs in zip(plain.parameters(), seen[steps], strict=True):
                torch.testing.assert_close(mine.detach(), theirs, rtol=1e-3, atol=1e-5)
            steps += 1
        assert history.curve[epoch]["loss"] == pytest.approx(sum(losses) / len(digits.train), rel=1e-5)
    assert steps >= 50


@pytest.mark.parametrize("live", [True, False])
def test_progress_shows_rate_time_left_and_best(live, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: live)
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr("prune_lib.runs.progress.time.perf_counter", lambda: next(clock))
    with Progress(3, 100, 100, True) as progress:
        for epoch in (1, 2):
            progress.begin(epoch)
            progress.step(60)
            progress.step(40)
            progress.end(epoch, {"loss": 1.23456, "test_top1": 80.0 - epoch}, {"test_top1": 79.0})
    said = capsys.readouterr().err
    if live:
        assert "epoch 3/3" in said
        assert "300/300" in said
        assert "img/s" in said
    else:
        assert said == (
            "epoch 2/3, 50 img/s, 2 s left, loss 1.235, test_top1 79, best test_top1 79\n"
            "epoch 3/3, 50 img/s, 0 s left, loss 1.235, test_top1 78, best test_top1 79\n"
        )


def test_progress_that_is_not_asked_for_says_nothing(capsys):
    with Progress(1, 10, 0, False) as progress:
        progress.begin(0)
        progress.step(10)
        progress.end(0, {"loss": 1.0}, {})
    assert capsys.readouterr().err == ""
