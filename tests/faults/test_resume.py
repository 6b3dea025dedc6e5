"""What a state holds, and what a record says of a run that was taken up again elsewhere or from other weights."""

import os
import random
import signal

import crash
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import nn

from prune_lib.cli import parser
from prune_lib.nets import build
from prune_lib.papers.method import Method
from prune_lib.runs import history, records, training
from prune_lib.runs.history import Saver
from prune_lib.runs.records import Run
from prune_lib.system import checkpoint
from prune_lib.system.errors import InputError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("prune_lib.tasks.registry.load", crash.small_digits)
    monkeypatch.setattr(Saver, "share", float("inf"))


def _killed_in_the_second_epoch(method="dcff", weights=None):
    def go():
        seen, step = [], training._Loop._step

        def die(*args):
            seen.append(1)
            if len(seen) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args)

        training._Loop._step = die
        crash.run(method, weights)

    assert crash.child(go) == -signal.SIGKILL


def _state(method):
    return Run(crash.row_of(method), "smoke", 0).folder / "state.safetensors"


@pytest.mark.parametrize("method", ["dcff", "filterexpo"])
def test_a_state_holds_all_that_a_training_goes_on_from(project, method):
    _killed_in_the_second_epoch(method)
    tensors, facts = checkpoint.read(_state(method))
    assert facts["part"]["step"] == 1
    assert set(facts["part"]) == {"step", "figures", "sums", "seconds"}
    assert {"device", "name", "torch", "threads", "processes", "precision", "engine", "deterministic"} == set(
        facts["here"]
    )
    kinds = {name.split("/")[0] for name in tensors}
    assert kinds == {"model", "optimizer", "weights", "random"} | ({"method"} if method == "filterexpo" else set())
    assert {"random/torch", "random/python", "random/numpy"} <= set(tensors)
    if method == "dcff":
        assert {name.rsplit(".", 1)[-1] for name in tensors if "parametrizations" in name} >= {"scores", "proxy"}
    else:
        assert {name.split("/")[1] for name in tensors if name.startswith("method/")} == {"keep", "memory"}


def test_all_random_generators_come_back():
    random.seed(1), np.random.seed(2), torch.manual_seed(3), random.gauss(0, 1), np.random.randn()
    found = {name: tensor.clone() for name, tensor in history.generators("cpu").items()}
    first = [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand(), torch.rand(2).tolist()]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    history.set_generators(found, "cpu")
    assert [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand(), torch.rand(2).tolist()] == first


class Drawing(Method):
    """A method that draws from every global generator in every step."""

    def after_step(self, model):
        with torch.no_grad():
            model.linear.bias.add_(0.01 * random.random() + 0.01 * np.random.rand() + 0.01 * torch.rand(10))


def test_what_draws_from_global_generators_goes_on_bit_for_bit(tmp_path):
    """Dropout, and a method that draws, interrupted within an epoch."""
    data = tiny.digits()

    def fit(**options):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        model = tiny.Net()
        model.flatten = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
        return tiny.fit(data, Drawing(), model=model, **options)

    def stop(self, model, after=Drawing.after_step):
        seen.append(1)
        if len(seen) == 8:
            raise KeyboardInterrupt
        after(self, model)

    seen, whole = [], fit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "after_step", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(state=tmp_path / "s", save_every=0.0)
    again = fit(state=tmp_path / "s")
    assert checkpoint.digest(again.weights["last"]) == checkpoint.digest(whole.weights["last"])


def test_a_resume_in_the_same_circumstances_says_that_it_is_exact(project):
    _killed_in_the_second_epoch()
    provenance = crash.run("dcff", None)["provenance"]
    assert provenance["resumed"] == [{"epoch": 2, "step": 1, "changed": {}}]
    assert provenance["bit_exact"] is True
    assert "inexact" not in provenance


@pytest.mark.parametrize(
    ("name", "was"), [("threads", 7), ("torch", "2.0.0"), ("device", "cuda"), ("name", "AVX"), ("deterministic", False),
                      ("processes", 4), ("engine", "graph"), ("precision", "fp16")],
)  # fmt: skip
def test_a_resume_that_cannot_be_exact_goes_on_and_says_why(project, name, was, injected):
    _killed_in_the_second_epoch()
    tensors, facts = checkpoint.read(_state("dcff"))
    now = facts["here"][name]
    facts["here"][name] = was
    checkpoint.write(_state("dcff"), tensors, facts)
    record = crash.run("dcff", None)
    provenance = record["provenance"]
    assert record["status"] == "finished"
    assert provenance["bit_exact"] is False
    assert provenance["resumed"] == [{"epoch": 2, "step": 1, "changed": {name: [was, now]}}]
    assert provenance["inexact"] == [f"epoch 2, step 1: {name} was {was}, is {now}"]
    injected("resumes elsewhere", 1)


def test_a_run_that_was_never_interrupted_says_nothing_of_it(project):
    assert not {"resumed", "bit_exact", "inexact"} & set(crash.run("dcff", None)["provenance"])


@pytest.fixture
def two(tmp_path):
    """Two files of weights for the same network."""
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"dense{seed}.safetensors")
        save_file(build("resnet20").state_dict(), paths[-1])
    return paths


def test_a_record_from_other_weights_is_not_passed_off_as_this_run(project, two, monkeypatch, capsys):
    monkeypatch.setattr("prune_lib.papers.rows.get_row", lambda name: crash.row_of("cdp"))
    record = crash.run("cdp", two[0])
    assert crash.run("cdp", two[0])["networks"] == record["networks"]
    words = ["run", "faults/small/cdp", "--device", "cpu", "--weights"]
    assert parser.main([*words, str(two[1])]) == 2
    said = capsys.readouterr().err
    assert len([line for line in said.splitlines() if line.startswith("prune: ")]) == 1
    assert "has a record made from other weights (dense0.safetensors, sha256 " in said
    assert said.rstrip().endswith("expected those, or another --seed")
    assert parser.main([*words, str(two[0])]) == 0
    assert len(list(records.records(crash.row_of("cdp")))) == 1


def test_a_state_from_other_weights_is_not_gone_on_from(project, two):
    _killed_in_the_second_epoch("cdp", two[0])
    before = _state("cdp").read_bytes()
    with pytest.raises(InputError, match=r"belongs to another run .* from .*; expected .* from .*; move it away"):
        crash.run("cdp", two[1])
    assert _state("cdp").read_bytes() == before
    assert crash.run("cdp", two[0])["provenance"]["bit_exact"] is True


def test_the_generator_of_a_card_is_kept_for_a_card_alone(monkeypatch):
    """There is no card here: what stands in for one holds its state, and is asked for the right device."""
    card, asked = {"cuda:1": torch.arange(16, dtype=torch.uint8)}, []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: card[device].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked.append((device, state.tolist())))
    kept = history.generators("cuda:1")
    assert "cuda" not in history.generators("cpu")
    card["cuda:1"] += 1
    history.set_generators(kept, "cuda:1")
    assert asked == [("cuda:1", list(range(16)))]
    history.set_generators(kept, "cpu")  # taken up without it: the resume is said to be inexact, see above
    history.set_generators(history.generators("cpu"), "cuda:1")
    assert len(asked) == 1
