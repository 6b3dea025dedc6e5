"""What ``prune book`` says while it runs: which notebook of how many, the time left, and where the time went."""

import pytest

from prune_lib.book.site import build
from prune_lib.book.site.build import Progress, clock


@pytest.fixture
def now(monkeypatch):
    """A clock that a test sets by hand, and weights to go with it."""
    hand = {"is": 100.0}
    monkeypatch.setattr(build, "monotonic", lambda: hand["is"])
    monkeypatch.setattr(build, "SECONDS", {"long": 60, "short": 20})
    monkeypatch.setattr(build, "OTHERS", 10)
    return hand


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (59.6, "1:00"), (75, "1:15"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_plain_lines_without_a_terminal(now, capsys):
    progress = Progress(["long", "short", "other"], at_once=2, live=False)
    assert progress.left() is None
    assert progress.every is None
    now["is"] = 140.0
    progress.show()
    progress.done("short", 40.0, 30.0)  # twice its weight: 90 weigh 180 s, two at once 90 s, 40 of them gone
    now["is"] = 200.0
    progress.done("other", 20.0, 15.0)
    now["is"] = 220.0
    progress.done("long", 120.0, 90.0)
    progress.close()
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "notebook 1 of 3: short in 40 s, about 50 s left",
        "notebook 2 of 3: other in 20 s, about 0 s left",
        "notebook 3 of 3: long in 2:00",
        "3 notebooks in 2:00, 2:15 of processor time; the longest: long 2:00, short 40 s, other 20 s",
    ]


def test_a_terminal_shows_what_runs_now(now, capsys):
    progress = Progress(["long", "short", "other"], at_once=2, live=True)
    assert progress.every == 1.0
    progress.show()
    now["is"] = 140.0
    progress.done("short", 40.0, 30.0)
    progress.show()
    last = capsys.readouterr().err.split(build.CLEAR)
    assert last[1] == "0 of 3 notebooks; now long, short"
    assert last[-1] == "1 of 3 notebooks; about 50 s left; now long, other"


def test_quiet_says_nothing(now, capsys):
    progress = Progress(["long"], at_once=1, quiet=True, live=True)
    progress.show()
    progress.done("long", 1.0, 1.0)
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_every_weight_is_of_a_notebook_and_the_longest_begin_first():
    names = {path.stem for path in (build.home() / "notebooks").glob("*.py")}
    assert set(build.SECONDS) <= names
    turns = [path.stem for path in sorted((build.home() / "notebooks").glob("*.py"), key=build._turn)]
    assert turns[-1] == "results"
    weights = [build.SECONDS.get(name, build.OTHERS) for name in turns[:-1]]
    assert weights == sorted(weights, reverse=True)
