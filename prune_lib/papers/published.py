"""The names that the papers' own commands have for what can be set of a row, and what their values mean here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..system.errors import InputError
from ..system.words import read_value
from .rows import Row


class Alias(NamedTuple):
    """A name of the papers' commands for a field of ours; ``convert``, if they differ, makes its value ours."""

    to: str
    convert: Callable[[Any, Row, int], Any] | None = None  # (value, row, epochs) -> value
    says: str = ""


def _batches(name: str, size: Callable[[Row], int]):
    def convert(value, row: Row, epochs: int) -> int:
        return _in_range(read_value(name, "int", value), name, 1, 1_000_000) * size(row)

    return convert


def _milestones(value, row: Row, epochs: int) -> tuple[float, ...]:
    numbers = read_value("lr_decay_step", "tuple[float, ...]", value)
    return tuple(_in_range(number, "lr_decay_step", 1, epochs - 1) / epochs for number in numbers)


def _either(name: str, yes: str, no: str):
    return lambda value, row, epochs: yes if read_value(name, "bool", value) else no


def _in_range(value, name: str, low: int, high: int):
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}; expected {low} … {high}")
    return value


ALIASES = {
    **dict.fromkeys(("batch", "train_batch_size", "optimizer_batch_size"), Alias("batch_size")),
    **dict.fromkeys(("lr_type", "lr_schedule"), Alias("schedule", lambda v, *_: "cosine" if v == "cos" else v)),
    **dict.fromkeys(("cprate", "compress_rate"), Alias("rates")),
    **dict.fromkeys(("num_epochs", "train_cfg.max_epochs"), Alias("epochs")),
    "lr_decay_step": Alias("milestones", _milestones, "in epochs"),
    "mom": Alias("momentum"),
    "wd": Alias("weight_decay"),
    "learning_rate": Alias("lr"),
    "label_smooth": Alias("label_smoothing"),
    "data_set": Alias("data"),
    "coe": Alias("balance"),
    "stop_batch": Alias(
        "images", _batches("stop_batch", lambda row: 128 if row.dataset == "ImageNet" else 10_000),
        "in batches: of 128 images of ImageNet, of 10,000 of CIFAR-10",
    ),
    "limit": Alias("images", _batches("limit", lambda row: 128), "in batches of 128 images"),
    "channel_sparsity": Alias("sparsity"),
    "init_channel_ratio": Alias("initial"),
    "T_max": Alias("until"),
    "delta_T": Alias("interval"),
    "sampling": Alias("regrow", _either("sampling", "gram", "uniform"), "yes: gram, no: uniform"),
    "static_loss_scale": Alias("loss_scale"),
    "train_dataloader.batch_size": Alias(
        "batch_size", _batches("train_dataloader.batch_size", lambda row: 8), "of each of 8 GPUs"
    ),
    **{f"optim_wrapper.optimizer.{name}": Alias(name) for name in ("lr", "momentum", "weight_decay")},
    "amp": Alias("precision", _either("amp", "fp16", "fp32"), "yes: fp16, no: fp32"),
}  # fmt: skip
OF_METHODS = {"stop_batch": ("cdp",), "coe": ("cdp",), "limit": ("cfdp", "hrank")}  # names that only theirs have


def aliases_of(method: str) -> dict[str, Alias]:
    """The published names that rows of ``method`` know."""
    return {name: alias for name, alias in ALIASES.items() if method in OF_METHODS.get(name, (method,))}
