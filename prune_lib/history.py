"""What a training run leaves behind, while it runs and afterwards."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from . import checkpoint
from .errors import InputError
from .method import Method

PROTOCOLS = {
    "last": "the last epoch",
    "selected": "the epoch best on images held out from training",
    "test_best": "the epoch best on the test images, as the papers do",
}
StateDict = dict[str, Tensor]


class Diverged(RuntimeError):
    """The loss is no longer a number. The state before that epoch is still on disk."""


@dataclass
class History:
    """What a training run leaves: one dict of figures per epoch, and a compact network for each protocol."""

    curve: list[dict] = field(default_factory=list)
    weights: dict[str, StateDict] = field(default_factory=dict)  # protocol -> plain compact state dict, on the CPU
    before: dict[str, float] = field(default_factory=dict)  # test accuracy before the first epoch, of a pruned network
    score: str = "top1"  # the figure that epochs are chosen by

    def best(self, protocol: str) -> dict | None:
        """The figures of a protocol's epoch; ties go to the earlier.

        Epochs whose network was not yet within its budget do not count. ``None``: there is none that does, or nothing
        was held out to select by.
        """
        if protocol == "last":
            return self.curve[-1]
        figure = f"heldout_{self.score}" if protocol == "selected" else f"test_{self.score}"
        known = [e for e in self.curve if e.get(figure) is not None and e.get("within_budget", True)]
        return max(known, key=lambda epoch: epoch[figure], default=None)

    def top1(self, protocol: str) -> tuple[float, int]:
        """(test top-1 in percent, epoch) of a protocol whose epoch there is."""
        best = self.best(protocol)
        assert best is not None
        return best["test_top1"], best["epoch"]


class Saver:
    """Writes the state of a run: after an epoch, so long as that takes no more than a ``share`` of the time, and within
    one when ``every`` seconds have gone by."""

    share = 0.1

    def __init__(self, path: Path | None, identity: str, model: nn.Module, optimizer, method: Method, every: float):
        self.path, self.identity, self.every = path, identity, every
        self.model, self.optimizer, self.method = model, optimizer, method
        self.last, self.cost = time.monotonic(), 0.0

    def worth_it(self) -> bool:
        """Whether enough was done since the last save to pay for the next."""
        return (time.monotonic() - self.last) * self.share >= self.cost

    def due(self) -> bool:
        return self.path is not None and time.monotonic() - self.last >= self.every

    def save(self, history: History, part: dict | None = None) -> None:
        """``part`` is how far the next epoch has come, ``{}`` between two."""
        if self.path is None:
            return
        started = time.monotonic()
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": t for name, t in slots.items() if isinstance(t, Tensor)}
        tensors |= {f"method/{name}": tensor for name, tensor in self.method.state().items()}
        for protocol, weights in history.weights.items():
            tensors |= {f"weights/{protocol}/{name}": tensor for name, tensor in weights.items()}
        facts = {"identity": self.identity, "curve": history.curve, "before": history.before, "part": part or {}}
        checkpoint.write(self.path, tensors, facts)
        self.last = time.monotonic()
        self.cost = self.last - started


def resume(state: Path | None, identity: str, model: nn.Module, optimizer, method: Method) -> tuple[History, dict]:
    """Bring model, optimizer and method to what ``state`` holds: its history, and what was done of the next epoch."""
    saved = checkpoint.read(state) if state is not None else None
    if saved is None:
        return History(), {}
    tensors, facts = saved
    if facts["identity"] != identity:
        raise InputError(f"{state} belongs to another run ({facts['identity']}); expected {identity}; move it away")
    groups: dict[str, dict] = {"model": {}, "optimizer": {}, "method": {}, "weights": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split("/", 1)
        groups[kind][rest] = tensor
    model.load_state_dict(groups["model"])
    for name, tensor in method.state().items():
        tensor.copy_(groups["method"][name])
    slots: dict[int, dict] = {}
    for name, tensor in groups["optimizer"].items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    weights: dict[str, StateDict] = {}
    for name, tensor in groups["weights"].items():
        protocol, key = name.split("/", 1)
        weights.setdefault(protocol, {})[key] = tensor
    return History(facts["curve"], weights, facts.get("before", {})), facts.get("part", {})
