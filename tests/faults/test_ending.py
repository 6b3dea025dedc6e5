"""Processes that are told to end, die beside others, or find a machine that is not as it should be."""

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import crash
import pytest
import torch

from prune_lib.cli import main
from prune_lib.cli.output import plain
from prune_lib.papers.rows import get_row
from prune_lib.runs import queue, runner, training
from prune_lib.runs.history import Saver
from prune_lib.runs.records import Run
from prune_lib.system import ending, lock, paths
from prune_lib.system.errors import InputError

DENSE, STUDY = "cdp/cifar10-dense/resnet20", "cdp/resnet20-study"
QUEUE = [sys.executable, "-m", "prune_lib", "queue", "--rows", DENSE, "--device", "cpu"]


def _until(true, seconds=120):
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_queue_that_ends_takes_its_runs_with_it(project, monkeypatch, number, code, soak, injected):
    """The signal is for the queue alone. What it leaves is taken up again: ``tests/test_queue.py``."""
    if number == signal.SIGTERM or soak:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
    else:
        pytest.skip("its kind is tried with SIGTERM, and without a signal below; with --soak by SIGKILL too")
    folder = Run(get_row(DENSE), "smoke", 0).folder
    process = subprocess.Popen(QUEUE, stderr=subprocess.PIPE, text=True)
    try:
        assert _until(lambda: lock.status(folder) == "running")
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == code
    assert _until(lambda: lock.status(folder) == "interrupted")
    if number == signal.SIGTERM:
        assert said.strip().endswith("prune: interrupted; the same command goes on from the last whole epoch")
    injected("ended queues", 1)


def test_a_run_of_a_queue_ends_when_the_queue_is_gone():
    script = (
        "import time; from prune_lib.system.ending import by_signals\n"
        "with by_signals():\n    print('on', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, ending.WITH_PARENT: "1"}, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    assert process.poll() is None
    assert "Ended: SIGTERM" in process.communicate(timeout=30)[1]  # closes its stdin, as the end of the queue would


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_says_how_to_go_on(project, number, monkeypatch, capsys):
    def stop(args):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("prune_lib.cli.showing.rows", stop)
    ours = signal.signal(number, signal.SIG_DFL)  # under nohup a hang-up is ignored, and stays so
    try:
        assert main(["rows"]) == 128 + number
        assert "interrupted; the same command goes on" in capsys.readouterr().err
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, ours)


def test_a_signal_that_is_ignored_stays_so_and_ranks_end_at_once(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending.by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        monkeypatch.setenv("RANK", "0")
        with ending.by_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


class Process:
    """What stands in for ``prune run``: it takes a moment, and notes where it ran and beside what."""

    now: ClassVar[dict] = {}
    most: ClassVar[dict] = {}
    seen: ClassVar[list] = []

    def __init__(self, words, env, **_):
        self.device, self.row = words[words.index("--device") + 1], words[4]
        self.stdin, self.threads = None, env["OMP_NUM_THREADS"]

    def wait(self, timeout=None):
        self.now[self.device] = self.now.get(self.device, 0) + 1
        self.most[self.device] = max(self.most.get(self.device, 0), self.now[self.device])
        time.sleep(0.05)
        self.now[self.device] -= 1
        self.seen.append(self.row)
        return 0

    def terminate(self):
        self.seen.append("stopped")

    kill = terminate


@pytest.fixture
def stand_in(monkeypatch):
    for name in ("now", "most"):
        monkeypatch.setattr(Process, name, {})
    monkeypatch.setattr(Process, "seen", [])
    monkeypatch.setattr(queue.subprocess, "Popen", Process)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_queue_uses_every_device_so_many_times_at_once(project, stand_in):
    jobs = queue.jobs([f"{STUDY}/*"], "smoke", [0])
    assert jobs[0].row.id == DENSE
    done = queue.work(jobs, 2, devices=["cuda:0", "cuda:1"], every=0.05)
    assert {job.status for job in done} == {"finished"}
    assert {job.device for job in done} == {"cuda:0", "cuda:1"}
    assert Process.most == {"cuda:0": 2, "cuda:1": 2}
    assert Process.seen[0] == DENSE  # alone, as the others prune its network
    assert sorted(Process.seen) == sorted(job.row.id for job in jobs)
    for names, words in ((["cuda:2"], "'cuda:2' is not usable here: 2 CUDA devices"), (["x"], "'x' is not usable")):
        with pytest.raises(InputError, match=words):
            queue.work(jobs, devices=names)
    with pytest.raises(InputError, match="device cpu is named twice; expected each once"):
        queue.work(jobs, devices=["cpu", "cpu"])


def test_a_queue_that_is_interrupted_stops_what_runs_and_starts_nothing_more(project, stand_in):
    jobs = queue.jobs([f"{STUDY}/*"], "smoke", [0])

    def tell(jobs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.work(jobs, 1, devices=["cpu"], tell=tell, every=0.01)
    assert "stopped" in Process.seen
    assert [job.status for job in jobs].count("waiting") == len(jobs) - 1


@pytest.fixture
def no_flock(monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    lock._say_soft.cache_clear()


def test_without_flock_files_stand_for_locks(tmp_path, no_flock, capsys):
    folder = tmp_path / "runs" / "a"
    assert (lock.held(folder), lock.status(folder)) == (False, "")
    with lock.only_one(folder) as waited:
        assert not waited
        assert lock.status(folder) == "running"
        assert lock._take(folder / "lock", 0.1) is None
    assert "its file system cannot lock (Function not implemented)" in capsys.readouterr().err
    assert lock.status(folder) == ""

    def die():
        with lock.only_one(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    assert crash.child(die) == -signal.SIGKILL
    assert lock.status(folder) == "interrupted"
    with lock.only_one(folder) as waited:  # a dead process of this machine holds nothing
        assert lock.status(folder) == "running"
    with lock.in_turn(folder):
        pass
    with pytest.raises(InputError, match="x"), lock.only_one(tmp_path / "runs" / "b"):
        raise InputError("x")
    assert not (tmp_path / "runs" / "b").exists()


def test_a_lock_file_left_where_there_is_no_flock_keeps_nobody_out(tmp_path, no_flock):
    """As a project has them that was copied from another file system."""
    (tmp_path / "lock").touch()
    assert lock.status(tmp_path) == ""
    with lock.only_one(tmp_path):
        assert lock.held(tmp_path)
    (tmp_path / "lock.soft").write_text("")  # of another machine: nobody here can tell
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    assert lock.held(tmp_path)


@pytest.fixture
def read_only(project, monkeypatch):
    """Where even root can make no file."""
    (project / "results").rmdir()
    (project / "results").symlink_to("/proc")
    return project


def test_a_run_that_could_not_record_does_not_begin(read_only, monkeypatch):
    monkeypatch.setattr(runner, "_run", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(runner, "find", lambda *_: None)
    with pytest.raises(InputError, match=r"cannot be written \(.*\); expected a place for the run's record"):
        crash.run("dcff", None)
    assert not (read_only / "runs").exists()


def test_a_folder_that_is_a_link_to_nowhere_is_named(project, monkeypatch):
    monkeypatch.setattr(runner, "_run", lambda *_: pytest.fail("it began"))
    (project / "runs").symlink_to("gone")
    with pytest.raises(InputError, match="runs is a link to gone, which is not there; expected a folder"):
        crash.run("dcff", None)
    (project / "runs").unlink()
    (project / "runs").write_text("")
    with pytest.raises(InputError, match="runs is a file; expected a folder"):
        crash.run("dcff", None)


def test_a_relative_folder_is_the_same_for_every_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_DATA", "2012")
    monkeypatch.setenv("PRUNE_HOME", "~nobody-by-that-name/x")
    paths.settle_environment()
    assert os.environ["PRUNE_DATA"] == str(tmp_path / "2012")
    assert os.environ["PRUNE_HOME"] == str(tmp_path / "~nobody-by-that-name" / "x")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_no_command_ends_because_of_what_a_terminal_cannot_show(encoding, monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(["rows"]) == 0
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    assert main(["run", "é…–\udcff"]) == 2
    for stream in streams:
        stream.flush()
    shown = [stream.buffer.getvalue().decode(encoding) for stream in streams]
    if encoding != "cp1252":
        assert "runs/.../last.safetensors" in shown[0]
    assert "unknown row" in shown[1]


def test_what_stands_for_other_characters():
    assert plain("a – b … 3 × 4 ± 1 “é” ✓") == 'a - b ... 3 x 4 +- 1 "e" ?'


def test_a_table_without_records_says_where_it_looked(project, capsys):
    assert main(["table", "dcff/cifar10"]) == 0
    assert f"no records of dcff/cifar10 in {project}/results: 'prune run' makes them" in capsys.readouterr().err
    (project / "results").rmdir()
    assert main(["table", "dcff/cifar10", "--json"]) == 0
    said = capsys.readouterr()
    assert f"{project}/results, which is not there" in said.err
    assert json.loads(said.out)["rows"]


def test_a_clock_that_jumps_changes_no_figure(tmp_path, monkeypatch, injected):
    """An hour back or a day on, whenever somebody asks for the time of day, within a run and across its resume."""
    monkeypatch.setattr("prune_lib.tasks.registry.load", crash.small_digits)
    monkeypatch.setattr(Saver, "share", float("inf"))

    def run_in(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("PRUNE_HOME", str(tmp_path / name))
        crash.run("dcff", None)
        assert crash.leftovers(tmp_path / name) == []
        return crash.digest_of(tmp_path / name, "dcff")

    expected, asked, seen, step = run_in("still"), [], [], training._Loop._step

    def now():
        asked.append(1)
        by = timedelta(hours=-len(asked)) if len(asked) % 2 else timedelta(days=1)
        return (datetime.now(UTC) + by).isoformat(timespec="seconds")

    def stop(self, *args):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return step(self, *args)

    for module in (lock, runner):
        monkeypatch.setattr(module, "now", now)
    monkeypatch.setattr(time, "time", lambda: 1e9 * (len(asked) % 2))
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", stop)
        with pytest.raises(KeyboardInterrupt):
            run_in("jumping")
    assert run_in("jumping") == expected
    assert len(asked) >= 3
    injected("jumps of the clock", len(asked))


def _two(folder, *die):
    """Train in two processes, as torchrun would: when one dies, the other is ended. Returns their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(Path(__file__).with_name("two.py")), str(folder), *map(str, die)]
    quiet = subprocess.DEVNULL
    processes = [
        subprocess.Popen(words, env={**env, "RANK": r, "LOCAL_RANK": r}, stdout=quiet, stderr=quiet) for r in "01"
    ]
    try:
        _until(lambda: any(p.poll() not in (None, 0) for p in processes) or all(p.poll() == 0 for p in processes), 300)
    finally:
        for process in processes:
            process.kill()
    return [process.wait() for process in processes]


def test_two_processes_of_which_one_dies_end_in_the_same_weights(tmp_path, soak, injected):
    """Three steps an epoch, four epochs; a state after every step."""
    whole = tmp_path / "whole"
    whole.mkdir()
    assert _two(whole) == [0, 0]
    expected = [(whole / f"{r}.digest").read_text() for r in range(2)]
    for rank, step in [(r, s) for r in (0, 1) for s in (1, 3, 5, 8, 11)] if soak else [(1, 5)]:
        folder = tmp_path / f"{rank}-{step}"
        folder.mkdir()
        assert _two(folder, rank, step)[rank] == -signal.SIGKILL
        assert _two(folder) == [0, 0]
        assert [(folder / f"{r}.digest").read_text() for r in range(2)] == expected
        injected("kills of one of two", 1)
