"""One training loop for every method, and evaluation."""

import math
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

from ..nets.hooks import AT_ONCE
from ..papers.method import Method
from ..papers.recipe import Recipe
from ..system import distributed as ranks
from ..system.device import pick_device, pick_precision
from ..system.errors import InputError
from .engines import ENGINES, CompiledNet, GraphedStep
from .history import PROTOCOLS, Diverged, History, Saver, circumstances, resume


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
    engine: str = "eager",
) -> History:
    """Train ``model`` on ``data`` (of ``prune_lib.tasks``) by ``recipe`` and ``method``, evaluating after every epoch.

    Epoch e's order, crops and flips depend on ``seed`` and e alone, so a run that is resumed from ``state`` (written
    after every epoch, and within one every ``save_every`` seconds; a file there that belongs to another ``identity``
    is refused) ends in the same weights as one that was not interrupted, bit for bit on the CPU. Under ``torchrun``
    the processes share every batch, and the first one writes.

    Args:
        engine: of ``engines.ENGINES``. The same numbers up to rounding.

    Raises:
        InputError: an engine that is unknown or cannot run this recipe, a batch that is too small to share, or a
            state that is another run's.
        Diverged: the loss of an epoch is not finite.
    """
    device = pick_device(device) if isinstance(device, str) else device
    method, precision = method or Method(), precision or pick_precision(device)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    least = getattr(model, "least_images", 1) * ranks.size()
    if 0 < len(data.train) % recipe.batch_size < least or recipe.batch_size < least:
        raise InputError(
            f"{len(data.train)} training images in batches of {recipe.batch_size} leave a batch of fewer than {least}, "
            f"which {type(model).__name__} in {ranks.size()} processes needs; expected another batch size"
        )
    _check_engine(engine, data, recipe)
    data = data.to(device)
    model = method.prepare(model).to(device).to(memory_format=torch.channels_last)
    ranks.join(device)
    shared = ranks.wrap(model, device)
    optimizer = _optimizer(model, recipe, None if engine == "eager" else device)
    here = circumstances(device, precision, engine)
    saver = Saver(state if ranks.rank() == 0 else None, identity, model, optimizer, method, save_every, here)
    history, part = resume(state, identity, model, optimizer, method, here)
    history.score = data.score
    ranks.total(torch.zeros(1, device=device))  # every process has read before the first one writes
    steps = -(-len(data.train) // recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * steps, initial=len(history.curve) * steps + part.get("step", 0), unit="step",
        disable=not progress or ranks.rank() > 0, mininterval=1.0, leave=True,
    )  # fmt: skip
    if engine == "compile":
        bar.set_postfix_str("the first step compiles, for a minute or two")
    if method.prunes_trained and not history.before:
        history.before = evaluate(model, data, data.test, precision)
        if data.score == "top1" and ranks.size() == 1:
            history.recalibrated = evaluate(
                recalibrated(method.export(model), data, precision), data, data.test, precision
            )
    with bar:
        loop = _Loop(shared, data, recipe, optimizer, seed, precision, bar, saver, engine)
        for epoch in range(len(history.curve), recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            figures = loop.run(epoch, method, model, history, part)
            history.curve.append({"epoch": epoch, **figures})
            part = {}
            if f"test_{data.score}" in figures:
                bar.set_postfix(loss=f"{figures['loss']:.3f}", test=f"{figures[f'test_{data.score}']:.2f}%")
            _keep_best(history, method, model)
            if epoch + 1 == recipe.epochs or saver.worth_it():
                saver.save(history)
    return history


def _check_engine(engine: str, data, recipe: Recipe) -> None:
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; expected one of: {' '.join(ENGINES)}")
    if engine != "eager" and (data.score != "top1" or recipe.mixup or recipe.clip or ranks.size() > 1):
        raise InputError(
            f"engine {engine} is for one process that classifies, without mixup or clipping; expected eager here"
        )


def _optimizer(model: nn.Module, recipe: Recipe, captured: torch.device | None) -> torch.optim.Optimizer:
    """SGD or Adam; parameters whose name contains ``recipe.undecayed``, or vectors, are not decayed if so asked.

    One that is ``captured`` on a device reads its learning rate from memory there.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        spared = bool(recipe.undecayed) and recipe.undecayed in name
        spared |= not recipe.decay_vectors and parameter.dim() < 2
        (others if spared else decayed).append(parameter)
    groups: list[dict] = [{"params": decayed}, *([{"params": others, "weight_decay": 0.0}] if others else [])]
    lr = recipe.lr if captured is None else torch.tensor(recipe.lr, device=captured)
    fused = True if captured is not None and captured.type == "cuda" else None
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups, lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov, fused=fused
    )


@dataclass
class _Loop:
    """Epochs: one pass over the training images and the evaluations after it."""

    shared: nn.Module
    data: Any
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    seed: int
    precision: str
    bar: tqdm
    saver: Saver
    engine: str

    def __post_init__(self):
        self.sums = torch.zeros(2, device=self.data.device)  # loss and images classified right, on the device
        self.graph = GraphedStep(self._step, self.data.device) if self.engine != "eager" else None
        self.network = CompiledNet(self.shared, self.recipe.batch_size) if self.engine == "compile" else self.shared

    def run(self, epoch: int, method: Method, model: nn.Module, history: History, part: dict) -> dict:
        """The figures of an epoch; ``part`` is what is already done of it, in an earlier process."""
        self.epoch, before, started = epoch, part.get("seconds", 0.0), time.perf_counter()
        figures = part.get("figures")
        if figures is None:
            figures = method.on_epoch(model, self.epoch, self.recipe.epochs)
            ranks.agree(model)
        self.sums.copy_(torch.tensor(part.get("sums", [0.0, 0.0])))
        self._train(
            method, model, figures, history, part.get("step", 0), lambda: before + time.perf_counter() - started
        )
        loss, correct = (ranks.total(self.sums.double()) / len(self.data.train)).tolist()
        self._check(loss)
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

    def _train(self, method: Method, model, figures: dict, history: History, done: int, seconds) -> None:
        self.shared.train()
        data, recipe, size = self.data, self.recipe, self.recipe.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        steps = -(-len(data.train) // size)
        self.lr = recipe.lr_at(self.epoch, max(done - 1, 0), steps)
        batches = data.batches(size, generator, share=ranks.share(), skip=done)
        for step, (images, targets) in enumerate(batches, done):
            self.lr = recipe.lr_at(self.epoch, step, steps)
            for group in self.optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.lr)
                else:
                    group["lr"] = self.lr
            if found := method.on_step(model, self.epoch * steps + step, recipe.epochs * steps):
                figures |= found
                ranks.agree(model)
            images, pairs = self._mixed(images, targets, step)
            if self.graph is not None:
                self.graph(images, targets)
            else:
                self._step(images, pairs, step)
            method.after_step(model)
            self.bar.update()
            if step + 1 < steps and self.saver.due():
                part = {"step": step + 1, "figures": figures, "sums": self.sums.tolist(), "seconds": seconds()}
                self._check(part["sums"][0])  # a state that has diverged must not take the place of one that has not
                self.saver.save(history, part)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"epoch {self.epoch + 1}: the training loss is {loss}; expected a number")

    def _mixed(self, images, labels, step: int):
        """``(images, [(share, labels), …])``: pairs of images mixed together, and cut out of, as the recipe says."""
        if self.data.score != "top1":
            return images, labels
        pairs = [(1.0, labels)]
        if self.recipe.mixup:  # Zhang et al. 2018, arXiv 1710.09412; partners are the next image of the same process
            part = float(np.random.default_rng([self.seed, self.epoch, step]).beta(*2 * (self.recipe.mixup,)))
            images = images.lerp(images.roll(1, 0), 1 - part)
            pairs = [(part, labels), (1 - part, labels.roll(1, 0))]
        return (self._cut_out(images, step) if self.recipe.cutout else images), pairs

    def _step(self, images: Tensor, targets, step: int = 0) -> None:
        """One step of the optimizer on this process's part of a batch. Nothing leaves the device."""
        self.optimizer.zero_grad(set_to_none=True)
        mean, correct = self._loss(images, targets, step)
        loss = mean
        if ranks.size() > 1:  # gradients are averaged over processes: weigh each by its part of the batch
            batch = min(self.recipe.batch_size, len(self.data.train) - step * self.recipe.batch_size)
            loss = mean * (len(images) * ranks.size() / batch)
        loss.backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.shared.parameters(), self.recipe.clip)
        self.optimizer.step()
        with torch.no_grad():
            self.sums += torch.stack([mean.detach() * len(images), correct])

    def _loss(self, images: Tensor, targets, step: int) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and how many of its images are classified right.

        A set of another task than classification brings a loss of its own. What that draws at random depends on seed,
        epoch and step alone.
        """
        context = torch.autocast(
            images.device.type, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=self.graph is None
        )
        if self.data.score != "top1":
            torch.manual_seed(hash((self.seed, self.epoch, step, ranks.rank())) % 2**63)
            with context:
                loss = self.data.loss(self.shared, images, targets)
            return loss, torch.zeros_like(loss)
        pairs = [(1.0, targets)] if isinstance(targets, Tensor) else targets
        with context:
            logits = self.network(images)
        losses = [
            share * F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
            for share, labels in pairs
        ]
        loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        return loss, (logits.detach().argmax(1) == pairs[0][1]).sum()

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
    size = 1000 if data.device.type == "cuda" else AT_ONCE
    correct = torch.zeros(len(ks), device=data.device, dtype=torch.int64)
    with parametrize.cached():  # a fused conv computes its filters once, not once a batch
        for images, labels in data.whole(split, size, share=ranks.share()):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                guesses = model(images).topk(max(ks.values())).indices == labels[:, None]
            correct += torch.stack([guesses[:, :k].sum() for k in ks.values()])
    return {name: 100 * n / len(split) for name, n in zip(ks, ranks.total(correct).tolist(), strict=True)}


@torch.no_grad()
def recalibrated(model: nn.Module, data, precision: str = "fp32", images: int = 5120) -> nn.Module:
    """``model``, with its BatchNorm statistics replaced by the plain mean over so many training images, in place.

    A network that lost filters still has the statistics of the whole one (Li et al. 2020, EagleEye, arXiv 2007.02491).
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # every batch weighs the same
    model.train()
    seen = 0
    for batch, _ in data.batches(256, torch.Generator().manual_seed(0)):
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=precision == "bf16"):
            model(batch)
        seen += len(batch)
        if seen >= images:
            break
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return model.eval()


def _keep_best(history: History, method: Method, model: nn.Module) -> None:
    """Export the network for each protocol that this epoch is the best of."""
    epochs = {protocol: history.best(protocol) for protocol in PROTOCOLS}
    best = [protocol for protocol, epoch in epochs.items() if epoch is history.curve[-1]]
    exported = {name: tensor.cpu().contiguous() for name, tensor in method.export(model).state_dict().items()}
    history.weights.update(dict.fromkeys(best, exported))
