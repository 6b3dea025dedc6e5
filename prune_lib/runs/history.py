"""What a training run leaves behind, while it runs and afterwards."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..papers.method import Method
from ..system import checkpoint, distributed
from ..system.errors import InputError

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
    recalibrated: dict[str, float] = field(default_factory=dict)  # the same with BatchNorm's statistics taken anew
    metric: str = "top1"  # the figure that epochs are chosen by
    resumed: list[dict] = field(default_factory=list)  # where the run was taken up again, and what was then different

    def best(self, protocol: str) -> dict | None:
        """The figures of a protocol's epoch; ties go to the earlier.

        Epochs whose network was not yet within its budget do not count. ``None``: there is none that does, or nothing
        was held out to select by.
        """
        if protocol == "last":
            return self.curve[-1]
        figure = f"heldout_{self.metric}" if protocol == "selected" else f"test_{self.metric}"
        known = [e for e in self.curve if e.get(figure) is not None and e.get("within_budget", True)]
        return max(known, key=lambda epoch: epoch[figure], default=None)

    def top1(self, protocol: str) -> tuple[float, int]:
        """(test top-1 in percent, epoch) of a protocol whose epoch there is."""
        best = self.best(protocol)
        assert best is not None
        return best["test_top1"], best["epoch"]


class Saver:
    """Writes the state of a run: after an epoch, as long as saving takes at most a ``share`` of the time, and within an
    epoch once ``every`` seconds have passed."""

    share = 0.1

    def __init__(
        self,
        path: Path | None,
        identity: str,
        model: nn.Module,
        optimizer,
        method: Method,
        every: float,
        here: dict,
        scaler=None,
    ):
        self.scaler = scaler  # of fp16's loss
        self.path, self.identity, self.every, self.here = path, identity, every, here
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
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise Diverged(f"epoch {len(history.curve) + bool(part)}: not every weight is a number any more")
        started = time.monotonic()
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": t for name, t in slots.items() if isinstance(t, Tensor)}
        tensors |= {f"method/{name}": tensor for name, tensor in self.method.state().items()}
        for protocol, weights in history.weights.items():
            tensors |= {f"weights/{protocol}/{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"random/{name}": tensor for name, tensor in generators(self.here["device"]).items()}
        facts = {
            "identity": self.identity, "curve": history.curve, "before": history.before,
            "recalibrated": history.recalibrated, "part": part or {},
            "here": self.here, "resumed": history.resumed,
            **({} if self.scaler is None else {"scaler": self.scaler.state_dict()}),
        }  # fmt: skip
        checkpoint.write(self.path, tensors, facts)
        self.last = time.monotonic()
        self.cost = self.last - started


def circumstances(device: torch.device, precision: str, engine: str) -> dict[str, Any]:
    """What the last digits of a training depend on besides its seed: hardware, versions, threads, processes.

    Decoding threads are not among it: no batch depends on how many there are.
    """
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "precision": precision,
        "engine": engine,
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
    }


def generators(device: str) -> StateDict:
    """The state of every global random generator: torch's, on the CPU and on ``device``, numpy's and Python's.

    What a training draws of its own comes from generators made of seed, epoch and step, and needs no saving.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]
    found = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([position, has_gauss, *keys.tolist()]),  # type: ignore[union-attr]
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else {})


def set_generators(found: StateDict, device: str) -> None:
    """Bring the global random generators to what ``generators`` gave."""
    torch.set_rng_state(found["torch"])
    version, *words = found["python"].tolist()
    random.setstate((version, tuple(words), next(iter(found["python_gauss"].tolist()), None)))
    position, has_gauss, *keys = found["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, found["numpy_gauss"].item()))
    if "cuda" in found and device.startswith("cuda"):
        torch.cuda.set_rng_state(found["cuda"], device)


def resume(
    state: Path | None,
    identity: str,
    model: nn.Module,
    optimizer,
    method: Method,
    here: dict | None = None,
    scaler=None,
) -> tuple[History, dict]:
    """Bring model, optimizer and method to what ``state`` holds: its history, and what was done of the next epoch.

    The history's ``resumed`` says which of the circumstances ``here`` are not those that the state was written in.

    Raises:
        InputError: the state is another run's, or not of such a model and method.
    """
    saved = checkpoint.read(state) if state is not None else None
    if saved is None:
        return History(), {}
    tensors, facts = saved
    if facts["identity"] != identity:
        raise InputError(f"{state} belongs to another run ({facts['identity']}); expected {identity}; move it away")
    try:
        return _resume(tensors, facts, model, optimizer, method, here or {}, scaler)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{state} is not of this network and method ({error}); move it away") from None


def _resume(tensors: StateDict, facts: dict, model: nn.Module, optimizer, method: Method, here: dict, scaler):
    groups: dict[str, dict] = {"model": {}, "optimizer": {}, "method": {}, "weights": {}, "random": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split("/", 1)
        groups[kind][rest] = tensor
    model.load_state_dict(groups["model"])
    for name, tensor in method.state().items():
        tensor.copy_(groups["method"][name])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict] = {}
    for name, tensor in groups["optimizer"].items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = _laid_out(tensor, parameters[int(index)])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    weights: dict[str, StateDict] = {}
    for name, tensor in groups["weights"].items():
        protocol, key = name.split("/", 1)
        weights.setdefault(protocol, {})[key] = tensor
    part, there = facts.get("part", {}), facts.get("here", {})
    if scaler is not None and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    if groups["random"]:
        set_generators(groups["random"], here.get("device", "cpu"))
    changed = {name: [there.get(name), value] for name, value in here.items() if there.get(name) != value}
    again = {"epoch": len(facts["curve"]) + 1, "step": part.get("step", 0), "changed": changed}
    history = History(
        facts["curve"], weights, facts.get("before", {}), facts.get("recalibrated", {}),
        resumed=[*facts.get("resumed", []), again],
    )  # fmt: skip
    return history, part


def _laid_out(saved: Tensor, parameter: Tensor) -> Tensor:
    """What the optimizer keeps of a parameter, where and as that lies in memory: fused steps take no other layout."""
    if saved.shape != parameter.shape:  # a count of steps
        return saved
    return torch.empty_like(parameter, dtype=saved.dtype).detach().copy_(saved)


def exactness(history: History, here: dict) -> dict:
    """For a record: where the run was ``resumed``, and whether it ends ``bit_exact`` as one that was not interrupted.

    Where it does not, ``inexact`` says why.
    """
    if not history.resumed:
        return {}
    why = [
        f"epoch {at['epoch']}, step {at['step']}: {name} was {was}, is {now}"
        for at in history.resumed
        for name, (was, now) in at["changed"].items()
    ]
    if not here["deterministic"]:
        why.append(f"{here['device']} adds in no fixed order")
    return {"resumed": history.resumed, "bit_exact": not why, **({"inexact": why} if why else {})}
