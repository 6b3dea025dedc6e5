"""Many processes at once, runs that end badly, and what may be said of them."""

import dataclasses
import json
import os
import signal
import time

import crash
import pytest
import torch

from prune_lib.book.tables.table import load_table
from prune_lib.book.tables.verdict import judge
from prune_lib.cli import parser
from prune_lib.runs import records, runner, training
from prune_lib.runs.history import Saver
from prune_lib.runs.records import Run
from prune_lib.system import lock
from prune_lib.system.errors import InputError

PROCESSES, EACH = 8, 25
ROW = crash.row_of("dcff")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("prune_lib.tasks.registry.load", crash.small_digits)
    monkeypatch.setattr("prune_lib.papers.rows.all_rows", lambda: {ROW.id: ROW})
    monkeypatch.setattr(Saver, "share", float("inf"))


def _record(seed, n, **more):
    named = {"status": "diverged", "budget": "smoke", "key": ROW.key("smoke"), "seed": seed, "n": n}
    return named | {name: {} for name in ("metrics", "curves", "networks", "provenance")} | more


def _forked(functions):
    """Run each function in a process of its own, all at once; returns their exit statuses."""
    pids = []
    for function in functions:
        if not (pid := os.fork()):
            try:
                function()
            except BaseException as error:
                os._exit(2 if isinstance(error, InputError) else 1)
            os._exit(0)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_records_of_many_processes_are_all_there_whole_and_once(project, injected):
    """8 processes write 25 records each of one row; half of them under one name, so that they have to make way."""

    def write(process):
        for n in range(EACH):
            seed = 0 if process % 2 else process
            text = f"{process} " * (1 + 997 * n)
            records.append(Run(ROW, "smoke", seed), _record(seed, [process, n], text=text))

    assert _forked([lambda p=p: write(p) for p in range(PROCESSES)]) == [0] * PROCESSES
    found = list(records.records(ROW))
    assert sorted(record["n"] for record in found) == [[p, n] for p in range(PROCESSES) for n in range(EACH)]
    assert len(found) == PROCESSES * EACH == 200
    assert all(record["text"] == f"{record['n'][0]} " * (1 + 997 * record["n"][1]) for record in found)
    assert {p.suffix for p in (project / "results" / ROW.id).iterdir()} == {".json"}
    injected("processes at once", PROCESSES)


def test_a_reader_sees_no_half_of_a_record(project):
    """Records are read over and over while another process writes."""

    def write():
        for n in range(EACH):
            records.append(Run(ROW, "smoke", n), _record(n, n, text="x" * 200_000))

    pid = os.fork()
    if not pid:
        write()
        os._exit(0)
    seen = []
    while not os.waitpid(pid, os.WNOHANG)[0]:
        seen.append(len([r for r in records.records(ROW) if len(r["text"]) == 200_000]))
    assert seen == sorted(seen)
    assert len(list(records.records(ROW))) == EACH


def test_many_processes_that_want_one_run_make_one_record(project, injected):
    ended = _forked([lambda: crash.run("dcff", None, 1000.0)] * PROCESSES)
    assert set(ended) == {0}  # the others waited for it
    assert len(list(records.records(ROW))) == 1
    assert crash.leftovers(project) == []
    injected("processes at once", PROCESSES)


def test_a_lock_of_a_dead_process_is_taken_over(project):
    folder = Run(ROW, "smoke", 0).folder
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        with lock.only_one(folder):
            os.write(writing, b"held")
            time.sleep(20)
        os._exit(0)
    assert os.read(reading, 4) == b"held"
    assert (lock.held(folder), lock.status(folder)) == (True, "running")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (lock.held(folder), lock.status(folder)) == (False, "interrupted")
    assert crash.run("dcff", None)["status"] == "finished"
    assert lock.status(folder) == ""


def test_looking_at_a_lock_does_not_keep_a_run_from_it(tmp_path):
    stop = time.monotonic() + 1.5

    def look():
        while time.monotonic() < stop:
            lock.held(tmp_path)

    def take():
        while time.monotonic() < stop:
            with lock.only_one(tmp_path):
                pass

    assert _forked([look, look, take]) == [0, 0, 0]


def _interrupted(seed):
    """Kill a run of that seed in its second epoch."""
    seen = []

    def die(self, *args):
        seen.append(1)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args)

    step, training._Loop._step = training._Loop._step, die
    runner.run(ROW, "smoke", seed, device="cpu", progress=False)


def test_runs_that_came_to_no_end_are_seen_and_count_for_nothing(project, monkeypatch, capsys):
    good = crash.run("dcff", None, 1000.0)
    assert crash.child(_interrupted, 1) == -signal.SIGKILL

    def bad(kind):
        def step(self, images, *_):
            if kind == "nan":
                return self.sums.add_(float("nan"))
            raise kind

        return step

    diverge, fail = bad("nan"), bad(RuntimeError("CUDA error:\nsomething"))
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", diverge)
        assert parser.main(["run", ROW.id, "--seed", "2", "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "seed 2: diverged, epoch 1: the training loss is nan; expected a number" in said.out
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", fail)
        with pytest.raises(RuntimeError, match="CUDA error"):
            runner.run(ROW, "smoke", 3, device="cpu", progress=False)
    assert [r["error"] for r in records.records(ROW) if r["status"] == "failed"] == [
        "RuntimeError: CUDA error: something"
    ]
    words = ["smoke, seed 1: interrupted", "smoke, seed 2: diverged", "smoke, seed 3: failed"]
    assert records.unfinished(ROW) == words
    table = load_table("faults/small", {ROW.id: ROW})
    assert table.lines[0].accuracy.seeds == (0,)
    assert table.lines[0].accuracy.mean["last"] == good["metrics"]["top1_last"]
    assert table.to_json()["rows"][0]["unfinished"] == words
    assert "Not finished, and in no figure: ResNet-56, smoke, seed 1: interrupted; ResNet-56" in str(table)
    monkeypatch.setattr("prune_lib.runs.queue.all_rows", lambda: {ROW.id: ROW})
    assert parser.main(["queue", "--rows", ROW.id, "--seeds", "5", "--list"]) == 0
    name = f"{ROW.id} smoke seed"
    assert capsys.readouterr().out.splitlines() == [
        f"{name} 1  (interrupted)", f"{name} 2  (diverged)", f"{name} 3  (failed)", f"{name} 4",
    ]  # fmt: skip
    for seed in (1, 2, 3):  # each goes on to a proper end
        assert runner.run(ROW, "smoke", seed, device="cpu", progress=False)["status"] == "finished"
    assert records.unfinished(ROW) == []
    assert load_table("faults/small", {ROW.id: ROW}).lines[0].accuracy.seeds == (0, 1, 2, 3)


def test_a_seed_that_was_run_twice_counts_once():
    runs = [
        _record(0, 0, status="finished", metrics={f"top1_{p}": top1 for p in ("last", "selected", "test_best")},
                provenance={"ended": ended})
        for top1, ended in ((50.0, "2026-01-02"), (90.0, "2026-01-01"), (10.0, "2026-01-03"))
    ]  # fmt: skip
    found = judge("90.0%", 0.3, runs)
    assert (found.seeds, found.mean["last"], found.sd) == ((0,), 90.0, None)


@pytest.mark.parametrize("count", [0, 4])
def test_no_memory_left_on_the_device_stops_the_run_and_keeps_the_state(project, count, monkeypatch, capsys):
    """Injected in the first step, and in the second epoch. The batch stays what it is, and the run can go on."""
    whole, seen = training._Loop._step, []

    def step(self, images, *rest):
        seen.append(len(images))
        if len(seen) > count:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
        return whole(self, images, *rest)

    words = ["run", ROW.id, "--device", "cpu", "--save-every", "1000"]
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", step)
        assert parser.main(words) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(said) == 1
    assert "failed, no memory left for batches of 32 (CUDA out of memory. Tried to allocate 2.00 GiB)" in said[0]
    assert seen == ([32, 32, 16] * 2)[: count + 1]  # never a smaller batch than the recipe's
    (record,) = records.records(ROW)
    assert (record["status"], record["recipe"]["batch_size"]) == ("failed", 32)
    state = Run(ROW, "smoke", 0).folder / "state.safetensors"
    assert state.exists() == (count > 3)
    before = state.read_bytes() if state.exists() else b""
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("again")))
        assert parser.main(words) == 1
    assert (state.read_bytes() if state.exists() else b"") == before
    assert parser.main(words) == 0
    finished = [r for r in records.records(ROW) if r["status"] == "finished"]
    assert len(finished) == 1
    assert finished[0]["networks"] == _uninterrupted()["networks"]


def _uninterrupted():
    return runner.run(dataclasses.replace(ROW, id="faults/small/other"), device="cpu", progress=False)


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_a_state_that_has_diverged_takes_no_good_ones_place(project, what, monkeypatch):
    """NaN from the second step of the second epoch on, with a state after every step."""
    whole, seen = training._Loop._step, []

    def step(self, *args):
        whole(self, *args)
        seen.append(1)
        if len(seen) == 5:
            if what == "loss":
                self.sums.fill_(float("nan"))
            else:
                with torch.no_grad():
                    self.saver.model.linear.bias.fill_(float("nan"))

    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_step", step)
        record = crash.run("dcff", None)
    assert record["status"] == "diverged"
    assert record["error"].startswith("epoch 2: ")
    assert len(seen) == 5
    again = crash.run("dcff", None)
    assert again["status"] == "finished"
    assert again["provenance"]["resumed"] == [{"epoch": 2, "step": 1, "changed": {}}]
    assert again["networks"] == _uninterrupted()["networks"]
    assert json.dumps(again)
