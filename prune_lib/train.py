"""One training loop for every method, and evaluation."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from . import ranks
from .errors import InputError
from .history import PROTOCOLS, Diverged, History, Saver, resume
from .method import Method
from .recipe import Recipe


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is this process's CUDA device where there is one (the first, if it is alone), else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.size() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
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
    data,
    recipe: Recipe,
    method: Method | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str | None = None,
    state: Path | None = None,
    save_every: float = 300.0,
    identity: str = "",
    progress: bool = True,
) -> History:
    """Train ``model`` on ``data`` (of ``prune_lib.tasks``) by ``recipe`` and ``method``, evaluating after every epoch.

    Epoch e's order, crops and flips depend on ``seed`` and e alone, so a run that is resumed from ``state`` (written
    after every epoch, and within one every ``save_every`` seconds; a file there that belongs to another ``identity``
    is refused) ends in the same weights as one that was not interrupted, bit for bit on the CPU. Under ``torchrun``
    the processes share every batch, and the first one writes.

    Raises:
        InputError: a batch that the processes cannot share, or a state that is another run's.
        Diverged: the loss of an epoch is not finite.
    """
    device = pick_device(device) if isinstance(device, str) else device
    method, precision = method or Method(), precision or pick_precision(device)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if 0 < len(data.train) % recipe.batch_size < ranks.size() or recipe.batch_size < ranks.size():
        raise InputError(
            f"{len(data.train)} training images in batches of {recipe.batch_size} leave a batch that {ranks.size()} "
            f"processes cannot share; expected another batch size or fewer processes"
        )
    data = data.to(device)
    model = method.prepare(model).to(device).to(memory_format=torch.channels_last)
    ranks.join(device)
    shared = ranks.wrap(model, device)
    optimizer = _optimizer(model, recipe)
    saver = Saver(state if ranks.rank() == 0 else None, identity, model, optimizer, save_every)
    history, part = resume(state, identity, model, optimizer)
    history.score = data.score
    ranks.total(torch.zeros(1, device=device))  # every process has read before the first one writes
    steps = -(-len(data.train) // recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * steps, initial=len(history.curve) * steps + part.get("step", 0), unit="step",
        disable=not progress or ranks.rank() > 0, mininterval=1.0, leave=True,
    )  # fmt: skip
    if method.prunes_trained and not history.before:
        history.before = evaluate(model, data, data.test, precision)
    with bar:
        for epoch in range(len(history.curve), recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            figures = _Epoch(shared, data, recipe, optimizer, epoch, seed, precision, bar, saver).run(
                method, model, history, part
            )
            history.curve.append({"epoch": epoch, **figures})
            part = {}
            if f"test_{data.score}" in figures:
                bar.set_postfix(loss=f"{figures['loss']:.3f}", test=f"{figures[f'test_{data.score}']:.2f}%")
            _keep_best(history, method, model)
            saver.save(history)
    return history


@dataclass
class _Epoch:
    """One pass over the training images and the evaluations after it."""

    shared: nn.Module
    data: Any
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    epoch: int
    seed: int
    precision: str
    bar: tqdm
    saver: "Saver"

    def run(self, method: Method, model: nn.Module, history: History, part: dict) -> dict:
        """The figures of the epoch; ``part`` is what is already done of it, in an earlier process."""
        before, started = part.get("seconds", 0.0), time.perf_counter()
        figures = part.get("figures")
        if figures is None:
            figures = method.on_epoch(model, self.epoch, self.recipe.epochs)
            ranks.agree(model)
        sums = torch.tensor(part.get("sums", [0.0, 0.0]), device=self.data.device)  # loss and correct, on the device
        self._train(
            method, model, sums, figures, history, part.get("step", 0), lambda: before + time.perf_counter() - started
        )
        loss, correct = (ranks.total(sums.double()) / len(self.data.train)).tolist()
        if not math.isfinite(loss):
            raise Diverged(f"epoch {self.epoch + 1}: the training loss is {loss}; expected a number")
        trained = before + time.perf_counter() - started
        figures = {**figures, "lr": self.lr, "loss": loss}
        if self.data.score == "top1":
            figures["train_top1"] = 100 * correct
        due = self.epoch + 1 == self.recipe.epochs or (self.epoch + 1) % self.recipe.test_every == 0
        for name, split in (("heldout", self.data.heldout), ("test", self.data.test)) if due else ():
            found = evaluate(model, self.data, split, self.precision)
            figures |= {f"{name}_{score}": value for score, value in found.items()}
        figures["images_per_second"] = len(self.data.train) / trained
        return {**figures, "seconds": before + time.perf_counter() - started}

    def _train(self, method: Method, model, sums: Tensor, figures: dict, history: History, done: int, seconds) -> None:
        self.shared.train()
        data, recipe, size = self.data, self.recipe, self.recipe.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        steps = -(-len(data.train) // size)
        self.lr = recipe.lr_at(self.epoch, max(done - 1, 0), steps)
        batches = data.batches(size, generator, share=ranks.share(), skip=done)
        for step, (images, targets) in enumerate(batches, done):
            self.lr = recipe.lr_at(self.epoch, step, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
            if found := method.on_step(model, self.epoch * steps + step, recipe.epochs * steps):
                figures |= found
                ranks.agree(model)
            loss, correct = self._loss(images, targets, step)
            whole = min(size, len(data.train) - step * size)  # images of this batch over all processes
            self.optimizer.zero_grad(set_to_none=True)
            (loss * (len(images) * ranks.size() / whole)).backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            self.optimizer.step()
            with torch.no_grad():
                sums += torch.stack([loss.detach() * len(images), correct])
            self.bar.update()
            if step + 1 < steps and self.saver.due():
                part = {"step": step + 1, "figures": figures, "sums": sums.tolist(), "seconds": seconds()}
                self.saver.save(history, part)

    def _loss(self, images: Tensor, labels, step: int) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and how many of its images are classified right.

        A set of another task than classification brings a loss of its own. What that draws at random depends on seed,
        epoch and step alone. Cross-entropy is of pairs of images mixed together where the recipe says so.
        """
        if self.data.score != "top1":
            torch.manual_seed(hash((self.seed, self.epoch, step, ranks.rank())) % 2**63)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                loss = self.data.loss(self.shared, images, labels)
            return loss, torch.zeros_like(loss)
        pairs = [(1.0, labels)]
        if self.recipe.mixup:  # Zhang et al. 2018, arXiv 1710.09412; partners are the next image of the same process
            part = float(np.random.default_rng([self.seed, self.epoch, step]).beta(*2 * (self.recipe.mixup,)))
            images = images.lerp(images.roll(1, 0), 1 - part)
            pairs = [(part, labels), (1 - part, labels.roll(1, 0))]
        if self.recipe.cutout:
            images = self._cut_out(images, step)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.shared(images)
        losses = [
            weight * F.cross_entropy(logits.float(), target, label_smoothing=self.recipe.label_smoothing)
            for weight, target in pairs
        ]
        loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        return loss, (logits.detach().argmax(1) == labels).sum()

    def _cut_out(self, images: Tensor, step: int) -> Tensor:
        """Blank a square around a random pixel of each image, cropped at the border (DeVries & Taylor 2017)."""
        side, half = images.shape[-1], self.recipe.cutout // 2
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch, step, ranks.rank())) % 2**31)
        centre = torch.randint(side, (2, len(images), 1), generator=generator).to(images.device)
        line = torch.arange(side, device=images.device)
        inside = (line >= centre - half) & (line < centre - half + self.recipe.cutout)
        return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


@torch.inference_mode()
def evaluate(model: nn.Module, data, split, precision: str = "fp32") -> dict[str, float]:
    """``{"top1": percent}`` over every image of ``split``, each weighing the same, and ``top5`` from 100 classes on.

    Empty for an empty split. Processes share the images. A set of another task has metrics of its own.
    """
    if not len(split):
        return {}
    model.eval()
    if data.score != "top1":
        with parametrize.cached():
            return data.evaluate(model, split, precision)
    ks = {"top1": 1, "top5": 5} if len(data.classes) >= 100 else {"top1": 1}
    size = 1000 if data.device.type == "cuda" else 64  # small enough for a CPU's caches
    correct = torch.zeros(len(ks), device=data.device, dtype=torch.int64)
    with parametrize.cached():  # a fused conv computes its filters once, not once a batch
        for images, labels in data.whole(split, size, share=ranks.share()):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                guesses = model(images).topk(max(ks.values())).indices == labels[:, None]
            correct += torch.stack([guesses[:, :k].sum() for k in ks.values()])
    return {name: 100 * n / len(split) for name, n in zip(ks, ranks.total(correct).tolist(), strict=True)}


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip


def _keep_best(history: History, method: Method, model: nn.Module) -> None:
    """Export the network for each protocol that this epoch is the best of."""
    epochs = {protocol: history.best(protocol) for protocol in PROTOCOLS}
    best = [protocol for protocol, epoch in epochs.items() if epoch is history.curve[-1]]
    exported = {name: tensor.cpu().contiguous() for name, tensor in method.export(model).state_dict().items()}
    history.weights.update(dict.fromkeys(best, exported))
