"""A disk that is full, fails, or gives back other bytes than were written."""

import os
import random

import crash
import pytest
import torch

from prune_lib.cli import parser
from prune_lib.nets import build
from prune_lib.runs import records
from prune_lib.runs.history import Saver
from prune_lib.runs.records import Run
from prune_lib.system import checkpoint, files
from prune_lib.system.device import pick_precision
from prune_lib.system.errors import InputError

DAMAGES = 200


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("prune_lib.tasks.registry.load", crash.small_digits)
    monkeypatch.setattr(Saver, "share", float("inf"))


@pytest.fixture
def saved(tmp_path):
    """A state of a real training run, its generation before, and what both hold."""
    path, model = tmp_path / "state.safetensors", build("resnet20", {"conv1": 1})
    states = []
    for number in (1, 2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(number)
        tensors = {f"model/{name}": t.clone() for name, t in model.state_dict().items() if "layer" not in name}
        checkpoint.write(path, tensors, {"identity": "é", "curve": [{"loss": 0.1 * number, "epoch": number}]})
        states.append(checkpoint.read(path))
    return path, states


def _damaged(data, chance):
    """The file cut short, lengthened, or with some bits turned: in its header as often as in its tensors."""
    data, kind = bytearray(data), chance.randrange(4)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        return data + bytes(chance.randrange(1, 100))
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(chance.choice((1, 1, 1, 2, 64))):
        place = chance.randrange(header) if kind == 2 else chance.randrange(header, len(data))
        data[place] ^= 1 << chance.randrange(8)
    return data


def test_no_damaged_state_is_loaded_without_a_word(saved, capsys, injected):
    path, (older, newest) = saved
    whole, seen = path.read_bytes(), 0
    assert checkpoint.read(path)[1] == newest[1]
    for number in range(DAMAGES):
        path.write_bytes(damaged := _damaged(whole, random.Random(number)))
        assert damaged != whole
        tensors, facts = checkpoint.read(path)
        assert facts == older[1], number
        assert all(torch.equal(tensors[name], tensor) for name, tensor in older[0].items())
        said = capsys.readouterr().out
        assert f"{path}: damaged (" in said
        assert len(said.splitlines()) == 1
        seen += 1
    assert seen == DAMAGES
    injected("damaged states", seen)


def test_every_bit_of_a_header_counts(saved, injected):
    path, (older, _) = saved
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    unseen = []
    for bit in range(0, 8 * header, 17):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        if checkpoint.read(path)[1] != older[1]:
            unseen.append(bit)
    assert unseen == []
    injected("damaged states", len(range(0, 8 * header, 17)))


def test_with_both_generations_damaged_there_is_no_state_and_that_is_said(saved, capsys):
    path, _ = saved
    for generation in (path, path.with_name(f"{path.name}.previous")):
        generation.write_bytes(generation.read_bytes()[:-1])
    assert checkpoint.read(path) is None
    assert "no state is left to go on from" in capsys.readouterr().out


def test_a_damaged_newest_state_does_not_push_out_the_whole_one_before_it(saved, monkeypatch):
    """The next write dies at each of its renames: there is a whole state all the same."""
    path, (older, newest) = saved
    previous = path.with_name(f"{path.name}.previous")
    damaged = {path: path.read_bytes()[:-1], previous: previous.read_bytes()}
    for number in range(1, 4):
        for file, data in damaged.items():
            file.write_bytes(data)

        def dies():
            left = number  # noqa: B023

            def count(function):
                def counted(*args):
                    nonlocal left
                    left -= 1
                    if not left:
                        os._exit(9)
                    return function(*args)

                return counted

            files.os.replace, files.os.link = count(os.replace), count(os.link)
            checkpoint.write(path, newest[0], newest[1])

        assert crash.child(dies) == 9
        assert checkpoint.read(path)[1] in (older[1], newest[1])


def test_a_full_or_failing_disk_leaves_the_states_there_were(saved, injected):
    """ENOSPC and EIO at each open, write, sync, link and rename of a state."""
    path, (_, newest) = saved
    failed, before = 0, {p.name: p.read_bytes() for p in path.parent.iterdir()}
    for code in (crash.FULL, crash.BROKEN):
        for number in range(100):
            for name, data in before.items():
                path.with_name(name).write_bytes(data)
            third = {"identity": "é", "curve": [number]}
            error, where = _failing(number, code, lambda third=third: checkpoint.write(path, newest[0], third))
            after = {p.name: p.read_bytes() for p in path.parent.iterdir()}
            if error is None:
                break
            failed += 1
            assert error.errno == code
            assert set(after) == set(before), where
            assert checkpoint.read(path)[1] in (newest[1], third)
            if where != "sync of the folder":
                assert after == before, where
        else:
            raise AssertionError("it never came to an end")
    assert failed >= 2 * 6
    injected("failing disks", failed)


def _failing(number, code, function):
    """Call ``function`` with its ``number``-th request to the disk failing."""
    count, where = 0, ""

    def reached(group, name):
        nonlocal count, where
        if name.startswith(("before", "within")):
            count += 1
            if count == number + 1:
                where = name
                raise OSError(code, os.strerror(code))

    try:
        with crash.points(reached, ("saving",)):
            function()
    except OSError as error:
        return error, "sync of the folder" if where == "before fsync" and number > 4 else where
    return None, ""


def test_a_record_that_cannot_be_written_is_not_there_at_all(project, injected):
    """ENOSPC and EIO at each request to the disk, beside a record that was there before."""
    row, failed = crash.row_of("dcff"), 0
    record = {"status": "diverged", "budget": "smoke", "key": row.key("smoke"), "seed": 0}
    records.append(Run(row, "smoke", 0), record)
    for code in (crash.FULL, crash.BROKEN):
        for number in range(100):
            before = {p: p.read_bytes() for p in (project / "results").rglob("*") if p.is_file()}
            error, where = _failing(number, code, lambda: records.append(Run(row, "smoke", 0), {**record, "seed": 1}))
            if error is None:
                break
            after = {p: p.read_bytes() for p in (project / "results").rglob("*") if p.is_file()}
            failed += 1
            assert {p: after[p] for p in before} == before, where
            assert all(p.suffix == ".json" for p in after), where
            assert [r["seed"] for r in records.records(row)].count(0) == 1
            if after != before:  # its name was there before the folder could not be synced
                assert where in ("before fsync", "sync of the folder")
    assert failed >= 2 * 6
    injected("failing disks", failed)


def test_a_run_on_a_full_or_failing_disk_stops_in_one_line_and_goes_on(small, tmp_path, monkeypatch, capsys, injected):
    """Through the command, at every fifth request that a run makes of the disk for states, networks and record."""
    row = crash.row_of("dcff")
    monkeypatch.setattr("prune_lib.papers.rows.get_row", lambda name: row)
    words = ["run", row.id, "--device", "cpu", "--save-every", "1000"]
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.setenv("PRUNE_HOME", str(whole))
    assert parser.main(words) == 0
    expected, stopped = crash.digest_of(whole, "dcff"), 0
    capsys.readouterr()
    for number in range(0, 300, 5):
        project = tmp_path / str(number)
        project.mkdir()
        monkeypatch.setenv("PRUNE_HOME", str(project))
        code = (crash.FULL, crash.BROKEN)[number // 5 % 2]
        count = 0

        def reached(group, name, number=number, code=code):
            nonlocal count
            if name.startswith(("before", "within")) and not name.endswith(" save"):
                count += 1
                if count == number + 1:
                    raise OSError(code, os.strerror(code))

        with crash.points(reached, ("saving",)):
            ended = parser.main(words)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("prune: ")]
        if ended == 0:
            assert count <= number
            break
        assert (ended, len(said)) == (1, 1)
        assert os.strerror(code) in said[0]
        stopped += 1
        assert all(record["status"] == "finished" for record in records.records(row))
        assert [p for p in project.rglob("*") if p.name.endswith((".new", ".old"))] == []
        if number % 3 == 0:
            assert parser.main(words) == 0
            assert crash.digest_of(project, "dcff") == expected
            assert crash.leftovers(project) == []
    assert stopped >= 8
    injected("failing disks", stopped)


def test_a_state_of_another_network_is_refused_by_name(small, project):
    row = crash.row_of("dcff")
    folder = Run(row, "smoke", 0).folder
    identity = f"{row.id} smoke seed 0 {row.key('smoke')} {pick_precision(torch.device('cpu'))}"
    checkpoint.write(folder / "state.safetensors", {"nonsense": torch.zeros(2)}, {"identity": identity, "curve": []})
    with pytest.raises(InputError, match="is not of this network and method"):
        crash.run("dcff", None)
    assert list((project / "results").iterdir()) == []
