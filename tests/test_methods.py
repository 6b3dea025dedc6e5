"""Our own methods are held to the contract for anybody's; and what of methods is listed, is what they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prune_lib.nets import ARCHS
from prune_lib.papers import METHODS, make_method
from prune_lib.papers.methods import CHOOSES_WIDTHS, FROM_FRESH, PRUNES_TRAINED
from prune_lib.papers.named import method_named
from prune_lib.runs.contract import *  # noqa: F403
from prune_lib.system.errors import InputError

OPTIONS = {
    "cdp": {"sparsity": 0.5, "images": 80},
    "cfdp": {"variant": "corrected", "images": 80},
    "criterion": {"criterion": "l1", "images": 80},
    "filterexpo": {"sparsity": 0.5},
}
CLAUSES = 12  # tests for each method
PRUNING_METHODS = [
    " ".join([f"prune_lib.papers{place}", *(f"{option}={value}" for option, value in OPTIONS.get(name, {}).items())])
    for name, place in METHODS.items()
]


def test_what_is_listed_of_methods_is_what_they_are():
    made = {name: make_method(name, ARCHS["resnet20"], **OPTIONS.get(name, {})) for name in METHODS}
    assert {name for name, method in made.items() if method.prunes_trained} == set(PRUNES_TRAINED)
    assert {name for name, method in made.items() if method.chooses_widths} == set(CHOOSES_WIDTHS)
    assert set(FROM_FRESH) < set(METHODS) - set(PRUNES_TRAINED)


def test_a_method_or_option_that_is_not_there_is_named():
    with pytest.raises(InputError, match="unknown method 'x'; expected one of: dense dcff"):
        make_method("x", ARCHS["vgg16"])
    with pytest.raises(InputError, match="method dcff"):
        make_method("dcff", ARCHS["vgg16"], speed=3)


PAGE = Path(__file__).resolve().parent.parent / "book" / "howto" / "method.md"
BROKEN = """

import torch


class Broken(Smallest):
    steps = 0

    def __init__(self, arch, power: float = 1.0):
        self.arch, self.power = arch, power

    def begin(self, start):
        start.dense.train()
        super().begin(start)
        return {"drawn": torch.rand(()).item(), "figure": float("nan")}

    def after_step(self, model):
        self.steps += 1  # which its state forgets
        with torch.no_grad():
            model.linear.bias.add_(0.01 * self.steps)

    def export(self, model):
        compact = super().export(model)
        compact.bn1.bias.data.zero_()
        return compact
"""
BREAKS = [
    "a_second_run_is_the_same_bit_for_bit",
    "an_interrupted_run_ends_as_if_it_had_not_been",
    "options_that_cannot_be_are_refused_in_one_line",
    "the_exported_network_gives_what_the_trained_one_gives",
    "the_trained_network_that_it_begins_from_stays_as_it_was",
    "what_it_finds_can_be_recorded",
]


def _pytest(folder, *methods):
    """What a user's ``pytest --pruning-method …`` says in a folder that holds mine.py; and its exit status."""
    words = [word for method in methods for word in ("--pruning-method", method)]
    command = [sys.executable, "-m", "pytest", "-p", "prune_lib.runs.pytest_plugin", "-q", "-rfE", "--tb=no", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    return done.stdout + done.stderr, done.returncode


def test_the_example_of_the_page_keeps_the_contract_and_a_broken_one_breaks_it_where_it_is_broken(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.py").write_text(code + BROKEN)
    said, status = _pytest(tmp_path, "mine:Smallest power=2", "mine:Broken")
    failed = re.findall(r"^FAILED \S*::test_(\w+)\[mine:(\w+)", said, re.MULTILINE)
    assert status == 1, said
    assert sorted({clause for clause, _ in failed}) == BREAKS
    assert {method for _, method in failed} == {"Broken"}
    assert f"{2 * CLAUSES - len(failed)} passed" in said


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("mine", "'mine'; expected package.module:Class and then its options, such as sparsity=0.5"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("prune_lib.papers.dcff:X", "prune_lib.papers.dcff has no class X"),
        ("pathlib:Path", "Path has no prunes_trained; expected a class derived from prune_lib's Method"),
        ("prune_lib.papers.dcff:DCFF every", "'every' is no setting"),
    ],
)
def test_a_name_that_is_no_method_is_refused_in_one_line(method, words):
    with pytest.raises(InputError) as caught:
        method_named(method)
    assert words in str(caught.value)
