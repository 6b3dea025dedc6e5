"""What people hand over by mistake is refused in one true line, and what can sensibly be used is used."""

import copy
import re

import pytest
import torch
from torch import nn

from prune_lib import tasks
from prune_lib.anynet import load, prune, sensitivity
from prune_lib.nets import recalibrated
from prune_lib.papers.recipe import Recipe
from prune_lib.runs import train
from prune_lib.system.errors import InputError

SEED = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 8, 8, generator=SEED)
LABELS = torch.tensor([0, 3])
NAN = X.clone().index_fill_(0, torch.tensor([1]), torch.nan)


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body, self.last = conv(3, 8), nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8)), conv(8, 3)

    def forward(self, x):
        x = self.stem(x)
        return self.last((x + self.body(x)).relu())


def value(network):
    return 1.0


def taylor(labels, images=X):
    return prune(net(), X, "taylor", data=[(images, labels)])


REFUSED = {
    "no examples": (lambda: prune(net(), X[:0]), "example_inputs [(0, 3, 8, 8)] hold no example; expected at least"),
    "no examples to evaluate": (lambda: sensitivity(net(), X[:0], value), "example_inputs [(0, 3, 8, 8)] hold no exam"),
    "ignore None": (lambda: prune(net(), X, ignore=None), "ignore is None; expected a list of names"),
    "ignore 5": (lambda: prune(net(), X, ignore=5), "ignore is 5; expected a list of names"),
    "ignore a string": (lambda: prune(net(), X, ignore="3"), "ignore is '3'; expected a list of names"),
    "ignore lists": (lambda: prune(net(), X, ignore=[["3"]]), "ignore is [['3']]; expected a list of names"),
    "a list of criteria": (lambda: prune(net(), X, ["l1"]), "unknown criterion ['l1']; expected one of: random l1"),
    "between": (lambda: prune(net(), X, between="x", steps=2), "between is str; expected a function of a network"),
    "one share": (lambda: sensitivity(net(), X, value, shares=0.5), "shares is 0.5; expected a list of shares"),
    "no share": (lambda: sensitivity(net(), X, value, shares=[]), "shares are []; expected at least one"),
    "seed x": (lambda: prune(net(), X, "random", seed="x"), "seed is 'x'; expected a whole number"),
    "seed 1.5": (lambda: prune(net(), X, "random", seed=1.5), "seed is 1.5; expected a whole number"),
    "a long seed": (lambda: prune(net(), X, "random", seed=2**70), "seed is 1180591620717411303424; expected a whole"),
    "seed of sensitivity": (lambda: sensitivity(net(), X, value, seed=None), "seed is None; expected a whole number"),
    "an output's share": (
        lambda: prune(net(), X, allocation={"7": 0.5}),
        "allocation names '7', which keeps all of its channels (its channels are the network's output)",
    ),
    "a ReLU's share": (lambda: prune(net(), X, allocation={"2": 0.5}), "allocation names '2', a ReLU, in which no"),
    "two shares of a sum": (
        lambda: prune(Residual(), X, allocation={"stem": 0.75, "body.2": 0.25}, flops=0.9),
        "allocation gives stem 0.75 and body.2 0.25, whose layers lose the same channels; expected one share for both",
    ),
    "nan": (lambda: taylor(LABELS, NAN), "data gives a number that is nan (batch 0)"),
    "nan in the second batch": (lambda: prune(net(), X, "cfdp", data=[X, NAN]), "a number that is nan (batch 1)"),
    "no batches": (lambda: prune(net(), X, "cdp", data=[]), "data gives no images (list); expected at least one"),
    "nothing left to read": (lambda: prune(net(), X, "cdp", data=iter([])), "gives no images (list_iterator, which"),
    "no labels": (lambda: prune(net(), X, "taylor", data=X), "takes gradients of a loss, and the images have no"),
    "labels of float": (lambda: taylor(LABELS.float()), "data gives labels (2,) of float32 for 2 examples"),
    "labels of bool": (lambda: taylor(LABELS > 0), "data gives labels (2,) of bool for 2 examples"),
    "too few labels": (lambda: taylor(LABELS[:1]), "data gives labels (1,) of int64 for 2 examples"),
    "labels to leave out": (lambda: taylor(torch.tensor([-100, 1])), "data gives the label -100, and gradients are"),
    "one-hot labels": (lambda: taylor(nn.functional.one_hot(LABELS, 4)), "labels are (2, 4) where the network answers"),
    "a label too many": (lambda: taylor(torch.tensor([0, 4])), "a label is 4 where the network answers with 4 classes"),
    "path None": (lambda: prune(net(), X).save(None), "path is NoneType; expected the name of a file"),
    "load a class": (lambda: load("x.safetensors", Residual), "model is the class Residual; expected a torch.nn"),
    "load a string": (lambda: load("x.safetensors", "x"), "model is str; expected a torch.nn.Module"),
    "load None": (lambda: load(None, net()), "path is NoneType; expected the name of a file"),
    "batches of other channels": (
        lambda: recalibrated(net(), [X[:, :2]]), "Sequential does not run on a batch [(2, 2, 8, 8)] (RuntimeError: Giv",
    ),
    "no batches at all": (lambda: recalibrated(net(), 5), "batches is int; expected batches, as a DataLoader gives"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistake_is_told_in_one_true_line(what):
    ask, line = REFUSED[what]
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        ask()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_whole_numbers_are_labels(dtype):
    assert taylor(LABELS.to(dtype)).kept["0"].equal(taylor(LABELS).kept["0"])


def test_an_empty_batch_is_passed_over():
    whole = prune(net(), X, "taylor", data=[(X, LABELS)])
    found = prune(net(), X, "taylor", data=[(X[:0], LABELS[:0]), (X, LABELS)])
    assert found.kept["0"].equal(whole.kept["0"])
    assert found.kept["3"].equal(whole.kept["3"])


def test_what_can_be_read_only_once_is_kept_for_all_steps():
    read = []

    def batches():
        for _ in range(100):
            read.append(len(X))
            yield X, LABELS

    once = prune(net(), X, "taylor", data=batches(), steps=3, images=4)
    again = prune(net(), X, "taylor", data=[(X, LABELS)] * 2, steps=3, images=4)
    assert sum(read) == 4
    assert once.kept["0"].equal(again.kept["0"])
    assert once.kept["3"].equal(again.kept["3"])


def test_the_innermost_name_of_an_allocation_counts():
    for allocation in ({"body": 0.5, "body.0": 0.25}, {"body.0": 0.25, "body": 0.5}):
        assert prune(Residual(), X, allocation=allocation, flops=0.9).widths == {"stem": 4, "body.0": 2, "body.2": 4}


def test_one_share_for_both_layers_of_a_sum_is_fine():
    found = prune(Residual(), X, allocation={"stem": 0.75, "body.2": 0.75}, flops=0.9, steps=2)
    assert found.widths["stem"] == found.widths["body.2"] == 6


def test_a_table_of_sensitivity_has_each_share_once_and_as_it_is():
    found = sensitivity(net(), X, value, shares=(0.5, 0.501, 0.999, 0.5))
    assert str(found).splitlines()[0].split() == ["group", "channels", "50%", "50.1%", "99.9%"]
    assert len(found.rows) == 2 * 3


def test_one_tensor_is_one_batch_to_recalibrate_by():
    one, other = recalibrated(net(), X), recalibrated(net(), [X])
    assert one[1].running_mean.equal(other[1].running_mean)
    assert float(one[1].running_mean.abs().sum()) > 0


@pytest.fixture(scope="module")
def digits():
    return tasks.load("digits", heldout=100, train_images=200)


RECIPE = Recipe(data="digits", epochs=1, batch_size=100, heldout=100, train_images=200)


def classifier(classes=10, channels=3):
    return nn.Sequential(conv(channels, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


class Named(nn.Module):
    """Answers with a mapping, as networks of transformers do."""

    def __init__(self):
        super().__init__()
        self.net = classifier()

    def forward(self, images):
        return {"hidden": images, "logits": self.net(images)}


UNTRAINED = {
    "a loader": (lambda d: (classifier(), [d], RECIPE), {}, "data is list; expected an image set of prune_lib.tasks"),
    "a dict": (lambda d: (classifier(), d, {"epochs": 1}), {}, "recipe is dict; expected a papers.recipe.Recipe"),
    "a result": (lambda d: (prune(net(), X), d, RECIPE), {}, "model is Pruned; expected its .model"),
    "a name": (lambda d: ("resnet", d, RECIPE), {}, "model is str; expected a torch.nn.Module"),
    "half": (lambda d: (classifier().half(), d, RECIPE), {}, "Sequential has weights of float16; expected model.fl"),
    "frozen": (lambda d: (classifier().requires_grad_(False), d, RECIPE), {}, "Sequential has no weight that takes a"),
    "4 classes": (
        lambda d: (classifier(4), d, RECIPE), {},
        "Sequential answers with (100, 4) to (100, 3, 32, 32) of digits; expected (100, 10) logits",
    ),
    "5 channels": (
        lambda d: (classifier(channels=5), d, RECIPE), {},
        "Sequential does not run on the images (100, 3, 32, 32) of digits (RuntimeError: Given groups=1, weight of",
    ),
    "options": (
        lambda d: (classifier(), d, RECIPE), {"engines": "x"}, "train has no option 'engines'; expected one of: engine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNTRAINED)
def test_what_cannot_be_trained_is_told_in_one_line(what, digits):
    given, options, line = UNTRAINED[what]
    with pytest.raises(InputError, match=re.escape(line)):
        train(*given(digits), progress=False, device="cpu", **options)


def test_a_network_that_answers_with_a_mapping_is_trained_as_its_logits_are(digits):
    named, teacher = Named(), Named()
    plain = copy.deepcopy(named.net)
    found = [train(model, digits, RECIPE, teacher=teacher, progress=False, device="cpu") for model in (named, plain)]
    assert found[0].curve[0]["test_top1"] == found[1].curve[0]["test_top1"]
    assert all(torch.equal(p, q) for p, q in zip(named.parameters(), plain.parameters(), strict=True))
