"""What helps a pruned network back: a teacher, statistics taken anew, and training that empties whole filters."""

import copy
import dataclasses
import math

import pytest
import tiny
import torch
from torch import nn

from prune_lib.nets import recalibrated
from prune_lib.runs.teaching import Teacher
from prune_lib.runs.training import add_group_lasso, train
from prune_lib.system.checkpoint import digest
from prune_lib.system.errors import InputError

RECIPE = dataclasses.replace(tiny.RECIPE, warmup=0)


def answering(*logits):
    """A network that gives these logits, whatever it is shown."""

    class Fixed(nn.Module):
        def forward(self, images):
            return torch.tensor(logits)

    return Fixed()


def test_the_loss_of_a_pupil_by_hand():
    """Logits (2 ln 3, 0) at T = 2 are (3/4, 1/4), and (0, 0) are (1/2, 1/2)."""
    teacher = Teacher(answering([2 * math.log(3), 0.0]), temperature=2.0, weight=0.25)
    found = teacher.loss(torch.tensor(8.0), torch.zeros(1, 3, 4, 4), torch.zeros(1, 2))
    apart = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert found.item() == pytest.approx(0.75 * 8 + 0.25 * 4 * apart)
    same = Teacher(answering([1.0, -1.0]), weight=1.0)
    assert same.loss(torch.tensor(8.0), torch.zeros(1, 3, 4, 4), torch.tensor([[3.0, 1.0]])).item() == pytest.approx(0)


def test_a_pupil_learns_what_its_teacher_says():
    """Of a teacher that always says the ninth class it learns that, though no label does."""
    data = tiny.digits()
    teacher = tiny.Net()
    nn.init.zeros_(teacher.linear.weight)
    teacher.linear.bias.data.copy_(10.0 * torch.eye(10)[9])
    before = digest(teacher.train().state_dict())
    torch.manual_seed(0)
    pupil = tiny.Net()
    wise = Teacher(teacher, temperature=1.0, weight=1.0)
    train(pupil, data, RECIPE, teacher=wise, device="cpu", progress=False)
    with torch.no_grad():
        images = torch.cat([images for images, _ in data.whole(data.train, 64)])
        assert pupil.eval()(images).argmax(1).unique().tolist() == [9]
    assert digest(teacher.state_dict()) == before
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())


def test_a_run_goes_on_with_the_same_teacher_only(tmp_path):
    data, teacher = tiny.digits(), tiny.Net()
    options = {"state": tmp_path / "state", "device": "cpu", "progress": False}
    short = dataclasses.replace(RECIPE, epochs=1)
    train(tiny.Net(), data, short, teacher=teacher, **options)
    again = train(tiny.Net(), data, short, teacher=copy.deepcopy(teacher), **options)
    assert again.resumed
    assert len(again.curve) == 1
    with pytest.raises(InputError, match="another run"):
        train(tiny.Net(), data, short, teacher=Teacher(teacher, temperature=2.0), **options)
    with pytest.raises(InputError, match="another run"):
        train(tiny.Net(), data, short, **options)


BAD = {
    "no network": (lambda: Teacher("resnet18"), "teacher is str; expected a torch.nn.Module"),
    "temperature": (lambda: Teacher(nn.ReLU(), temperature=0), "temperature is 0; expected a number in 0.001 … 1000"),
    "weight": (lambda: Teacher(nn.ReLU(), weight=1.5), "weight is 1.5; expected a number in 0 … 1"),
    "nan": (lambda: Teacher(nn.ReLU(), weight=math.nan), "weight is nan"),
    "classes": (
        lambda: Teacher(answering([1.0, 2.0])).loss(torch.tensor(1.0), torch.zeros(1, 3, 4, 4), torch.zeros(1, 3)),
        r"the teacher answers with \(1, 2\) where the network answers with \(1, 3\)",
    ),
    "no batches": (lambda: recalibrated(nn.BatchNorm2d(3), []), "there are no batches; expected at least one"),
}  # fmt: skip


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


def test_statistics_are_the_plain_mean_over_batches():
    norm, dropout = nn.BatchNorm1d(2), nn.Dropout(0.9)
    model = nn.Sequential(dropout, norm).train()
    first, second = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[5.0, 1.0], [9.0, 1.0]])
    batches = [(first, torch.tensor([0, 1])), {"input": second}]
    assert recalibrated(model, batches[:1]) is model
    assert not model.training
    assert norm.running_mean.tolist() == [2.0, 2.0]
    assert norm.running_var.tolist() == [2.0, 8.0]  # nothing was dropped
    recalibrated(model, batches)
    assert norm.running_mean.tolist() == [4.5, 1.5]
    assert norm.running_var.tolist() == [5.0, 4.0]
    assert recalibrated(model, batches, images=2)[1].running_mean.tolist() == [2.0, 2.0]
    assert norm.momentum == 0.1
    with pytest.raises(InputError):
        recalibrated(model, [])
    assert norm.running_mean.tolist() == [2.0, 2.0]  # as it was


def test_filters_are_pulled_to_zero_each_along_itself():
    model = nn.Sequential(nn.Conv2d(1, 3, (1, 2)), nn.Flatten(), nn.Linear(3, 2))
    model[0].weight.data.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]).view(3, 1, 1, 2))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    add_group_lasso(model, 0.5)
    expected = torch.tensor([[1.3, 1.4], [1.0, 1.0], [0.5, 1.0]])
    torch.testing.assert_close(model[0].weight.grad.flatten(1), expected)
    assert all(bool((p.grad == 1).all()) for p in (model[0].bias, model[2].weight, model[2].bias))


def test_a_recipe_s_group_lasso_shrinks_filters():
    norms = {}
    for strength in (0.0, 0.2):
        torch.manual_seed(0)
        model, recipe = tiny.Net(), dataclasses.replace(RECIPE, group_lasso=strength)
        train(model, tiny.digits(), recipe, device="cpu", progress=False)
        norms[strength] = float(model.conv2.weight.detach().flatten(1).norm(dim=1).sum())
    assert norms[0.2] < 0.9 * norms[0.0]
    assert dataclasses.replace(RECIPE, group_lasso=0.2).not_default()["group_lasso"] == 0.2
    with pytest.raises(InputError, match="group_lasso is -1"):
        dataclasses.replace(RECIPE, group_lasso=-1.0)
