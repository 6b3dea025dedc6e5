"""A network, data and a recipe small enough to train in a moment.

As a script, ``python tiny.py FOLDER THREADS`` is three trainings that kill themselves without warning, each at its own
moment of the third epoch; what they leave behind is in FOLDER.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from prune_lib.papers.dcff import DCFF
from prune_lib.papers.recipe import Recipe
from prune_lib.runs.history import Saver
from prune_lib.runs.training import train
from prune_lib.system import files
from prune_lib.tasks import load

Saver.share = float("inf")  # these epochs are shorter than a save; save after each all the same
KILLS = ("step", "writing", "between renames")
RECIPE = Recipe(data="digits", epochs=4, batch_size=32, lr=0.05, warmup=1, heldout=20, train_images=80)
BANKS = {"conv1": 8, "conv2": 12}


class Net(nn.Sequential):
    """conv-BN-ReLU twice at half the size each time, one conv with a bias and one without."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.relu2 = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(24, 10)


def digits():
    """80 training images, 20 held out and 100 for the test: more than one batch, and the last one smaller."""
    data = load("digits", heldout=RECIPE.heldout, train_images=RECIPE.train_images)
    return dataclasses.replace(data, test=data.test.take(torch.arange(0, 300, 3)))


def fit(data, method=None, *, recipe=RECIPE, model=None, seed=0, **options):
    """Train a fresh Net by DCFF on the CPU."""
    torch.manual_seed(seed)
    model, method = model or Net(), method or DCFF(BANKS)
    options = {"identity": "tiny", "device": "cpu", "progress": False} | options
    return train(model, data, recipe, method, seed=seed, **options)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_third_epoch(state: Path, when: str) -> None:
    """Train until SIGKILL: in the middle of the steps, of writing the state, or between the two renames of that."""
    torch.manual_seed(0)
    model, replace, fsync = Net(), os.replace, os.fsync
    done = {"steps": 0, "renames": 0}

    def step(*_):
        done["steps"] += model.training
        if when == "step" and done["steps"] == 2 * 3 + 2:  # three steps an epoch
            die()

    def sync(fd):
        fsync(fd)
        if when == "writing" and done["renames"] == 3:  # one for the first state, two for the second
            die()

    def rename(old, new):
        replace(old, new)
        done["renames"] += 1
        if when == "between renames" and done["renames"] == 4:
            die()

    model.register_forward_pre_hook(step)
    files.os.fsync, files.os.replace = sync, rename
    fit(digits(), model=model, state=state)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    for moment in KILLS:
        child = os.fork()
        if not child:
            die_in_the_third_epoch(Path(sys.argv[1]) / moment, moment)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
