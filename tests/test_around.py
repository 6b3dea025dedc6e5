"""Around pruning: whatever batches a loader gives, whatever a network answers, and what others train it with."""

import dataclasses
from collections import OrderedDict

import pytest
import torch
from torch import nn

from prune_lib.anynet import prune
from prune_lib.system.errors import InputError

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
LOOKING = ("cdp", "cfdp", "taylor", "hessian")


class Small(nn.Module):
    """conv-BN-ReLU twice and four classes, called and answering as ``answers`` says."""

    def __init__(self, answers=lambda logits: logits):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.more, self.norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head, self.answers = nn.Linear(12, 4), answers

    def forward(self, pixel_values, labels=None):
        assert labels is None
        maps = self.bn(self.conv(pixel_values)).relu()
        return self.answers(self.head(self.norm(self.more(maps)).relu().mean((2, 3))))


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    logits: torch.Tensor


def small(answers=lambda logits: logits):
    torch.manual_seed(0)
    return Small(answers)


BATCHES = {
    "tuples": [(X[:4], LABELS[:4]), (X[4:], LABELS[4:])],
    "lists": [[X[:4], LABELS[:4]], [X[4:], LABELS[4:]]],
    "mappings": [{"pixel_values": X[:4], "labels": LABELS[:4]}, {"pixel_values": X[4:], "labels": LABELS[4:]}],
    "another name": [{"pixel_values": X, "label": LABELS, "labels": None}],
    "one mapping": OrderedDict(pixel_values=X, labels=LABELS),
    "a loader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, LABELS), batch_size=4),
    "a loader of mappings": torch.utils.data.DataLoader(
        [{"pixel_values": x, "labels": int(label)} for x, label in zip(X, LABELS, strict=True)], batch_size=5
    ),
    "doubles": [(X.double(), LABELS)],
}


@pytest.fixture(scope="module")
def usual():
    """What stays when a loader gives tuples and the network answers with logits."""
    return {criterion: prune(small(), X[:1], criterion, BATCHES["tuples"]).kept for criterion in LOOKING}


@pytest.mark.parametrize("data", BATCHES.values(), ids=BATCHES)
def test_any_batches_are_looked_at(data, usual):
    for criterion, expected in usual.items():
        found = prune(small(), X[:1], criterion, data).kept
        assert all(torch.equal(found[layer], kept) for layer, kept in expected.items()), criterion


ANSWERS = {
    "a mapping": lambda logits: {"loss": None, "logits": logits},
    "another mapping": lambda logits: {"out": logits, "aux": logits.sum()},
    "a dataclass": lambda logits: Output(logits.exp(), logits),
    "a tuple": lambda logits: (logits, logits.exp()),
    "class numbers first": lambda logits: (logits.argmax(1), logits),
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_any_answers_are_understood(answers, usual):
    for criterion, expected in usual.items():
        found = prune(small(answers), X[:1], criterion, BATCHES["tuples"]).kept
        assert all(torch.equal(found[layer], kept) for layer, kept in expected.items()), criterion


def test_rows_of_numbers_are_data_too():
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    pruned = prune(model, rows[:1], "taylor", [(rows, LABELS.repeat(2)[:8])])
    assert pruned.model[0].out_features == 8


def test_labels_for_every_pixel_give_gradients():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    pruned = prune(model, X[:1], "taylor", [(X, (X[:, 0] > 0).long())])
    assert pruned.model[0].out_channels == 4


BAD = {
    "no labels": (lambda: prune(small(), X[:1], "hessian", X), "takes gradients of a loss, and the images have no lab"),
    "a label beyond": (
        lambda: prune(small(), X[:1], "taylor", [(X, LABELS + 9)]),
        "taylor: Small does not run on data",
    ),
    "another name": (lambda: prune(small(), X[:1], "cdp", {"pixels": X}), "cdp: Small does not run on data .*pixels"),
    "no tensors": (lambda: prune(small(), X[:1], "cdp", [{"names": "a"}]), "data gives a mapping of names; expected t"),
}


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_batches_that_cannot_be_are_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)
