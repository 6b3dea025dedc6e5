"""What figures are made of: the data, networks that are committed or that others published, and which images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...papers import get_row
from ...papers.recipe import Recipe, normalised
from ...runs import kept
from ...runs.records import Run, records
from ...system.checkpoint import digest
from ...system.errors import InputError
from ...system.paths import home
from ...tasks import load
from ...tasks.images import CIFAR10_CLASSES, ImageSet
from ..figures.committed import CHECKOUT
from ..figures.looks import Looks, look

PER_CLASS = 10  # test images of each class that likeness is measured on
PUBLISHED = {  # trained networks that others published and that are not committed: what they are
    "resnet56": "ResNet-56 as akamaster/pytorch_resnet_cifar10 publishes it (BSD-2), 93.39 % top-1",
}


@dataclass(frozen=True)
class Made:
    """What a function of ``FIGURES`` gives: a matplotlib figure, and what its record is to say of it."""

    figure: Any
    shows: str
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Sequence[Mapping[str, str]] = ()
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Where a figure is made from: the data folder (``""``: as usual), and files of weights by name."""

    data_dir: str = ""
    weights: tuple[tuple[str, str], ...] = ()

    def file(self, name: str) -> str:
        """The file of the weights that are called so in ``PUBLISHED``.

        Raises:
            InputError: it was not named.
        """
        if found := dict(self.weights).get(name):
            return found
        raise InputError(f"{name}.safetensors was not named; expected --weights {name}=FILE, {PUBLISHED[name]}")


def known(network: str, model: nn.Module, what: str, file: str = "") -> dict[str, str]:
    """What a figure's record says of a network: its name in the figure, what it is, its tensors, where they are."""
    return {"network": network, "what": what, "sha256": digest(model.state_dict()), "file": file}


def run_of(network: str, name: str, budget: str, seed: int, protocol: str) -> tuple[nn.Module, dict[str, str]]:
    """A trained network that is committed or that a run left here, and what is known of it."""
    row = get_row(name)
    model = kept.load(name, budget, seed, protocol)
    file = Run(row, budget, seed).kept(protocol).name
    where = f"results/{row.runs}/{file}"
    about = known(network, model, f"{name}, {budget}, seed {seed}, epoch {protocol}")
    if any((root / where).is_file() for root in (home(), CHECKOUT)):
        about["file"] = where
    for record in records(row, budget):
        if record.get("networks", {}).get(protocol, {}).get("sha256") == about["sha256"]:
            about["what"] += f", {record['metrics'][f'{row.metric}_{protocol}']:.2f} % {row.metric}"
            break
    return model, about


def cifar10(sources: Sources, normalise: str = "own") -> ImageSet:
    found = load("cifar10", sources.data_dir or None, heldout=0)
    assert isinstance(found, ImageSet)
    return normalised(found, Recipe(normalise=normalise))


def first_of_each(data: ImageSet, each: int) -> Tensor:
    """The places of the first test images of every class, class by class."""
    return torch.cat([(data.test.labels == c).nonzero().flatten()[:each] for c in range(len(data.classes))])


def about_set(data: ImageSet, images: str) -> dict[str, str]:
    return {"name": data.name, "sha256": data.fingerprint, "images": images}


def looks_of(networks: Mapping[str, nn.Module], layer: str, sets: Mapping[str, ImageSet], each: int) -> Looks:
    """Networks at the first test images of each class; ``sets`` has the set as each network takes it."""
    some = next(iter(sets.values()))
    images = some.test.take(first_of_each(some, each))
    inputs = {name: data.normalise(images.images) for name, data in sets.items()}
    return look(networks, layer, inputs, images.labels, images.images, CIFAR10_CLASSES)
