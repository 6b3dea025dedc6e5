"""Kill -9 at any moment: the resumed run ends in the same weights, figures and record, to the last bit."""

import random
import signal

import crash
import pytest
import torch
from safetensors.torch import save_file

from prune_lib.nets import build
from prune_lib.runs.history import Saver

KILLS, SOAK = 12, 200


@pytest.fixture(scope="module", autouse=True)
def small():
    """Small images, and a state after every epoch however short it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prune_lib.tasks.registry.load", crash.small_digits)
        patch.setattr(Saver, "share", float("inf"))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("dense") / "dense.safetensors"
    save_file(build("resnet20").state_dict(), path)
    return path


@pytest.fixture(scope="module", params=list(crash.METHODS))
def whole(request, tmp_path_factory, weights):
    """A method, the points of its uninterrupted run, and all that this leaves."""
    project = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_HOME", str(project))
        found = crash.listed(request.param, weights)
        return request.param, found, crash.digest_of(project, request.param)


def _moments(points, count, seed):
    """``count`` seeded numbers of points, the same number of each group that the run has."""
    chance, groups = random.Random(seed), {}
    for number, (group, name) in enumerate(points):
        groups.setdefault(group, {}).setdefault(name, []).append(number)
    chosen = []
    while len(chosen) < count:
        for group in sorted(groups):
            name = chance.choice(sorted(groups[group]))
            chosen.append(chance.choice(groups[group][name]))
    return chosen[:count]


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(whole, weights, tmp_path, monkeypatch, soak, injected):
    method, points, expected = whole
    killed = set()
    moments = _moments(points, SOAK if soak else KILLS, f"{method} {soak}")
    for turn, number in enumerate(moments):
        project = tmp_path / str(turn)
        project.mkdir()
        monkeypatch.setenv("PRUNE_HOME", str(project))
        assert crash.child(crash.run_until, number, method, weights) == -signal.SIGKILL, (number, points[number])
        assert crash.child(crash.run, method, weights) == 0, (number, points[number])
        assert crash.digest_of(project, method) == expected, (number, points[number])
        assert crash.leftovers(project) == [], points[number]
        killed.add(points[number][0])
    assert len(moments) == (SOAK if soak else KILLS)
    injected("kills", len(moments))
    assert killed == {group for group, _ in points}
    assert {"training", "saving", "exploring"} | ({"scoring"} if method in ("cdp", "cfdp") else set()) == killed


def test_what_dies_twice_is_taken_up_twice(whole, weights, tmp_path, monkeypatch, injected):
    method, points, expected = whole
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    for share in (0.4, 0.15, 0.1):  # of the points of a whole run; each begins where the one before has come to
        assert crash.child(crash.run_until, int(share * len(points)), method, weights) == -signal.SIGKILL
    assert crash.child(crash.run, method, weights) == 0
    assert crash.digest_of(tmp_path, method) == expected
    injected("kills", 3)
