"""How a network is trained, as data: each field's meaning stands beside its default."""

import dataclasses
import inspect
import math
import re
from dataclasses import dataclass
from functools import cache

from ..system.errors import InputError, short
from ..tasks import metric_of

NORMALISE = {  # mean and standard deviation of each channel in [0, 1]
    "own": None,
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cdp": ((125.31 / 255, 122.95 / 255, 113.87 / 255), (63 / 255, 62.09 / 255, 66.7 / 255)),
}


def normalised(data, recipe: "Recipe"):
    """``data`` with the normalising constants that ``recipe`` names."""
    constants = NORMALISE[recipe.normalise]
    return data if constants is None else dataclasses.replace(data, mean=constants[0], std=constants[1])


def open_data(recipe: "Recipe", data_dir=None):
    """The image set that ``recipe`` trains on, as ``prune_lib.tasks.load`` gives and refuses it, and normalised so."""
    from ..tasks import registry

    numbers = {name: getattr(recipe, name) for name in ("heldout", "train_images", "sample")}
    return normalised(registry.load(recipe.data, data_dir, **numbers), recipe)


FAST = {  # the budget ``fast``: one recipe for every method; tables and rows say how many epochs
    "data": "cifar10",
    "heldout": 5000,  # stratified; the other 45,000 are trained on
    "batch_size": 128,
    "schedule": "onecycle",
    "lr": 0.2,
    "peak": 0.25,
    "nesterov": True,
    "weight_decay": 5.0e-4,
    "decay_vectors": False,  # a norm's scale is no weight
    "label_smoothing": 0.05,
}


def tiny(recipe: "Recipe") -> "Recipe":
    """The budget ``tiny``: ``recipe`` on so few of its data's images that a whole line is tried in minutes.

    Two epochs without warm-up, in batches of 16 images (4 where the answer is for every pixel), at a learning rate for
    so few: it falls with the batch, as linear scaling has it (Goyal et al. 2017, arXiv 1706.02677).
    """
    sample, batch = (64, 16) if metric_of(recipe.data) == "top1" else (16, 4)
    size = min(batch, recipe.batch_size)
    return dataclasses.replace(
        recipe, sample=sample, heldout=0, train_images=None, epochs=2, batch_size=size, test_every=1, warmup=0,
        warmup_steps=0, lr=recipe.lr * size / recipe.batch_size,
    )  # fmt: skip


RANGES = {  # of a recipe's numbers: the lowest and the highest that each may be
    "epochs": (1, 100_000), "batch_size": (1, 1_000_000), "lr": (0, 1e6), "momentum": (0, 1), "weight_decay": (0, 1),
    "gamma": (0, 1), "warmup": (0, 1000), "label_smoothing": (0, 1), "mixup": (0, 100), "cutout": (0, 10_000),
    "warmup_steps": (0, 1_000_000), "warmup_from": (0, 1), "lr_min": (0, 1e6), "clip": (0, 1e6), "group_lasso": (0, 1),
    "test_every": (1, 100_000), "peak": (0, 1), "heldout": (0, 100_000_000), "train_images": (1, 100_000_000),
    "sample": (0, 100_000_000),
}  # fmt: skip
CHOICES = {  # of its words
    "schedule": ("step", "linear", "cosine", "poly", "onecycle"),
    "optimizer": ("sgd", "adam"),
    "normalise": tuple(NORMALISE),
}


@dataclass(frozen=True)
class Recipe:
    """An optimizer and its schedule. The defaults are DCFF's for CIFAR-10 (its README, commands)."""

    data: str = "cifar10"  # image set
    epochs: int = 300  # passes over the training images
    batch_size: int = 256  # images of a step
    lr: float = 0.1  # at the start, after any warm-up
    momentum: float = 0.9  # of SGD
    nesterov: bool = False  # whether that momentum is Nesterov's
    weight_decay: float = 5e-4  # on every parameter, BatchNorm's and biases included
    undecayed: str = ""  # but not on those whose name contains this
    decay_vectors: bool = True  # and, if false, not on biases and norms, which have one dimension
    schedule: str = (
        "step"  # step: x gamma at each milestone; linear, cosine: to zero; by epochs; poly, onecycle: see lr_at
    )
    milestones: tuple[float, ...] = (0.5, 0.75)  # as fractions of the epochs: 150 and 225 of 300
    gamma: float = 0.1  # what the learning rate is multiplied by at each milestone
    warmup: int = 0  # epochs of linear warm-up, step by step, before the schedule
    optimizer: str = "sgd"  # or adam, to which momentum and nesterov mean nothing
    warmup_steps: int = 0  # steps of linear warm-up, of a schedule that counts by steps
    warmup_from: float = 0.001  # the share of the learning rate that these begin with
    lr_min: float = 0.0  # what poly falls to
    peak: float = 0.25  # the share of all steps after which onecycle is at ``lr``
    clip: float = 0.0  # the largest norm that the gradient of all parameters may have; 0: any
    group_lasso: float = 0.0  # times the sum of all conv filters' norms, added to the loss: filters vanish whole
    test_every: int = 1  # epochs between evaluations; the last epoch is always evaluated
    label_smoothing: float = 0.0  # share of the label that all classes divide among them
    mixup: float = 0.0  # alpha of the Beta distribution that two images' shares are drawn from; 0: not mixed
    cutout: int = 0  # side of a square that is blanked in each training image; 0: none
    normalise: str = (
        "own"  # own: the image set's constants; imagenet, cdp: those that the dense weights were trained with
    )
    heldout: int = 2000  # training images set aside to select an epoch; the papers set none aside
    train_images: int | None = None  # train on so many (balanced) images; None: all that are not held out
    sample: int = 0  # of the set only so many training images, half as many to select and to test by; 0: all of it

    def __post_init__(self):
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"recipe: {name} is {short(value)}; expected {allowed(name)}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"recipe: {name} is {short(getattr(self, name))}; expected one of: {' '.join(known)}")
        if self.sample and (self.heldout or self.train_images):
            raise InputError(f"recipe: sample is {self.sample}; expected 0, or heldout=0 and no train_images")
        if not all(isinstance(fraction, int | float) and 0 < fraction < 1 for fraction in self.milestones):
            raise InputError(
                f"recipe: milestones are {short(self.milestones)}; expected fractions of the epochs in (0, 1)"
            )

    @classmethod
    def from_dict(cls, fields: dict) -> "Recipe":
        """A recipe from a table's YAML. Fields that are unknown or of the wrong type are refused by name."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        values = {}
        for name, value in fields.items():
            if name not in known:
                raise InputError(f"recipe: unknown field {short(name)}; expected one of: {' '.join(known)}")
            default = known[name].default
            if isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)
            if isinstance(default, float) and type(value) is int and abs(value) < 2**53:
                value = float(value)
            wanted = (int, type(None)) if name == "train_images" else (type(default),)
            if type(value) not in wanted:
                raise InputError(
                    f"recipe: {name} is {short(value)}, {type(value).__name__}; expected {wanted[0].__name__}"
                    + (" (in YAML write 1.0e-3, not 1e-3)" if isinstance(value, str) and wanted[0] is float else "")
                )
            values[name] = value
        return cls(**values)

    def not_default(self) -> dict:
        """Only what differs from the defaults. A run's key is made from it, so a new field renames no old run."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}

    def lr_at(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of step ``step`` of ``steps`` in epoch ``epoch``, all from 0.

        ``poly`` falls step by step, as ``(1 - t)^0.9``, from ``lr`` to ``lr_min``, where it is at the last milestone.
        ``onecycle`` rises step by step from 0 in a straight line, and from its ``peak`` on falls to 0 along a half
        cosine (Smith & Topin 2017, arXiv 1708.07120, with one cycle and no last phase).
        """
        done = step + epoch * steps
        if self.schedule == "poly":
            end = max(self.milestones, default=1.0) * self.epochs * steps
            part = min(1.0, max(0, done - self.warmup_steps) / max(1.0, end - self.warmup_steps))
            lr = self.lr_min + (self.lr - self.lr_min) * (1 - part) ** 0.9
        elif self.schedule == "onecycle":
            part = (done + 1) / (self.epochs * steps)
            rise, fall = part / max(self.peak, 1e-9), (part - self.peak) / max(1 - self.peak, 1e-9)
            lr = self.lr * (min(1.0, rise) if part < self.peak else (1 + math.cos(math.pi * fall)) / 2)
        elif self.schedule == "step":
            lr = self.lr * self.gamma ** sum(epoch >= round(f * self.epochs) for f in self.milestones)
        elif self.schedule == "linear":
            lr = self.lr * (1 - (epoch - self.warmup) / max(1, self.epochs - self.warmup))
        else:
            lr = 0.5 * self.lr * (1 + math.cos(math.pi * (epoch - self.warmup) / max(1, self.epochs - self.warmup)))
        if epoch < self.warmup:
            lr *= (1 + done) / (self.warmup * steps)
        if done < self.warmup_steps:
            lr *= self.warmup_from + (1 - self.warmup_from) * done / self.warmup_steps
        return lr


def allowed(name: str) -> str:
    """What a recipe's field may be, in words: ``1 … 100000``, ``one of: sgd adam``; empty: not said in so few."""
    if name in CHOICES:
        return f"one of: {' '.join(CHOICES[name])}"
    return f"{RANGES[name][0]:.15g} … {RANGES[name][1]:.15g}" if name in RANGES else ""


@cache
def meanings(of: type = Recipe) -> dict[str, dict]:
    """``{field: {"default": …, "meaning": the comment beside it}}`` of a recipe's fields, or another dataclass's."""
    fields = {field.name: {"default": field.default, "meaning": ""} for field in dataclasses.fields(of)}
    name = ""
    for line in inspect.getsource(of).splitlines():
        if found := re.match(r"    (\w+): ", line):
            name = found[1]
        if name in fields and not fields[name]["meaning"] and "  # " in line:
            fields[name]["meaning"] = line.split("  # ", 1)[1]
    return fields
