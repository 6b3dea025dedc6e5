"""Scores as a file, what is selected by them, and a run that begins from them."""

import json

import pytest
import torch

import prune_lib
from prune_lib.cli import main
from prune_lib.cost import cost, masked_flops
from prune_lib.nets import arch_of
from prune_lib.nets.units import read_units
from prune_lib.papers.cdp import keep_above
from prune_lib.papers.rows import get_row
from prune_lib.runs.scores import read_scores, select
from prune_lib.runs.settings import changed
from prune_lib.system import checkpoint
from prune_lib.system.errors import InputError

ROW = "cdp/resnet20-study/s30_cdp"
SMALL = ["epochs=1", "train_images=40", "heldout=10", "images=40"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The scores of a dense ResNet-20 that was trained for an epoch, and the weights."""
    home = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(home))
        row = changed("cdp/cifar10-dense/resnet20", "smoke", {"epochs": 1, "train_images": 40, "heldout": 10})
        prune_lib.run(row, "smoke", device="cpu", progress=False)
        (weights,) = home.rglob("last.safetensors")
        out = home / "scores.safetensors"
        words = ["score", ROW, "--budget", "smoke", "--weights", str(weights), "--out", str(out), "--device", "cpu"]
        assert main(words) == 0
        yield home, weights, out


def test_a_run_from_scores_is_the_run_that_scores_itself(scored, monkeypatch, capsys):
    home, weights, out = scored
    monkeypatch.setenv("PRUNE_HOME", str(home))
    made = {}
    for seed, scores in ((0, []), (0, ["--scores", str(out), "--again"])):
        words = ["run", ROW, "--seed", str(seed), "--weights", str(weights), "--device", "cpu", "--json", "--quiet"]
        assert main([*words, *scores, "--set", "epochs=1"]) == 0
        made[bool(scores)] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made[True]["metrics"] == made[False]["metrics"]
    assert made[True]["networks"] == made[False]["networks"]
    assert "scores" not in made[False]["found"]["start"]
    assert made[True]["found"]["start"]["scores"]["sha256"] == checkpoint.digest(read_scores(out).tensors)


def test_scores_say_what_they_were_found_from(scored):
    about = read_scores(scored[2]).about
    assert (about["row"], about["arch"], about["data"]) == (ROW, "resnet20", "digits")
    assert about["facts"]["images"] == 320
    assert len(about["facts"]["dense"]) == 64
    assert about["provenance"]["versions"]["torch"]


def test_other_facts_are_refused(scored, monkeypatch, capsys):
    home, weights, out = scored
    monkeypatch.setenv("PRUNE_HOME", str(home))
    words = ["run", ROW, "--weights", str(weights), "--scores", str(out), "--device", "cpu", "--again", "--quiet"]
    assert main([*words, "--set", "images=40", "epochs=1"]) == 2
    assert "scores: they were found with images 320; expected 40, as this row has it" in capsys.readouterr().err
    assert main(["run", "cdp/cifar10-dense/resnet20", "--scores", str(out), "--device", "cpu", "--again"]) == 2
    assert "scores no trained network; expected no scores" in capsys.readouterr().err
    assert main(["score", "cdp/cifar10-dense/resnet20", "--budget", "smoke", "--out", str(home / "x"), "-q"]) == 2
    capsys.readouterr()
    assert main(["score", "dcff/cifar10/vgg16", "--budget", "smoke", "--out", str(home / "x"), "--device", "cpu"]) == 2
    assert (
        "dcff scores no trained network; expected a row of one of: cdp cfdp hrank criterion" in capsys.readouterr().err
    )
    assert not (home / "x").exists()


def test_selection_by_each_budget(scored):
    scores, arch = read_scores(scored[2]), arch_of("resnet20")
    full = masked_flops("resnet20", dict(arch.filters))
    some = select(scores, sparsity=0.3)
    expected = keep_above(scores.tensors, 0.3)
    assert all(torch.equal(some.keep[conv], expected[conv]) for conv in arch.filters)
    by_flops = select(scores, flops=0.5)
    assert 0.47 * full < by_flops.masked_flops <= 0.5 * full
    by_macs = select(scores, macs=0.5)
    assert 0.49 * by_macs.full_macs < by_macs.macs <= 0.5 * by_macs.full_macs
    assert by_macs.macs == cost("resnet20", by_macs.widths, "macs").flops
    by_rates = select(scores, rates=get_row("arena/uniform50/l1").rates)
    assert by_rates.kept == by_rates.widths == get_row("arena/uniform50/l1").widths
    for given in ({}, {"sparsity": 0.1, "flops": 0.2}):
        with pytest.raises(InputError, match="expected one of: sparsity flops macs rates"):
            select(scores, **given)
    for given, words in (
        ({"sparsity": 1.0}, "share in"),
        ({"flops": 0.0}, "share of the full"),
        ({"macs": 2.0}, "share in"),
    ):
        with pytest.raises(InputError, match=words):
            select(scores, **given)


def test_the_widths_go_on_as_units(scored, monkeypatch, capsys):
    home, _, out = scored
    monkeypatch.chdir(home)
    assert main(["select", str(out), "--macs", "0.5", "--out", "units.yaml"]) == 0
    assert "removed: " in capsys.readouterr().out
    widths = read_units("units.yaml", "resnet20")
    assert main(["select", str(out), "--macs", "0.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["widths"] == widths
    assert {conv: len(filters) for conv, filters in told["filters"].items()} == told["kept"]


def test_what_is_no_file_of_scores_is_refused(scored, tmp_path):
    weights = scored[1]
    with pytest.raises(InputError, match="no scores at"):
        read_scores(tmp_path / "none")
    (tmp_path / "text").write_text("x")
    for path in (tmp_path / "text", weights):
        with pytest.raises(InputError, match=r"no scores, or damaged; expected a file from 'prune score'"):
            read_scores(path)
