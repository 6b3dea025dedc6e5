import random

import pytest
import torch

from prune_lib.system import checkpoint, files


@pytest.fixture
def saved(tmp_path):
    """A path with two generations: state 1, and state 2 as the newest."""
    path, generator = tmp_path / "deep" / "state.safetensors", torch.Generator().manual_seed(0)
    for number in (1, 2):
        tensors = {"w": torch.randn(7, 5, generator=generator), "n": torch.tensor(number), "half": torch.ones(3).half()}
        checkpoint.write(path, tensors, {"number": number})
    return path


def test_the_newest_state_comes_back_exactly(saved):
    tensors, state = checkpoint.read(saved)
    generator = torch.Generator().manual_seed(0)
    torch.randn(7, 5, generator=generator)
    assert torch.equal(tensors["w"], torch.randn(7, 5, generator=generator))
    assert (state, tensors["n"].item(), tensors["half"].dtype) == ({"number": 2}, 2, torch.float16)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["state.safetensors", "state.safetensors.previous"]


def test_nothing_is_read_where_nothing_is(tmp_path):
    assert checkpoint.read(tmp_path / "none") is None


def test_tensors_that_share_memory_are_kept(tmp_path):
    whole = torch.arange(6.0)
    checkpoint.write(tmp_path / "s", {"a": whole, "b": whole, "c": whole[2:4]}, {})
    tensors, _ = checkpoint.read(tmp_path / "s")
    assert tensors["b"].tolist() == whole.tolist()
    assert tensors["c"].tolist() == [2.0, 3.0]


def _damage(path, number):
    """The file cut short, or one bit of it turned, by a seeded choice."""
    data, chance = bytearray(path.read_bytes()), random.Random(number)
    if number % 2:
        return data[: chance.randrange(len(data))]
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


@pytest.mark.parametrize("number", range(200))
def test_a_damaged_file_never_loads_silently(saved, number, capsys):
    before = checkpoint.read(saved)
    saved.write_bytes(_damage(saved, number))
    found = checkpoint.read(saved)
    if found[1] == {"number": 1}:
        assert "damaged" in capsys.readouterr().out
    else:  # only a bit that means nothing to the reader may go unnoticed, such as one in padding
        assert found[1] == before[1]
        assert all(torch.equal(found[0][name], tensor) for name, tensor in before[0].items())


def test_a_write_that_fails_leaves_the_old_state(saved, monkeypatch):
    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(saved, {"w": torch.zeros(2)}, {"number": 3})
    monkeypatch.undo()
    assert checkpoint.read(saved)[1] == {"number": 2}
    assert sorted(p.name for p in saved.parent.iterdir()) == ["state.safetensors", "state.safetensors.previous"]


def test_digest_sees_names_types_shapes_and_bytes():
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).int()},
        {"a": torch.ones(2, 3)},
    ]
    assert checkpoint.digest(base) == checkpoint.digest({"a": torch.zeros(2, 3)})
    assert len({checkpoint.digest(item) for item in [base, *others]}) == 5
