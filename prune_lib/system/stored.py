"""Tensors in other people's files, without torch: safetensors, torch's zips, its older pickles, plain pickles.

A file becomes a ``Stored``: its tree as plain data, in which a ``Tensor`` says what it is and where its numbers lie.
Nothing in a file is run, and no number is read before it is asked for.
"""

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .archive import check_zip
from .errors import InputError, short
from .pickles import Named, Thing, of_bytes, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C  # with which torch's older files begin
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8,
    "C128": 16, "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
TORCH = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16",
    "Char": "I8", "Byte": "U8", "Bool": "BOOL", "ComplexFloat": "C64", "ComplexDouble": "C128", "Untyped": "U8",
}  # fmt: skip
TORCH_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
EXPONENTS = {"F64": (52, 11), "F32": (23, 8), "F16": (10, 5), "BF16": (7, 8)}  # (bits of the fraction, of the exponent)
LARGEST = 256 * 2**20  # bytes of a tree
DEEPEST = 1000  # dimensions and the like


@dataclass
class Storage:
    """A run of numbers in a file."""

    kind: str
    key: str
    read: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Tensor:
    """What a tensor is, and where its numbers lie; strides and offset count numbers."""

    kind: str  # F32, F16, I64 …
    shape: tuple[int, ...]
    storage: Storage = field(repr=False, compare=False)
    offset: int = 0
    strides: tuple[int, ...] | None = None  # None: one number after the other

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def bits(self):
        """Its numbers as unsigned integers of their own bits, in its shape.

        Raises:
            InputError: the file does not hold them.
        """
        import numpy as np

        each = SIZES.get(self.kind, 0)
        if each not in (1, 2, 4, 8) or self.storage.read is None:
            raise InputError(f"numbers of kind {self.kind} are not read")
        data = self.storage.read()
        whole = np.frombuffer(data[: len(data) // each * each], f"<u{each}")
        strides = self.strides if self.strides is not None else contiguous(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, strides, strict=True))
        if self.size and not 0 <= last < len(whole):
            raise InputError(f"a tensor of {self.size:,} numbers where the file holds {len(whole):,}")
        if not self.size:
            return np.zeros(self.shape, f"<u{each}")
        steps = [step * each for step in strides]
        return np.lib.stride_tricks.as_strided(whole[self.offset :], self.shape, steps, writeable=False)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= n
    return tuple(reversed(steps))


@dataclass
class Stored:
    """A file: of what kind it is, and what it holds."""

    kind: str
    tree: Any
    metadata: dict[str, str] = field(default_factory=dict)


def read_stored(path: str | Path) -> Stored:
    """What a file of tensors holds, by what it is and not by its name.

    Raises:
        InputError: no such file, or not a file of tensors; one line.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"no file at {path}")
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{short(str(path))} is no name that a file can have") from None
    _check_head(path, head)
    if head.startswith(b"PK"):
        return _zip(path, size)
    if _is_safetensors(head, size):
        return _safetensors(path)
    if head[:1] == b"\x80" or head[:1] in b"(}]c":
        return _pickled(path, size)
    if head[257:262] == b"ustar":
        raise InputError(f"{path}: a tar archive; expected one of the files in it (tar -xf)")
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        raise InputError(f"{path}: a compressed file; expected what is in it")
    if head.startswith(b"\x89HDF"):
        raise InputError(f"{path}: an HDF5 file, as Keras writes; expected safetensors or torch's")
    raise InputError(f"{path}: begins with {head[:4].hex(' ')}; expected safetensors, torch's zip or a pickle")


def _check_head(path: Path, head: bytes) -> None:
    """Refuse what often lies where weights are expected: nothing, a pointer of git-lfs, a web page, a text."""
    if not head:
        raise InputError(f"{path}: an empty file")
    if not any(head):
        raise InputError(f"{path}: begins with {len(head)} zeros; expected a file of tensors")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: a pointer that git-lfs left in place of the file; fetch the file: git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise InputError(f"{path}: a web page; expected the weights that it may offer for download")
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head[:200])
    if text and not head.rstrip().endswith(b"."):  # pickles of protocol 0 are text, too, and end with a dot
        raise InputError(f"{path}: a text that begins with {short(head[:40].decode())}; expected a file of tensors")


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and 2 <= struct.unpack("<Q", head[:8])[0] <= size - 8 and head[8:9] == b"{"


def _safetensors(path: Path) -> Stored:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as archive:  # checks every offset and length
            metadata = archive.metadata() or {}
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not whole safetensors ({short(str(error), 150)})") from None
    tree: dict[str, Any] = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            read = _part_of(path, 8 + length + start, end - start)
            tree[name] = Tensor(about["dtype"], tuple(about["shape"]), Storage(about["dtype"], name, read))
    return Stored("safetensors", tree, metadata)


def _part_of(path: Path, start: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    return read


def _zip(path: Path, size: int) -> Stored:
    check_zip(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            trees = [name for name in names if name.endswith("data.pkl") and name.count("/") <= 1]
            if not trees:
                raise InputError(f"{path}: a zip with {_what(names)}; expected torch's, with data.pkl")
            if archive.getinfo(trees[0]).file_size > LARGEST:
                raise InputError(f"{path}: a tree of more than {LARGEST >> 20} MiB; expected a checkpoint")
            data = archive.read(trees[0])
    except InputError:
        raise
    except Exception as error:  # zipfile, and what it unpacks with, have many kinds
        raise InputError(f"{path}: a damaged zip ({short(str(error), 150)})") from None
    folder = trees[0].removesuffix("data.pkl")
    script = any(name.startswith(f"{folder}code/") for name in names)

    @lru_cache(maxsize=2)
    def member(key: str) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read(f"{folder}data/{key}")
        except Exception as error:
            raise InputError(f"{path}: the numbers of {short(key)} are missing ({short(str(error), 100)})") from None

    def storage(kind: str, key: str) -> Storage:
        return Storage(kind, key, lambda: member(key))

    tree = of_bytes(data, str(path), _maker(size, storage))
    return Stored("TorchScript, a zip" if script else "torch's zip", tree)


def _what(names: list[str]) -> str:
    if any(name.endswith(".npy") for name in names):
        return "arrays of numpy"
    return ", ".join(short(name) for name in names[:3]) + (" …" if len(names) > 3 else "") or "nothing"


def _pickled(path: Path, size: int) -> Stored:
    """A pickle; or torch's older form: five of them, and then the numbers."""
    try:
        with open(path, "rb") as file:
            return _pickles(file, str(path), size, path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _pickles(file, where: str, size: int, path: Path | None, data: bytes = b"") -> Stored:
    storages: dict[str, Storage] = {}

    def storage(kind: str, key: str) -> Storage:
        return storages.setdefault(key, Storage(kind, key))

    first = read_pickle(file, where, _maker(size, storage))
    if first != MAGIC:
        return Stored("a plain pickle", first)
    for _ in range(2):
        read_pickle(file, where)
    tree = read_pickle(file, where, _maker(size, storage))
    keys = read_pickle(file, where)
    for key in keys if isinstance(keys, list) else ():
        found = storages.get(str(key))
        if found is None:
            raise InputError(f"{where}: numbers of {short(key)}, which nothing uses; expected torch's older form")
        count = file.read(8)
        length = struct.unpack("<q", count)[0] * SIZES.get(found.kind, 1) if len(count) == 8 else -1
        at = file.tell()
        if not 0 <= length <= size - at:
            raise InputError(f"{where}: cut off in the numbers of {short(key)}; expected the whole file")
        found.read = _part_of(path, at, length) if path else (lambda a=at, n=length: data[a : a + n])  # type: ignore[misc]
        file.seek(at + length)
    return Stored("torch's older pickles", tree)


def _maker(size: int, storage: Callable[[str, str], Storage]) -> Callable[[str, tuple], Any]:
    """What stands for the calls that torch and numpy ask for; all others stay things."""

    def make(name: str, args: tuple) -> Any:
        try:
            return _made(name, args, size, storage)
        except InputError:
            raise
        except Exception:  # arguments of another kind than torch gives
            return Thing(name, args)

    return make


def _made(name: str, args: tuple, size: int, storage: Callable[[str, str], Storage]) -> Any:
    if name == "persistent" and args[0] == "storage":
        return storage(_kind_of(args[1]), str(args[2]))
    if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v3"):
        kind = _kind_of(args[6]) if name.endswith("v3") else args[0].kind
        return _tensor(kind, args[0], args[1], args[2], args[3], size)
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return args[0]
    if name == "torch._tensor._rebuild_from_type_v2":
        return _made(args[0].name, args[2], size, storage)
    if name == "torch.storage._load_from_bytes":
        data = bytes(args[0])
        return _pickles(io.BytesIO(data), "a tensor in a pickle", len(data), None, data).tree
    if name == "_codecs.encode":
        return args[0].encode("latin1")
    if name in ("torch.Size", "builtins.tuple", "builtins.list", "builtins.set", "__builtin__.set"):
        return args[0] if args else ()
    if name.startswith("numpy."):
        return _of_numpy(name.rsplit(".", 1)[-1], name, args, size)
    if name == "build":  # numpy's array, which has its state now
        _, shape, dtype, fortran, data = args[0].state
        return _array(data, dtype, shape, "F" if fortran else "C", size)
    if name == "datetime.datetime" and isinstance(args[0], bytes | str):
        raw = args[0] if isinstance(args[0], bytes) else args[0].encode("latin1")
        return f"{raw[0] << 8 | raw[1]:04}-{raw[2] & 127:02}-{raw[3]:02} {raw[4]:02}:{raw[5]:02}"
    return Thing(name, args)


def _tensor(kind: str, storage: Storage, offset: int, shape, strides, size: int) -> Tensor:
    shape, strides = tuple(shape), tuple(strides)
    good = all(type(n) is int and 0 <= n < 2**48 for n in (*shape, *strides, offset)) and len(shape) == len(strides)
    if not good or len(shape) > 64 or not isinstance(storage, Storage):
        raise InputError(f"a tensor of shape {short(shape)} and strides {short(strides)}; expected whole numbers")
    tensor = Tensor(kind, shape, storage, offset, strides)
    if tensor.size * SIZES.get(kind, 1) > size:
        raise InputError(f"a tensor of {short(shape)}, {kind}; expected no more than the file holds")
    return tensor


def _of_numpy(last: str, name: str, args: tuple, size: int) -> Any:
    if last == "dtype":
        return Thing("numpy.dtype", (str(args[0]),))
    if last == "scalar":
        return _number(args[0].args[0], args[1])
    if last == "_reconstruct":
        return Thing("numpy.array")
    if last == "_frombuffer":
        data, dtype, shape, order = args
        return _array(data, dtype, shape, order, size)
    return Thing(name, args)


NUMPY = {
    "f8": "F64",
    "f4": "F32",
    "f2": "F16",
    "i8": "I64",
    "i4": "I32",
    "i2": "I16",
    "i1": "I8",
    "u1": "U8",
    "b1": "BOOL",
}


def _array(data: Any, dtype: Thing, shape: Any, order: str, size: int) -> Tensor:
    kind, shape = NUMPY[dtype.args[0].lstrip("<|=")], tuple(shape)
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    strides = contiguous(shape) if order != "F" else tuple(reversed(contiguous(tuple(reversed(shape)))))
    return _tensor(kind, Storage(kind, "", lambda: raw), 0, shape, strides, size)


def _number(code: str, data: Any) -> Any:
    form = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b", "u1": "<B", "b1": "<?"}
    raw = data.encode("latin1") if isinstance(data, str) else data
    return struct.unpack(form[code.lstrip("<|=")], raw)[0]


def _kind_of(named: Any) -> str:
    name = named.name if isinstance(named, Named) else str(named)
    last = name.rsplit(".", 1)[-1]
    if last.endswith("Storage"):
        return TORCH.get(last.removesuffix("Storage"), last)
    return TORCH_DTYPES.get(last, last)
