"""Files and names made to do harm: code that would run if it were evaluated or unpickled, archives, names, images.

Nothing of the library unpacks an archive to disk; torchvision does, of a download whose checksum is a known one. What
there is to test is therefore every reader that takes members out of an archive into memory.
"""

import io
import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_input import refused

from prune_lib.book.site import notebook
from prune_lib.cli import parser
from prune_lib.nets import load_network, spec
from prune_lib.nets.units import read_units
from prune_lib.nets.weights import read_compact, read_weights
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import get_row, read_tables
from prune_lib.runs import runner
from prune_lib.runs.given import evaluate_weights
from prune_lib.system import checkpoint
from prune_lib.tasks import imagenet, images, registry


class Payload:
    """Pickled, it makes a file when it is unpickled; ``how`` calls which."""

    def __init__(self, canary, how):
        self.canary, self.how = str(canary), how

    def __reduce__(self):
        if self.how == "open":
            return open, (self.canary, "w")
        if self.how == "eval":
            return eval, (f"open({self.canary!r}, 'w')",)
        import os

        return os.system, (f"touch {self.canary}",)


def _texts(canary):
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    return [code, f"[{code}]", f"[0.5]*{code}", f"[0.5]+[{code} or 0.5]*2", f"(lambda: {code})()", f"{{{code}}}"]


def _yaml(canary):
    touch = f"['touch {canary}']"
    return [
        f"!!python/object/apply:os.system {touch}", f"x: !!python/object/apply:os.system {touch}",
        f"!!python/object/new:os.system {touch}", f"!!python/name:os.system {touch}", "!!python/module:antigravity {}",
        f"!!python/object/apply:subprocess.check_output [['touch', '{canary}']]",
        f"arch: resnet20\nunits: !!python/object/apply:os.system {touch}",
    ]  # fmt: skip


def _payloads(tmp_path, canary):
    """``[(what, function that reads it)]``: 40 and more, each of which would make the canary if anything of it ran."""
    found = []

    def put(name, data):
        path = tmp_path / f"{len(found)}{name}"
        path.write_bytes(data)
        return path

    for text in _texts(canary):
        found.append((text, lambda t=text: spec.parse(t)))
        found.append((text, lambda t=text: Recipe.from_dict({"lr": t})))
        found.append((text, lambda t=text: notebook.check_parameters({"seed": t}, seed=int)))
    for text in _yaml(canary):
        found.append((text, lambda t=text: read_tables("p", t)))
        path = put("units.yaml", text.encode())
        found.append((text, lambda p=path: read_units(p, "resnet20")))
    for how in ("open", "eval", "system"):
        for name in ("x.pt", "x.pth", "x.tar", "x.safetensors"):
            evil = {"state_dict": {"w": torch.zeros(2)}, "x": Payload(canary, how)}
            path = put(name, pickle.dumps(evil))
            found.append((f"pickle {how} {name}", lambda p=path: read_weights(p)))
            file = io.BytesIO()
            torch.save(evil, file)
            path = put(name, file.getvalue())
            found.append((f"torch {how} {name}", lambda p=path: read_weights(p)))
        file = io.BytesIO()
        evil = np.array([Payload(canary, how)], dtype=object)
        plain = {key: np.zeros(1, np.uint8) for key in images.CIFAR10_SHAPES}
        np.savez(file, **{**plain, "x_train": evil})
        folder = tmp_path / f"npz-{how}"
        folder.mkdir()
        (folder / "cifar10.npz").write_bytes(file.getvalue())
        found.append((f"npz {how}", lambda f=folder: registry.load("cifar10", f, heldout=0)))
        folder = tmp_path / f"torchvision-{how}" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
            (folder / name).write_bytes(pickle.dumps(Payload(canary, how)))
        found.append((f"cifar {how}", lambda f=folder.parent: registry.load("cifar10", f, heldout=0)))
    for text in _texts(canary)[:3]:
        path = tmp_path / f"{len(found)}.safetensors"
        save_file({"w": torch.zeros(2)}, path, metadata={"arch": text, "widths": text})
        found.append((f"metadata {text}", lambda p=path: load_network(p)))
        found.append((f"metadata {text}", lambda p=path: read_compact(p)))
        path = tmp_path / f"{len(found)}.safetensors"
        save_file({"linear.bias": torch.zeros(10)}, path, metadata={"arch": "resnet20", "widths": text})
        found.append((f"widths {text}", lambda p=path: load_network(p)))
    return found


def test_no_payload_runs(tmp_path, project, monkeypatch, injected):
    canary = tmp_path / "canary"
    with pytest.raises(FileNotFoundError):
        canary.stat()
    run, with_what = Payload(canary, "open").__reduce__()  # what unpickling would call: it does harm where it is let
    run(*with_what).close()
    assert canary.exists()
    canary.unlink()
    payloads = _payloads(tmp_path, canary)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for what, read in payloads:
        refused(read)
        assert not canary.exists(), what
    assert len(payloads) >= 40
    injected("hostile files and names", len(payloads))
    assert list((project / "results").iterdir()) == []


def _member(name, data=b"x", kind=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = kind << 16
    return info, data


def _zip(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for info, data in members:
            archive.writestr(info, data, compression)
    return file.getvalue()


def _torch_zip():
    file = io.BytesIO()
    torch.save({"w": torch.zeros(100)}, file)
    return file.getvalue()


def _npy(shape, dtype="|u1"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def _safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _archives():
    """``{what: bytes}`` of 25 hostile archives and more."""
    names = ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil", "a\nb", "\\\\server\\evil", "a\x1b[2Jb"]
    found = {f"named {name!r}": _zip([_member(name), _member("data.pkl")]) for name in names}
    found |= {
        "a symbolic link": _zip([_member("x_train.npy", b"/etc/passwd", 0o120777)]),
        "a device": _zip([_member("x_train.npy", b"", 0o020666)]),
        "a bomb": _zip([_member("x_train.npy", bytes(50 * 2**20))], zipfile.ZIP_DEFLATED),
        "a bomb of lzma": _zip([_member("x_train.npy", bytes(50 * 2**20))], zipfile.ZIP_LZMA),
        "many small bombs": _zip([_member(f"{n}.npy", bytes(2**20)) for n in range(40)], zipfile.ZIP_DEFLATED),
        "an archive in an archive": _zip([_member("x_train.npy", _torch_zip())]),
        "no members": _zip([]),
        "cut in the middle": _torch_zip()[:900],
        "cut at its end": _torch_zip()[:-10],
        "only its end": _torch_zip()[-200:],
        "an array of objects": _zip([_member(f"{key}.npy", _npy("(1,)", "|O")) for key in images.CIFAR10_SHAPES]),
        "an array of 10^15": _zip([_member(f"{key}.npy", _npy((10**15,))) for key in images.CIFAR10_SHAPES]),
        "an array of the right shape and no data": _zip(
            [_member(f"{key}.npy", _npy(shape)) for key, shape in images.CIFAR10_SHAPES.items()]
        ),
        "an array whose header is code": _zip([
            _member(f"{key}.npy", _npy("__import__('os').getcwd()")) for key in images.CIFAR10_SHAPES
        ]),
        "a header of 2^63": struct.pack("<Q", 2**63 - 1) + b"{}",
        "a header of 2^40": struct.pack("<Q", 2**40) + b"{}" * 100,
        "a tensor beyond the end": _safetensors({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        "a tensor of no bytes": _safetensors({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 0]}}),
        "overlapping tensors": _safetensors(
            {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)
        ),
        "a deep header": _safetensors(b"[" * 100_000),
        "lists of lists": _zip([_member("data.pkl", b"(" * 100_000)]),
        "a tar": b"../evil".ljust(257, b"\0") + b"ustar  \0" + bytes(10_000),
    }  # fmt: skip
    twice = bytearray(_zip([_member("x_train.npy"), _member("x_train.npz")]))
    found["the same name twice"] = bytes(twice.replace(b"x_train.npz", b"x_train.npy"))
    return found


def test_twenty_five_hostile_archives(project, tmp_path, capsys, monkeypatch, injected):
    """Each as weights under three names and as CIFAR-10, by function and by command: exit 2, nothing written."""
    archives, seen = _archives(), 0
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for what, data in archives.items():
        for name in ("x.pt", "x.tar", "x.safetensors", "cifar10.npz"):
            path = folder / name
            path.write_bytes(data)
            before = sorted(tmp_path.rglob("*"))
            if name == "cifar10.npz":
                words = ["data", "cifar10", "--data-dir", str(folder)]
            else:
                words = ["cost", "resnet20", "--weights", str(path)]
            assert parser.main(words) == 2, (what, name)
            said = capsys.readouterr()
            assert (said.out, len(said.err.splitlines())) == ("", 1), (what, name)
            assert sorted(tmp_path.rglob("*")) == before, what
            path.unlink()
        seen += 1
    assert seen == len(archives) >= 25
    injected("hostile files and names", 4 * seen)
    assert not Path("/etc/evil").exists()


def test_a_tensor_that_says_it_is_larger_than_its_file(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.zeros(1).expand(10**9)}, path)
    assert "1000000000; expected no more than the file holds" in refused(read_weights, path)
    torch.save({"w": torch.zeros(3, 3).to_sparse()}, path)
    refused(read_weights, path)
    torch.save({3: torch.zeros(3)}, path)
    refused(read_weights, path)


NAMES = [
    "../../etc/passwd", "/etc/passwd", "dcff/../../x", "own/../../x", "own/..", "..", ".", "", " ", "a\x00b", "a\nb",
    "dcff/cifar10/resnet56\n", "x" * 100_000, "\u202egnp.exe", "dcff/cifar10/resnet5\u0456", "dcff\\cifar10\\resnet56",
    "dcff/cifar10/resnet56/..", "~root", "$(touch x)", "`touch x`", "--help\r", "-", "\ud800", "*", "\x1b]0;x\x07",
    "own/dcff-cifar10-resnet56/../../../x",
]  # fmt: skip


def test_twenty_hostile_names(project, capsys, monkeypatch, injected):
    """As a row, a table, a budget, a seed, a file, a set and a device: refused in one line, nothing anywhere."""
    monkeypatch.chdir(project)
    before, seen = sorted(project.parent.rglob("*")), 0
    row = get_row("dcff/cifar10/resnet56")
    for name in NAMES:
        refused(get_row, name)
        refused(runner.run, name)
        refused(lambda n=name: runner.run(row, n))
        refused(lambda n=name: runner.run(row, "smoke", n))
        refused(lambda n=name: read_units(n, "resnet20"))
        refused(lambda n=name: read_units("x", n))
        refused(lambda n=name: registry.load(n, heldout=0))
        refused(lambda n=name: evaluate_weights("dcff/cifar10/resnet56", n, device="cpu"))
        if name.strip() and name != "*":
            import dataclasses

            refused(lambda n=name: runner.run(dataclasses.replace(row, id=f"own/{n}/.."), device="cpu"))
        for words in (["run", "--", name], ["table", "--", name], ["data", "--", name]):
            assert parser.main(words) == 2, name
            said = capsys.readouterr()
            assert len(said.err.splitlines()) == 1
            assert said.err[:-1].isprintable()
        seen += 1
    assert seen == len(NAMES) >= 20
    injected("hostile files and names", seen)
    assert sorted(project.parent.rglob("*")) == before


def _set(root, picture):
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for n in range(2):
                (folder / f"{n}.JPEG").write_bytes(picture)


def _jpeg(size=(24, 20), kind="JPEG"):
    file = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(file, kind)
    return file.getvalue()


def _only(root, name):
    for split in ("train", "val"):
        (root / split / name).rename(root / split / f"{name}-gone")


LAYOUTS = {
    "no train": lambda root: (root / "train").rename(root / "trian"),
    "no val": lambda root: (root / "val").rename(root / "test"),
    "train is a file": lambda root: ((root / "train").rename(root / "t"), (root / "train").write_text("")),
    "a class is missing in val": lambda root: (root / "val" / "bee").rename(root / "bee"),
    "another class in val": lambda root: (root / "val" / "cow").mkdir(),
    "images in no class": lambda root: (root / "val" / "x.JPEG").write_bytes(_jpeg()),
    "an empty class": lambda root: [file.unlink() for file in (root / "train" / "ant").iterdir()],
    "a text among the images": lambda root: (root / "train" / "ant" / "readme.txt").write_text("x"),
    "an image of no bytes": lambda root: (root / "train" / "ant" / "0.JPEG").write_bytes(b""),
    "a folder in a class": lambda root: (root / "train" / "ant" / "9.JPEG").mkdir(),
    "a link to nowhere": lambda root: (root / "train" / "ant" / "9.JPEG").symlink_to("/nowhere/x.JPEG"),
}


def test_ten_wrong_layouts(tmp_path, injected):
    for number, (what, change) in enumerate(LAYOUTS.items()):
        root = tmp_path / str(number)
        _set(root, _jpeg())
        assert len(imagenet.load(root, classes=None).train) == 4
        change(root)
        before = sorted(tmp_path.rglob("*"))
        said = refused(lambda r=root: imagenet.load(r, classes=None))
        assert str(root) in said, what
        assert sorted(tmp_path.rglob("*")) == before
    assert len(LAYOUTS) >= 10
    injected("hostile files and names", len(LAYOUTS))


IMAGES = {
    "cut short": lambda data: data[: len(data) // 3],
    "no image": lambda data: b"nothing of the kind" * 20,
    "only a header": lambda data: b"\xff\xd8\xff\xe0" + bytes(40),
    "a page": lambda data: b"<html><script>alert(1)</script></html>",
    "a huge png": lambda data: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + bytes(9),
    "a damaged middle": lambda data: _jpeg(kind="PNG")[:60] + bytes(400),
}


def test_five_kinds_of_corrupt_image(tmp_path, injected):
    path = tmp_path / "x.JPEG"
    for what, damage in IMAGES.items():
        path.write_bytes(damage(_jpeg()))
        assert str(path) in refused(imagenet.read, str(path)), what
    assert len(IMAGES) >= 5
    injected("hostile files and names", len(IMAGES))


def test_a_state_is_no_way_in_either(tmp_path, capsys):
    canary = tmp_path / "canary"
    path = tmp_path / "state.safetensors"
    path.write_bytes(pickle.dumps(Payload(canary, "open")))
    assert checkpoint.read(path) is None
    assert "damaged" in capsys.readouterr().out
    assert not canary.exists()
