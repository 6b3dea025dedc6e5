"""One training loop for every method, and evaluation."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from . import checkpoint
from .errors import InputError
from .method import Method
from .recipe import Recipe
from .tasks.images import ImageSet, Split

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

    def top1(self, protocol: str) -> tuple[float, int]:
        """(test top-1 in percent, epoch) of a protocol. Ties go to the earlier epoch."""
        if protocol == "last":
            best = self.curve[-1]
        else:
            best = max(self.curve, key=lambda e: e["heldout_top1" if protocol == "selected" else "test_top1"])
        return best["test_top1"], best["epoch"]


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not usable here: {str(error).splitlines()[0]}") from None
    return device


def pick_precision(device: torch.device) -> str:
    """``bf16`` (autocast, float32 master weights) where the device multiplies it natively, else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if device.type == "cpu" and any(has and has() for has in native) else "fp32"


def train(
    model: nn.Module,
    data: ImageSet,
    recipe: Recipe,
    method: Method | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str | None = None,
    state: Path | None = None,
    identity: str = "",
    progress: bool = True,
) -> History:
    """Train ``model`` on ``data`` by ``recipe`` and ``method``, evaluating after every epoch.

    Epoch e's order, crops and flips depend on ``seed`` and e alone, so a run that is resumed from ``state`` (written
    after every epoch; a file there that belongs to another ``identity`` is refused) ends in the same weights as one
    that was not interrupted, bit for bit on the CPU.

    Raises:
        Diverged: the loss of an epoch is not finite.
    """
    device = pick_device(device) if isinstance(device, str) else device
    method, precision = method or Method(), precision or pick_precision(device)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    data = data.to(device)
    model = method.prepare(model).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    history = _resume(state, identity, model, optimizer)
    steps = -(-len(data.train) // recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * steps, initial=len(history.curve) * steps, unit="step", disable=not progress,
        mininterval=1.0, leave=True,
    )  # fmt: skip
    with bar:
        for epoch in range(len(history.curve), recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            started = time.perf_counter()
            figures = method.on_epoch(model, epoch, recipe.epochs)
            figures |= _train_epoch(model, data, recipe, optimizer, epoch, seed, precision, bar)
            figures["heldout_top1"] = evaluate(model, data, data.heldout, precision)
            figures["test_top1"] = evaluate(model, data, data.test, precision)
            history.curve.append({"epoch": epoch, **figures, "seconds": time.perf_counter() - started})
            bar.set_postfix(loss=f"{figures['loss']:.3f}", test=f"{figures['test_top1']:.2f}%")
            _keep_best(history, method, model)
            if state is not None:
                _save(state, identity, model, optimizer, history)
    return history


def _train_epoch(model, data, recipe, optimizer, epoch, seed, precision, bar) -> dict[str, float]:
    """One pass over the training images. Sums stay on the device until the epoch is over."""
    model.train()
    device = data.train.images.device
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    steps = -(-len(data.train) // recipe.batch_size)
    for step, (images, labels) in enumerate(data.batches(recipe.batch_size, generator)):
        lr = recipe.lr_at(epoch, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            loss_sum += loss.detach() * len(labels)
            correct += (logits.argmax(1) == labels).sum()
        bar.update()
    mean = (loss_sum / len(data.train)).item()
    if not torch.isfinite(loss_sum):
        raise Diverged(f"epoch {epoch + 1}: the training loss is {mean}; expected a number")
    return {"lr": lr, "loss": mean, "train_top1": 100 * correct.item() / len(data.train)}


@torch.inference_mode()
def evaluate(model: nn.Module, data: ImageSet, split: Split, precision: str = "fp32") -> float:
    """Top-1 in percent over every image of ``split``, each weighing the same; ``nan`` for an empty split."""
    if not len(split):
        return float("nan")
    model.eval()
    batch = 1000 if split.labels.is_cuda else 64  # small enough for a CPU's caches
    correct = torch.zeros((), device=split.labels.device, dtype=torch.int64)
    with parametrize.cached():  # a fused conv computes its filters once, not once a batch
        for images, labels in zip(split.images.split(batch), split.labels.split(batch), strict=True):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                correct += (model(data.normalise(images)).argmax(1) == labels).sum()
    return 100 * correct.item() / len(split)


def _keep_best(history: History, method: Method, model: nn.Module) -> None:
    """Export the network for each protocol that this epoch is the best of."""
    epoch = history.curve[-1]["epoch"]
    best = [protocol for protocol in PROTOCOLS if history.top1(protocol)[1] == epoch]
    exported = {name: tensor.cpu().contiguous() for name, tensor in method.export(model).state_dict().items()}
    history.weights.update(dict.fromkeys(best, exported))


def _save(state: Path, identity: str, model: nn.Module, optimizer, history: History) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": t for name, t in slots.items() if isinstance(t, Tensor)}
    for protocol, weights in history.weights.items():
        tensors |= {f"weights/{protocol}/{name}": tensor for name, tensor in weights.items()}
    checkpoint.write(state, tensors, {"identity": identity, "curve": history.curve})


def _resume(state: Path | None, identity: str, model: nn.Module, optimizer) -> History:
    """Bring model and optimizer to what ``state`` holds; an empty history where there is nothing to resume."""
    saved = checkpoint.read(state) if state is not None else None
    if saved is None:
        return History()
    tensors, facts = saved
    if facts["identity"] != identity:
        raise InputError(f"{state} belongs to another run ({facts['identity']}); expected {identity}; move it away")
    groups: dict[str, dict] = {"model": {}, "optimizer": {}, "weights": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split("/", 1)
        groups[kind][rest] = tensor
    model.load_state_dict(groups["model"])
    slots: dict[int, dict] = {}
    for name, tensor in groups["optimizer"].items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    weights: dict[str, StateDict] = {}
    for name, tensor in groups["weights"].items():
        protocol, key = name.split("/", 1)
        weights.setdefault(protocol, {})[key] = tensor
    return History(facts["curve"], weights)
