"""What every test shares. Nothing here or below writes into the checkout, but the record of ``make test-browser``."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from prune_lib.runs.contract import shake


def pytest_addoption(parser):
    parser.addoption("--keep-faults", metavar="COMMAND", help="keep how many faults were injected, as made by COMMAND")
    parser.addoption("--soak", action="store_true", help="tests/faults: many more kills and generated inputs")


LONGEST = ("test_browser.py", "test_training_pages.py", "test_kills.py", "test_method_ranks.py", "test_tasks.py")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no core is left with one of them when the others are done."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_terminal_summary(terminalreporter, config):
    """Where the time went, by file, which is what a core takes next in ``make test``; how many faults were injected."""
    spent: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                spent[report.nodeid.partition("::")[0]] += report.duration
    if len(spent) > 1:
        longest = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.most_common(6))
        terminalreporter.write_line(f"{sum(spent.values()):.0f} s of tests; the longest files: {longest}")
    injected: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for kind, number in getattr(report, "user_properties", []) if report.when == "call" else ():
            injected[kind] += number
    if injected:
        terminalreporter.write_line("faults injected: " + ", ".join(f"{n:,} {kind}" for kind, n in injected.items()))
    if injected and (command := config.getoption("--keep-faults")):
        from prune_lib.book.tables.faults import save_faults

        broken = len(terminalreporter.stats.get("failed", [])) + len(terminalreporter.stats.get("error", []))
        terminalreporter.write_line(str(save_faults(injected, broken, command)))


@pytest.fixture(scope="session")
def soak(request):
    """Whether the fault campaign may take its time."""
    return request.config.getoption("--soak")


@pytest.fixture
def injected(record_property):
    """``injected(kind, number)``: so many faults of a kind were injected. They count if the test then passes."""
    from prune_lib.book.tables.faults import FAULTS

    def note(kind, number):
        assert kind in FAULTS
        record_property(kind, number)

    return note


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Networks this small gain nothing from a second thread, and on a busy machine two of them wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def seen():
    """What the browser tests see; with ``make test-browser``, once all of it was seen, a record that the book shows."""
    seen = {"pages": [], "explorer": {}, "browser": "", "whole": 0}
    yield seen
    whole = seen.pop("whole")
    if os.environ.get("PRUNE_BROWSER") and seen["explorer"] and 0 < whole == len(seen["pages"]):
        from prune_lib.book.site.checks import save_checks

        print(f"\n{save_checks(**seen)}")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder that results and runs are written to."""
    for folder in ("results", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PRUNE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def cifar10():
    """The real CIFAR-10, 2,000 training images held out."""
    folder = os.environ.get("PRUNE_DATA")
    if not folder or not (Path(folder) / "cifar10.npz").is_file():
        pytest.skip("needs the real data: set PRUNE_DATA to a folder that holds cifar10.npz")
    from prune_lib.tasks import load

    return load("cifar10", folder, heldout=2000)


@pytest.fixture
def shaken():
    """Give a network BatchNorm statistics and affine parameters that a forgotten one would show."""

    return shake
