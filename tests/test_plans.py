"""The networks' plans, without torch, against the networks: every layer, every shape, at random widths."""

import random

import pytest
import torch

from prune_lib.cost.tracing import blank, trace
from prune_lib.nets import ARCHS, build, check_widths
from prune_lib.nets.plans import PLANS, plan

KINDS = ("Conv1d", "Conv2d", "ConvTranspose2d", "Linear", "BatchNorm1d", "BatchNorm2d", "ReLU", "ReLU6", "MaxPool2d")
KINDS = (*KINDS, "AvgPool2d", "AdaptiveAvgPool2d")


def _random_widths(about, seed):
    """Any widths that ``about`` can have: one number for a unit, and one for a conv where units may differ."""
    draw = random.Random(f"{about.name} {seed}")
    groups = [(conv,) for conv in about.filters] if about.padded else about.units.values()
    return {conv: n for convs in groups for n in [draw.randint(1, about.filters[convs[0]])] for conv in convs}


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("name", ARCHS)
def test_a_plan_is_what_the_network_calls(name, seed):
    about, classes = ARCHS[name], None if seed is None else 7
    widths = check_widths(name, {} if seed is None else _random_widths(about, seed))
    with torch.device("meta"):
        model = build(name, widths, classes)
    found, known = plan(about, widths, classes), trace(model, lambda: model(blank(model, about.image)), KINDS)
    assert found.layers == known
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.tensors() == {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def test_every_class_has_a_plan():
    assert set(PLANS) == {about.cls for about in ARCHS.values()}
