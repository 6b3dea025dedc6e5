"""Our rules for the field's counters beside what their packages print, which ``benchmarks/counters.py`` wrote down."""

import json
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from prune_lib.cli.parser import main
from prune_lib.cost import COUNTERS, RULES, compare, compared, count, zoo
from prune_lib.cost.counters import POSTS, as_called
from prune_lib.cost.counting import layers_of
from prune_lib.nets import ARCHS, build
from prune_lib.system.errors import InputError

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "counters.py"
FIGURES = json.loads(SCRIPT.with_suffix(".json").read_text())
spec = spec_from_file_location("counters_script", SCRIPT)
script = module_from_spec(spec)
spec.loader.exec_module(script)
FLOAT32 = 1e-6  # thop's releases of 2019 add up in float32, and their last digits are lost
DIFFERENT = {  # (network, counter): why ours is another figure, and by how much
    ("torchvision/convnext_tiny", "thop-0.1.1"): ("thop skips LayerNorm2d, a subclass of LayerNorm", 4 * 828_672),
}


def _figures(network):
    """``(counter, version, figure)`` of what the packages print."""
    for counter, versions in FIGURES.items():
        for number, figures in versions.items():
            if isinstance(figure := figures.get(network), int):
                rules = [rule for post, rule in POSTS.items() if counter == "thop" and number.startswith(post)]
                yield *(rules or [counter]), number, figure


@cache
def _compared(network):
    """Networks of torchvision are counted without memory for their weights."""
    if network in ARCHS:
        return compare(build(network), torch.zeros(1, *ARCHS[network].image))
    model = zoo.built(network)[0]
    return compare(model, torch.zeros(1, *script.image_of(network), device=next(model.parameters()).device))


@pytest.mark.parametrize("network", script.NETWORKS)
def test_a_counter_prints_what_its_package_prints(network):
    found, seen = _compared(network), []
    for rule, number, figure in _figures(network):
        ours = found[rule].figure
        seen.append(rule)
        if (network, rule) in DIFFERENT:
            assert ours - figure == DIFFERENT[network, rule][1] != 0, (rule, ours, figure)
        elif number.startswith(("0.0.30", "0.0.31-19", "0.0.31-2001")):
            assert ours == pytest.approx(figure, rel=FLOAT32), (rule, number)
        else:
            assert ours == figure, (rule, number)
    assert {*COUNTERS, "thop-0.1.1"} - {"thop-1910", "thop-2001"} <= {*seen}


def test_every_counter_was_run_on_twenty_networks_and_every_release_of_thop_on_some():
    assert {*FIGURES} == {*COUNTERS} - {*POSTS.values()} | {"thop"}
    for versions in FIGURES.values():
        assert max(sum(isinstance(figure, int) for figure in figures.values()) for figures in versions.values()) >= 20
    counted = {post for post in POSTS for number in FIGURES["thop"] if number.startswith(post)}
    assert counted == set(POSTS)


@pytest.mark.parametrize("network", script.NETWORKS)
def test_differences_are_named_and_add_up_to_the_figure(network):
    found = _compared(network)
    for line in found.lines:
        assert found.macs + sum(operations for _, operations in line.differences) == line.figure
        assert all(words for words, _ in line.differences)
        assert str(line.figure) in json.dumps(found.to_json())


@pytest.mark.parametrize("package", script.COUNTERS)
def test_the_figures_kept_are_those_of_the_package_that_is_installed(package):
    pytest.importorskip(package.replace("-", "_"))
    number = version(package).partition("+")[0]
    words = [sys.executable, str(SCRIPT), "--only", package, "--print", "--networks", "resnet20", "googlenet"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for counter, figures in json.loads(done.stdout.splitlines()[-1]).items():
        kept = FIGURES[counter].get(number, {})
        assert figures == {network: kept.get(network, figure) for network, figure in figures.items()}


@pytest.mark.parametrize("arch", ["resnet20", "vgg16", "googlenet", "densenet40", "mobilenet_v2", "resnet50"])
def test_without_torch_a_counter_counts_as_it_does_with_it(arch):
    layers, found = layers_of(arch), _compared(arch)
    calls = list(as_called(layers))
    for rule in COUNTERS.values():
        assert rule.total(calls) == found[rule.name].figure, rule.name
    ours, theirs = ({x.counter: x.why() for x in of.lines} for of in (compared(layers), found))
    del ours["chex"], theirs["chex"]  # it counts weights, and of these a few are zero by chance
    assert ours == theirs


class Everything(nn.Module):
    """What is called in other ways: a grouped and a transposed conv, functions, products, attention."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.norm = nn.GroupNorm(2, 6)
        self.heads = nn.MultiheadAttention(6, 2, batch_first=True)
        self.weight = nn.Parameter(torch.ones(5, 6))

    def forward(self, x):
        x = torch.add(F.relu(self.norm(self.up(self.conv(x)))), 1)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.heads(tokens, tokens, tokens, need_weights=False)[0]
        tokens = torch.bmm(tokens, tokens.transpose(1, 2)) @ tokens
        tokens = torch.einsum("bnc,dc->bnd", tokens, self.weight)
        return F.linear(tokens.matmul(self.weight), self.weight)


def test_what_is_called_as_a_function_is_seen_by_those_who_see_functions():
    model, x = Everything(), torch.zeros(2, 4, 6, 6)
    before = F.relu, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, dict(vars(torch.Tensor))
    found = compare(model, x)
    assert (F.relu, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, dict(vars(torch.Tensor))) == before
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert found["torch"].figure == counter.get_total_flops()
    assert dict(found["calflops"].differences)["F.relu(), 1 per output"] == 2 * 6 * 8 * 8
    assert dict(found["torch-pruning"].differences)["divided by 2 examples"] < 0
    assert "F.relu(), 1 per output" not in dict(found["torch-pruning"].differences)
    assert dict(found["deepspeed-macs"].differences)["fused attention"] == 2 * 2 * 64 * 64 * 6
    assert not model.conv._forward_hooks
    assert count(model, "torch", (4, 6, 6))[1] == counter.get_total_flops() // 2


def test_a_network_that_does_not_take_the_inputs_is_refused_and_nothing_stays_watched():
    before = F.conv2d
    with pytest.raises(InputError, match=r"cannot be counted on these inputs: .*expected what the network takes"):
        compare(build("resnet20"), torch.zeros(1, 5, 32, 32))
    assert F.conv2d is before


def test_the_command_line_shows_every_counter(capsys):
    assert main(["cost", "torchvision/resnet18", "--rule", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["macs"] == 1_814_073_344
    assert [line["counter"] for line in found["lines"]] == [*RULES, *COUNTERS]
    assert main(["cost", "resnet20", "--rule", "all"]) == 0
    said = capsys.readouterr().out
    assert "2 per MAC +40.55M; F.batch_norm(), 2 per output +" in said
    assert main(["cost", "resnet20", "--rule", "fvcore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flops"] == FIGURES["fvcore"]["0.1.5.post20221221"]["resnet20"]
    assert main(["cost", "resnet18_", "--rule", "all"]) == 2
    assert "did you mean resnet18" in capsys.readouterr().err
    assert main(["cost", "vgg19", "--rule", "all", "--rates", "[0.5]"]) == 2
    assert "is not one of this library's; expected no --rates" in capsys.readouterr().err
