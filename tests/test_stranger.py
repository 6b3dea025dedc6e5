"""A stranger's additions, each in a copy of the library: a criterion, a counting rule, a paper."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "prune_lib"


@pytest.fixture
def copy(tmp_path):
    """A copy of the library alone, in a folder without the project."""
    shutil.copytree(PACKAGE, tmp_path / "prune_lib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "prune_lib"


def insert(path, before, text):
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, before
    path.write_text(source.replace(before, text + before), encoding="utf-8")


def python(copy, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRUNE_")}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_criterion_is_one_function_and_one_line(copy):
    file = copy / "papers" / "criteria.py"
    insert(
        file,
        "def l2(",
        "def largest(group, seen):\n    return group.sum(lambda layer: layer.filters.abs().amax(1))\n\n\n",
    )
    insert(file, '    "l2": Criterion(', '    "largest": Criterion("criteria:largest", "weights", "a stranger"),\n')
    script = """
import torch
from torch import nn
import prune_lib
from prune_lib.nets import arch_of, build
from prune_lib.papers.arena import ByCriterion
from prune_lib.papers.criteria import groups_of, importance
torch.manual_seed(0)
network = build("resnet20")
ByCriterion(arch_of("resnet20"), "largest")  # the papers' networks, by a row's method
group = groups_of(arch_of("resnet20"), network)[1]
scores = importance("largest")(group, None)
assert torch.equal(scores, group.layers[0].module.weight.abs().flatten(1).amax(1).double())
convs = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
own = nn.Sequential(*convs, nn.Flatten(), nn.Linear(64, 2))
pruned = prune_lib.prune(own, torch.randn(2, 3, 8, 8), "largest", flops=0.6)  # and anybody's
best = own[0].weight.abs().flatten(1).amax(1).topk(pruned.widths["0"]).indices.sort().values
print(torch.equal(pruned.kept["0"].nonzero().flatten(), best))
"""
    assert python(copy, "-c", script).strip() == "True"


def test_a_counting_rule_is_one_entry(copy):
    twice = (
        '        Rule("twice", "2 per multiply-accumulate", {k: lambda x, c=c: 2 * c(x) for k, c in _MACS.items()}),\n'
    )
    insert(copy / "cost" / "rules.py", '        Rule("macs", ', twice)
    lines = python(copy, "-m", "prune_lib", "cost", "resnet20", "--rule", "all").splitlines()
    found = {line.split()[0]: int(line.split()[1].replace(",", "")) for line in lines[2:] if line and ":" not in line}
    assert found["twice"] == 2 * found["macs"] == 2 * 40_551_040


def test_a_paper_is_a_method_a_table_and_a_line(copy):
    (copy / "papers" / "foo.py").write_text(
        'from .method import Method\n\n\nclass Foo(Method):\n    """Trains the compact network, and says so."""\n\n'
        '    def found(self):\n        return {"said": "foo"}\n',
        encoding="utf-8",
    )
    insert(copy / "papers" / "methods.py", '    "dcff": ', '    "foo": ".foo:Foo",\n')
    (copy / "papers" / "foo.yaml").write_text(
        """
paper: {title: Foo, short: FOO, authors: A. Stranger, link: none, cite: foo2026}
tables:
  cifar10:
    title: FOO on CIFAR-10
    dataset: CIFAR-10
    source: its table 1
    rule: thop-0.0.31
    method: {name: foo}
    recipe: {}
    budgets: {smoke: {data: digits, epochs: 1, batch_size: 32, lr: 0.05, heldout: 20, train_images: 80}}
    rows:
      resnet20: {title: ResNet-20, arch: resnet20, rates: "[0.8]*12", reported: {flops: 3.00M, top1: 90.00%}}
""",
        encoding="utf-8",
    )
    table = python(copy, "-m", "prune_lib", "table", "foo/cifar10")
    assert "source inconsistent" in table  # 3.00M is not what the rates give
    assert "not attempted" in table
    assert "foo/cifar10/resnet20" in python(copy, "-m", "prune_lib", "rows")
    said = python(copy, "-m", "prune_lib", "run", "foo/cifar10/resnet20", "--device", "cpu", "--quiet", "--json")
    assert '"said": "foo"' in said
