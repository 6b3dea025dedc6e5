"""A pruning method: a few hooks around one training run. A paper overrides those in which it differs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..nets import Arch
from ..system import checkpoint, distributed
from ..system.errors import InputError, short

Scored = tuple[dict[str, torch.Tensor], dict]  # scores, and the facts that they were found under


@dataclass
class Start:
    """What a method gets that prunes a trained network."""

    dense: nn.Module  # the trained full network, in evaluation mode, on the device
    data: Any  # an image set of prune_lib.tasks, on the device
    seed: int
    precision: str
    folder: Path | None  # where intermediate results are kept, so that an interrupted run need not repeat them
    given: Scored | None = None  # scores that were found before, and the facts that they were found under
    found: Scored | None = None  # those of this method, once it has scored

    def training_batches(self, size: int):
        """One shuffled epoch of augmented training batches, always the same for the same seed."""
        return self.data.batches(size, torch.Generator().manual_seed(self.seed))

    def scored(self, work: Callable[[], dict[str, torch.Tensor]], facts: dict) -> dict[str, torch.Tensor]:
        """Every filter's score: what ``work`` gives, or what lies in the run's folder since an earlier time.

        What lies there counts only if it was found under the same ``facts``. Of several processes the first one works,
        and gives the others what it found.

        Raises:
            InputError: scores were given that were found under other facts.
        """
        if self.given is not None:
            for name in {**facts, **self.given[1]}:
                if (theirs := self.given[1].get(name)) != facts.get(name):
                    raise InputError(
                        f"scores: they were found with {name} {short(theirs)}; expected {short(facts.get(name))}, "
                        f"as this row has it"
                    )
            self.found = self.given
            return self.given[0]
        path = self.folder / "scores.safetensors" if self.folder else None

        def scores() -> dict[str, torch.Tensor]:
            if path and (saved := checkpoint.read(path)) and saved[1] == facts:
                return saved[0]
            found = work()
            if path:
                checkpoint.write(path, found, facts)
            return found

        self.found = distributed.on_first(scores), facts
        return self.found[0]


class Method:
    """The dense method: trains the network as it is."""

    prunes_trained = False  # whether ``begin`` needs a trained dense network
    chooses_widths = False  # whether it finds the widths, and ``begin`` or ``found`` names them; else it is given them

    @classmethod
    def for_arch(cls, arch: Arch, **options):
        """The method for networks of ``arch``, with the options that a table gives."""
        return cls(**options)

    def begin(self, start: Start) -> dict:
        """Look at the trained dense network; returns what was found, for the record."""
        return {}

    def prepare(self, model: nn.Module) -> nn.Module:
        """Change the freshly built network before its optimizer exists."""
        return model

    def on_epoch(self, model: nn.Module, epoch: int, epochs: int) -> dict:
        """Called before training epoch ``epoch`` (from 0) of ``epochs``; returns figures for that epoch's curve.

        If they hold ``within_budget: False``, the epoch's network is larger than was asked for and is no result.
        """
        return {}

    def on_step(self, model: nn.Module, step: int, steps: int) -> dict[str, float]:
        """Called before training step ``step`` (from 0) of the run's ``steps``; its figures replace the epoch's."""
        return {}

    def after_step(self, model: nn.Module) -> None:
        """Called after every step of the optimizer."""

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that a checkpoint must hold besides the network's; a resumed run writes into them."""
        return {}

    def found(self) -> dict:
        """What the training itself found, for the record: ``widths`` and ``flops`` if it chose them."""
        return {}

    def export(self, model: nn.Module) -> nn.Module:
        """A plain compact network with the same outputs, independent of ``model``."""
        from ..nets.reparam import plain

        return plain(model)
