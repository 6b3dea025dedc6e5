"""Checkpoints made to do harm, and broken ones, given to ``prune inspect``: one line each, and nothing in them runs."""

import io
import json
import pickle
import random
import struct
import tarfile
import warnings
import zipfile

import pytest
import torch

from prune_lib.cli.parser import main
from prune_lib.nets import build
from prune_lib.runs.inspection import inspect
from prune_lib.system.errors import InputError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("resnet20")


def _older(tree, path):
    torch.save(tree, path, _use_new_zipfile_serialization=False)


def _plain(tree, path):
    path.write_bytes(pickle.dumps(tree))


class Payload:
    """Pickled, it would make a file when it is unpickled."""

    def __init__(self, canary, how):
        self.canary, self.how = str(canary), how

    def __reduce__(self):
        import os

        calls = {
            "open": (open, (self.canary, "w")), "exec": (exec, (f"open({self.canary!r}, 'w')",)),
            "system": (os.system, (f"touch {self.canary}",)), "import": (__import__, ("antigravity",)),
        }  # fmt: skip
        return calls[self.how]


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _tensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _saved(tree, **options):
    file = io.BytesIO()
    torch.save(tree, file, **options)
    return file.getvalue()


def _hostile(canary):
    """``[(what, bytes)]``: more than a hundred files that are no whole, harmless checkpoint."""
    tree = {"state_dict": {"conv.weight": torch.ones(4, 3, 3, 3)}, "epoch": 3}
    new, old, plain = _saved(tree), _saved(tree, _use_new_zipfile_serialization=False), pickle.dumps(tree)
    tensors = _tensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    files = []
    for name, whole in {"zip": new, "older": old, "pickle": plain, "safetensors": tensors}.items():
        files += [(f"{name} cut off at {n}/9", whole[: len(whole) * n // 9]) for n in range(1, 9)]
    for how in ("open", "exec", "system", "import"):
        evil = {"x": Payload(canary, how)}
        for protocol in (0, 2, 4):
            files.append((f"pickle that calls {how}, protocol {protocol}", pickle.dumps(evil, protocol)))
        files.append((f"zip that calls {how}", _saved(evil)))
        files.append((f"older file that calls {how}", _saved(evil, _use_new_zipfile_serialization=False)))
        files.append((f"bare {how}", pickle.dumps(Payload(canary, how))))
    for about in (
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}, {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "X", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": "ab", "data_offsets": [0, 8]}, {"dtype": "F32"}, [], 3, None,
    ):  # fmt: skip
        files.append((f"safetensors with {about}", _tensors({"w": about}, bytes(8))))
    texts = [b"{", b"{}", b"[]" * 5, b"{" * 5000, b'{"w": NaN}', b'{"a":1e999}', b"\xff" * 20, b'{"__metadata__": 3}']
    files += [(f"safetensors header {text[:20]}", _tensors(text, bytes(8))) for text in texts]
    files += [
        ("empty", b""), ("zeros", bytes(5000)), ("one byte", b"\x80"), ("text", b"404: Not Found"),
        ("web page", b"\n<!DOCTYPE html><title>Sign in</title>"), ("ones", b"\xff" * 4096),
        ("git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        ("json", b'{"state_dict": {}}'), ("gzip", b"\x1f\x8b" + bytes(50)), ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(50)),
        ("zip of nothing", _zip({})), ("zip of a text", _zip({"a.txt": b"x"})), ("npz", _zip({"a.npy": b"x"})),
        ("zip with a way out", _zip({"../data.pkl": plain})), ("zip with no numbers", _zip({"a/data.pkl": _tree(new)})),
        ("zip with few numbers", _zip({"a/data.pkl": _tree(new), "a/data/0": b"1234"})),
        ("zip of no pickle", _zip({"a/data.pkl": b"hello"})), ("zip of an empty pickle", _zip({"a/data.pkl": b""})),
        ("PK", b"PK\x03\x04" + bytes(100)), ("no tensors", pickle.dumps({"epoch": 3})), ("a number", pickle.dumps(3)),
        ("a list", pickle.dumps([1, 2])), ("no names", _saved({3: torch.ones(2)})),
        ("one tensor", _saved(torch.ones(3))),
        ("deep list", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."), ("no stack", b"\x80\x02a."),
        ("marks", b"\x80\x02" + b"(" * 1000 + b"t."), ("a tuple of itself", b"\x80\x02]q\x00h\x00a."),
        ("an unknown memo", b"\x80\x02h\x07."), ("an extension", b"\x80\x02\x82\x01."),
        ("out of band", b"\x80\x05\x97."),
        ("a huge count", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."), ("digits", b"L" + b"9" * 9000 + b"L\n."),
        ("a reduce of numbers", b"\x80\x02K\x01K\x02R."), ("only a stop", b"\x80\x02."), ("compressed", _bomb()),
        ("older, other magic", old.replace(b"\x6c\xfc\x9c\x46", b"\x6c\xfc\x9c\x47", 1)), ("tar", _tar()),
        ("a wide tensor", _rebuilt(2**40, 1)), ("a negative shape", _rebuilt(-3, 1)),
    ]  # fmt: skip
    return files


def _tree(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(50_000_000))
    return file.getvalue()


def _tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x.pth"))
    return file.getvalue()


class Rebuilt:
    def __init__(self, n, stride):
        self.n, self.stride = n, stride

    def __reduce__(self):
        storage = torch.ones(2).storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, (self.n,), (self.stride,), False, None)


def _rebuilt(n, stride):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")
        return pickle.dumps({"w": Rebuilt(n, stride)})


def test_hostile_and_broken_files_are_one_line_and_nothing_runs(tmp_path, capsys, injected):
    canary, files = tmp_path / "pwned", _hostile(tmp_path / "pwned")
    assert len({what for what, _ in files}) == len(files) >= 100
    refused = 0
    for number, (what, data) in enumerate(files):
        path = tmp_path / f"{number}{('.pth', '.safetensors', '.bin', '.pth.tar')[number % 4]}"
        path.write_bytes(data)
        code = main(["inspect", str(path)])
        out, err = capsys.readouterr()
        assert not canary.exists(), what
        assert code in (0, 2), what
        if code == 2:
            assert (out, len(err.splitlines())) == ("", 1), what
            assert err.startswith(f"prune: {path}: "), (what, err)
            assert "Traceback" not in err
            refused += 1
        else:  # what is cut off behind the last thing that is read
            assert "cut off" in what, (what, out)
    assert refused >= 100
    injected("malformed inputs", refused)
    for missing in ("nowhere.pth", "", "x" * 5000, str(tmp_path)):
        assert main(["inspect", missing]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("save", [torch.save, _older, _plain])
def test_code_beside_real_weights_is_named_and_not_run(network, save, tmp_path, capsys):
    canary = tmp_path / "pwned"
    calls = {"open": "open", "exec": "exec", "system": "system", "import": "__import__"}
    save({"state_dict": network.state_dict(), **{how: Payload(canary, how) for how in calls}}, tmp_path / "x.pth")
    assert main(["inspect", str(tmp_path / "x.pth")]) == 0
    assert "resnet20, 10 classes" in capsys.readouterr().out
    assert not canary.exists()
    found = inspect(tmp_path / "x.pth")
    assert {name.rsplit(".", 1)[-1] for name in found.things} == set(calls.values())
    assert found.suggestion.startswith("save its state dict alone")


def test_damaged_files_are_read_or_refused(network, tmp_path, injected):
    """Bits turned and parts overwritten, anywhere in files of each kind."""
    small = {"state_dict": {name: t for name, t in network.state_dict().items() if "layer" not in name}, "epoch": 3}
    kinds, seen = [_saved(small), _saved(small, _use_new_zipfile_serialization=False), pickle.dumps(small)], 0
    kinds.append(_tensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)))
    path = tmp_path / "x.pth"
    for number in range(200):
        chance, data = random.Random(number), bytearray(kinds[number % 4])
        for _ in range(chance.choice((1, 1, 5, 50))):
            data[chance.randrange(min(len(data), chance.choice((100, 4000, 10**6))))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            str(inspect(path))
        except InputError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            seen += 1
    assert seen > 50
    injected("malformed inputs", seen)
