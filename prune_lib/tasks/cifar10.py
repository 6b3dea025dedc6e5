"""CIFAR-10's files (Krizhevsky 2009): an ``.npz`` of four arrays, or those that torchvision keeps."""

from pathlib import Path

import numpy as np

from ..system.archive import check_zip
from ..system.errors import InputError, short

CIFAR10_SHAPES = {"x_train": (50000, 32, 32, 3), "y_train": (50000,), "x_test": (10000, 32, 32, 3), "y_test": (10000,)}


def read_npz(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays of these ``shapes`` from an ``.npz`` file, looked at before any is read.

    Raises:
        InputError: one is missing or of another shape, or the file is not one of plain arrays.
    """
    check_zip(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in shapes if key not in archive.files]
            if missing:
                found = " ".join(archive.files) or "nothing"
                raise InputError(f"{' '.join(missing)} missing; it holds {found}")
            for key, shape in shapes.items():
                _check_header(archive.zip.open(f"{key}.npy"), key, shape)
            return {key: archive[key] for key in shapes}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # numpy and zipfile raise many kinds on a damaged archive
        raise InputError(f"{path}: not a readable .npz of plain arrays ({error})") from None


def _check_header(member, key: str, shape: tuple[int, ...]) -> None:
    """Refuse an array by what it says of itself, before there is memory for it."""
    with member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found, _, kind = read(member)
    if found != shape or kind.hasobject:
        raise InputError(f"{key} is {kind} {short(found)}; expected whole numbers {shape}")


def read_torchvision(folder: Path) -> dict[str, np.ndarray]:
    """The same arrays from torchvision's own files.

    Raises:
        InputError: they are incomplete or altered.
    """
    from torchvision.datasets import CIFAR10

    try:  # it compares every file with a known checksum before it reads it
        parts = {part: CIFAR10(str(folder), train=part == "train") for part in ("train", "test")}
    except Exception as error:
        raise InputError(f"{folder / 'cifar-10-batches-py'}: incomplete or altered ({error})") from None
    arrays = {f"x_{part}": data.data for part, data in parts.items()}
    return arrays | {f"y_{part}": np.array(data.targets) for part, data in parts.items()}
