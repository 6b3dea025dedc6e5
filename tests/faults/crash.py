"""Small runs of every method through ``runner.run``, and processes that die at a chosen moment of them.

A *point* is a call that a run makes: a step, a look at the dense network, an exploration, a write, a rename. Points are
counted as they come, so a number names one moment of a run, the same one every time.
"""

import builtins
import contextlib
import dataclasses
import errno
import functools
import json
import os
import signal
import traceback

import torch

from prune_lib.nets import hooks
from prune_lib.papers import cdp, cfdp, dcff, feature_maps, filterexpo
from prune_lib.papers.method import Method
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import BUDGETS, get_row
from prune_lib.runs import history, records, runner, training
from prune_lib.runs.records import Run
from prune_lib.system import checkpoint, files
from prune_lib.tasks import images, registry

RECIPE = Recipe(data="digits", epochs=3, batch_size=32, lr=0.05, heldout=20, train_images=80)  # three steps an epoch
METHODS = {  # row that is made small: what of it is replaced
    "dcff": ("dcff/cifar10/resnet56", {"arch": "resnet20", "rates": "[0.8]*9+[0.5]*3"}),
    "cdp": ("cdp/resnet20-study/s30_cdp", {}),
    "cfdp": ("cfdp/cifar10/resnet56", {"arch": "resnet20", "rates": "[0.0]+[0.4]*2+[0.6]*9", "method": None}),
    "filterexpo": ("filterexpo/resnet20-study/explore", {}),
}
GROUPS = ("training", "scoring", "exploring", "saving")
TIMES = ("seconds", "images_per_second", "exploration_seconds")


@functools.cache
def row_of(method):
    """A row of ``method`` that is trained in a second: ResNet-20, 80 digits."""
    name, changes = METHODS[method]
    row = get_row(name)
    changes = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(row, id=f"faults/small/{method}", recipes=dict.fromkeys(BUDGETS, RECIPE), **changes)


def small_digits(*args, load=registry.load, **options):
    """The digits at a quarter of the pixels, with 20 images for the test."""
    data = load(*args, **options)

    def half(split):
        return images.Split(split.images[:, :, ::2, ::2].contiguous(), split.labels)

    few = data.test.take(torch.arange(0, 300, 15))
    return dataclasses.replace(data, train=half(data.train), heldout=half(data.heldout), test=half(few))


def run(method, weights, save_every=0.0):
    """Run the method's row; the state is saved after every step, or after every epoch."""
    given = {"weights": weights} if row_of(method).start or method in ("cdp", "cfdp") else {}
    return runner.run(row_of(method), device="cpu", progress=False, save_every=save_every, **given)


def digest_of(project, method):
    """Everything that a run leaves which must not depend on how often it was killed."""
    row = row_of(method)
    (path,) = sorted((project / "results").rglob("*.json"))
    record = json.loads(path.read_text())
    assert record["provenance"].pop("bit_exact", True), record["provenance"]["inexact"]
    record["provenance"] = {
        key: record["provenance"][key] for key in ("data", "precision", "versions", "deterministic")
    }
    record["curves"] = {name: curve for name, curve in record["curves"].items() if name not in TIMES}
    folder = Run(row, "smoke", 0).folder
    networks = {p.name: checkpoint.digest(checkpoint_tensors(p)) for p in folder.glob("*.safetensors")}
    assert {
        name.removesuffix(".safetensors"): sha for name, sha in networks.items() if name != "scores.safetensors"
    } == {protocol: network["sha256"] for protocol, network in record["networks"].items()}
    return record | {"files": networks}


def checkpoint_tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def leftovers(project):
    """Whatever a run should have removed."""
    kept = {"lock", ".turn", "log", "scores.safetensors.previous"}
    networks = {f"{name}.safetensors" for name in ("last", "selected", "test_best", "scores")}
    found = [p for p in project.rglob("*") if p.is_file() and p.name not in kept | networks]
    return [p for p in found if p.parent.parent.parent.parent.name != "results" or p.name.startswith(".")]


@contextlib.contextmanager
def points(reached, only=GROUPS):
    """Within this block ``reached(group, name)`` is called before and after everything a run does that can be cut."""
    before = []

    def watch(owner, name, group):
        if group not in only:
            return
        whole = getattr(owner, name)

        def wrapped(*args, **options):
            reached(group, f"before {name}")
            result = whole(*args, **options)
            reached(group, f"after {name}")
            return result

        before.append((owner, name, whole, name in vars(owner)))
        setattr(owner, name, wrapped)

    class System:
        """What files and results know as ``os``, and can be cut anywhere."""

        def __getattr__(self, name):
            return getattr(os, name)

    system = System()
    for name in ("fsync", "replace", "link"):
        setattr(system, name, getattr(os, name))
        watch(system, name, "saving")
    for module in (files, records):
        before.append((module, "os", module.os, True))
        module.os = system
    if "saving" in only:
        before.append((files, "open", None, False))
        files.open = lambda *args: _Cut(builtins.open(*args), reached)  # noqa: SIM115
    watch(training._Loop, "_step", "training")
    watch(training, "evaluate", "training")
    watch(training, "_keep_best", "training")
    watch(history.Saver, "save", "saving")
    watch(hooks, "calling", "scoring")
    for module in (cdp, feature_maps):
        watch(module, "run", "scoring")
    watch(cdp, "importance", "scoring")
    watch(cfdp, "score", "scoring")
    for kind in (dcff.DCFF, filterexpo.FilterExpo, Method):
        watch(kind, "on_epoch", "exploring")
    for kind in (cdp.CDP, feature_maps.ByFeatureMaps):
        watch(kind, "begin", "scoring")
        watch(kind, "prepare", "exploring")
    watch(dcff, "importance", "exploring")
    watch(filterexpo, "growth", "exploring")
    watch(filterexpo, "leverage_scores", "exploring")
    try:
        yield
    finally:
        for owner, name, whole, own in reversed(before):
            if own:
                setattr(owner, name, whole)
            else:
                delattr(owner, name)


class _Cut:
    """A file whose every write can be cut."""

    def __init__(self, file, reached):
        self.file, self.reached = file, reached

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        half = len(data) // 2
        self.reached("saving", "before write")
        self.file.write(data[:half])
        self.file.flush()
        self.reached("saving", "within write")
        self.file.write(data[half:])


def listed(*args):
    """The points of a whole run, ``[(group, name)]`` in their order; ``args`` are those of ``run``."""
    found = []
    with points(lambda group, name: found.append((group, name))):
        run(*args)
    return found


def child(function, *args):
    """The exit status of a forked process that calls ``function``; -9 if it was killed."""
    pid = os.fork()
    if not pid:
        try:
            function(*args)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_until(number, *args):
    """Run until point ``number``, and die there without a word."""
    count = 0

    def reached(*_):
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    torch.manual_seed(number)  # whatever state a process happens to be in
    with points(reached):
        run(*args)


def run_failing(number, code, *args):
    """Run with the ``number``-th thing that is asked of the disk failing; returns what was raised, and where."""
    count, where = 0, ""

    def reached(group, name):
        nonlocal count, where
        if name.startswith("after") or name.endswith(" save"):
            return
        if count == number:
            where = name
            count += 1
            raise OSError(code, os.strerror(code))
        count += 1

    try:
        with points(reached, ("saving",)):
            run(*args)
    except OSError as error:
        return error, where
    return None, where


FULL, BROKEN = errno.ENOSPC, errno.EIO
