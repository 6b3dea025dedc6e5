"""One training loop for every method and task, and evaluation."""

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..nets.norms import recalibrated
from ..papers.method import Method
from ..papers.recipe import Recipe
from ..system import distributed
from ..system.device import allow_tf32, autocast, keep_freed_memory, pick_device, pick_precision
from ..system.errors import InputError
from .engines import ENGINES, CompiledNet, GraphedStep
from .execution import Execution
from .history import PROTOCOLS, Diverged, History, Saver, circumstances, resume
from .progress import Progress
from .refusals import check_given, told
from .teaching import Overheard, Teacher


def train(
    model: nn.Module,
    data,
    recipe: Recipe,
    method: Method | None = None,
    *,
    teacher: nn.Module | Teacher | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    state: Path | None = None,
    save_every: float = 300.0,
    identity: str = "",
    progress: bool = True,
    **execution: Any,
) -> History:
    """Train ``model`` on ``data`` (of ``prune_lib.tasks``) by ``recipe`` and ``method``, evaluating after every epoch.

    Epoch e's order, crops and flips depend on ``seed`` and e alone, so a run that is resumed from ``state`` (written
    after every epoch, and within one every ``save_every`` seconds; a file there that belongs to another ``identity``
    is refused) ends in the same weights as one that was not interrupted, bit for bit on the CPU. Under ``torchrun``
    the processes share every batch, and the first one writes.

    Args:
        teacher: a trained network to learn from as well, as the full one of which ``model`` is a part; or a
            ``teaching.Teacher``, which says at what temperature and how much. Of classification alone.
        execution: fields of ``Execution``: ``engine``, ``precision``, ``micro_batch`` …

    Raises:
        InputError: something else than a network, an image set and a recipe; a network that does not run on the images
            or answers with something else than logits of their classes; a teacher of another task, an engine that is
            unknown or cannot run this recipe, a batch that is too small to share, or a state that is another run's.
        Diverged: the loss of an epoch is not finite.
    """
    check_given(model, data, recipe, execution)
    how = Execution(**execution)
    device = pick_device(device) if isinstance(device, str) else device
    method, precision = method or Method(), pick_precision(device, how.precision)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = how.deterministic, not how.deterministic
    allow_tf32(precision == "tf32")
    if device.type == "cpu":
        keep_freed_memory()
    _check_batches(model, len(data.train), recipe.batch_size, how.micro_batch)
    _check_engine(how.engine, data, recipe, precision)
    if teacher is not None:
        if data.metric != "top1":
            raise InputError(f"a teacher is for classification, and {recipe.data} is judged by {data.metric}")
        teacher = Teacher.of(teacher, device)
        identity += teacher.identity()
    data = data.to(device)
    model = method.prepare(model).to(device).to(memory_format=torch.channels_last)
    distributed.init_process_group(device)
    shared = distributed.data_parallel(model, device)
    optimizer = _optimizer(model, recipe, None if how.engine == "eager" else device)
    scaler = _scaler(device, how.loss_scale) if precision == "fp16" else None
    here = circumstances(device, precision, how.engine)
    path = state if distributed.rank() == 0 else None
    saver = Saver(path, identity, model, optimizer, method, save_every, here, scaler)
    distributed.barrier()  # what the first process has still done to the state is done
    history, part = resume(state, identity, model, optimizer, method, here, scaler)
    history.metric = data.metric
    distributed.barrier()  # every process has read before the first one writes
    images, shown = len(data.train), progress and distributed.rank() == 0
    done = len(history.curve) * images + min(part.get("step", 0) * recipe.batch_size, images)
    bar = Progress(recipe.epochs, images, done, shown)
    if how.engine == "compile":
        bar.say("the first step compiles, for a minute or two")
    if method.prunes_trained and not history.before:
        history.before = evaluate(model, data, data.test, precision)
        if data.one_shape and distributed.world_size() == 1:
            history.recalibrated = evaluate(
                recalibrated(
                    method.export(model), data.batches(256, torch.Generator().manual_seed(0)), precision=precision
                ),
                data, data.test, precision,
            )  # fmt: skip
    with bar:
        loop = _Loop(shared, data, recipe, optimizer, scaler, seed, precision, how, bar, saver, teacher)
        for epoch in range(len(history.curve), recipe.epochs):
            bar.begin(epoch)
            figures = loop.run(epoch, method, model, history, part)
            history.curve.append({"epoch": epoch, **figures})
            part = {}
            tested = f"test_{data.metric}"
            names = [name for name in ("loss", f"heldout_{data.metric}", tested) if name in figures]
            best = {tested: max(point.get(tested, 0.0) for point in history.curve)}
            bar.end(epoch, {name: figures[name] for name in names}, best)
            _keep_best(history, method, model)
            if epoch + 1 == recipe.epochs or saver.worth_it():
                saver.save(history)
    return history


def _check_batches(model: nn.Module, images: int, batch: int, micro_batch: int) -> None:
    """Refuse batches of which a process, or a micro-batch, would see fewer images than the network needs."""
    needed, processes = getattr(model, "least_images", 1), distributed.world_size()
    least = needed * processes
    if 0 < images % batch < least or batch < least:
        raise InputError(
            f"{images} training images in batches of {batch} leave a batch of fewer than {least}, "
            f"which {type(model).__name__} in {processes} processes needs; expected another batch size"
        )
    if 0 < micro_batch < needed:
        raise InputError(f"micro-batch is {micro_batch}; expected {needed}, as {type(model).__name__} needs")


def _check_engine(engine: str, data, recipe: Recipe, precision: str) -> None:
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; expected one of: {' '.join(ENGINES)}")
    unfit = not data.one_shape or recipe.mixup or recipe.clip or precision == "fp16" or distributed.world_size() > 1
    if engine != "eager" and unfit:
        raise InputError(
            f"engine {engine} is for one process that classifies, without mixup, clipping or fp16; expected eager here"
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
    groups: list[dict] = [{"params": decayed}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    lr = recipe.lr if captured is None else torch.tensor(recipe.lr, device=captured)
    fused = True if captured is not None and captured.type == "cuda" else None
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups, lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov, fused=fused
    )


def _scaler(device: torch.device, fixed: float) -> torch.amp.GradScaler:
    """Keeps fp16's gradients above zero, by a ``fixed`` factor if it is not 0; a step that overflows is left out."""
    scaler = torch.amp.GradScaler(device.type, init_scale=fixed or 2.0**16)
    if fixed:
        scaler.set_growth_factor(1.0)
        scaler.set_backoff_factor(1.0)
    return scaler


@dataclass
class _Loop:
    """Epochs: one pass over the training images and the evaluations after it."""

    shared: nn.Module
    data: Any
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    seed: int
    precision: str
    how: Execution
    bar: Progress
    saver: Saver
    teacher: Teacher | None = None

    def __post_init__(self):
        self.sums = torch.zeros(2, device=self.data.device)  # loss, and what the task counts, on the device
        size = min(self.recipe.batch_size, len(self.data.train))
        captured, fused = self.how.engine != "eager", self.how.engine == "compile"
        self.graph = GraphedStep(self._step, self.data.device, size) if captured else None
        part = len(_parts(size, size, self.how.micro_batch)[0])
        self.network: Any = CompiledNet(self.shared, part) if fused else self.shared
        if self.teacher is not None:
            self.network = Overheard(self.network)

    def run(self, epoch: int, method: Method, model: nn.Module, history: History, part: dict) -> dict:
        """The figures of an epoch; ``part`` is what is already done of it, in an earlier process."""
        self.epoch, before, started = epoch, part.get("seconds", 0.0), time.perf_counter()
        figures = part.get("figures")
        if figures is None:
            figures = method.on_epoch(model, self.epoch, self.recipe.epochs)
            distributed.broadcast_buffers(model)
        self.sums.copy_(torch.tensor(part.get("sums", [0.0, 0.0])))
        self._train(
            method, model, figures, history, part.get("step", 0), lambda: before + time.perf_counter() - started
        )
        loss, counted = (distributed.all_reduce(self.sums.double()) / len(self.data.train)).tolist()
        self._check(loss)
        trained = before + time.perf_counter() - started
        figures = {**figures, "lr": self.lr, "loss": loss, **self.data.training_figures(counted)}
        if self.epoch + 1 == self.recipe.epochs or (self.epoch + 1) % self.recipe.test_every == 0:
            for name, split in (("heldout", self.data.heldout), ("test", self.data.test)):
                found = evaluate(model, self.data, split, self.precision)
                figures |= {f"{name}_{metric}": value for metric, value in found.items()}
        figures["images_per_second"] = len(self.data.train) / trained
        return {**figures, "seconds": before + time.perf_counter() - started}

    def _train(self, method: Method, model, figures: dict, history: History, done: int, seconds) -> None:
        self.shared.train()
        data, recipe, size = self.data, self.recipe, self.recipe.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        steps = math.ceil(len(data.train) / size)
        self.lr = recipe.lr_at(self.epoch, max(done - 1, 0), steps)
        batches = data.batches(size, generator, share=distributed.share(), skip=done)
        for step, (images, targets) in enumerate(batches, done):
            self.lr = recipe.lr_at(self.epoch, step, steps)
            for group in self.optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.lr)
                else:
                    group["lr"] = self.lr
            if found := method.on_step(model, self.epoch * steps + step, recipe.epochs * steps):
                figures |= found
                distributed.broadcast_buffers(model)
            place = (self.seed, self.epoch, step, distributed.rank())
            images, prepared = data.prepare(images, targets, recipe, place)
            with told(model, data, images):
                if self.graph is not None:
                    self.graph(images, targets)
                else:
                    self._step(images, prepared, step)
            method.after_step(model)
            self.bar.step(min(size, len(data.train) - step * size))
            if step + 1 < steps and self.saver.due():
                part = {"step": step + 1, "figures": figures, "sums": self.sums.tolist(), "seconds": seconds()}
                self._check(part["sums"][0])  # a state that has diverged must not take the place of one that has not
                self.saver.save(history, part)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"epoch {self.epoch + 1}: the training loss is {loss}; expected a number")

    def _step(self, images: Tensor, targets, step: int = 0) -> None:
        """One step of the optimizer on this process's part of a batch. Nothing leaves the device."""
        self.optimizer.zero_grad(set_to_none=True)
        data, processes, batch = self.data, distributed.world_size(), len(images)
        if processes > 1:
            batch = min(self.recipe.batch_size, len(data.train) - step * self.recipe.batch_size)
        parts = _parts(len(images), batch, self.how.micro_batch)
        for part in parts:
            some, theirs = images, targets
            if len(parts) > 1:
                some, theirs = images[part.start : part.stop], data.part(targets, slice(part.start, part.stop))
            with distributed.no_sync(self.shared, still_to_come=part is not parts[-1]):
                self._add_gradients(some, theirs, len(part) * processes / batch)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.recipe.group_lasso:
            add_group_lasso(self.shared, self.recipe.group_lasso)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.shared.parameters(), self.recipe.clip)
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()

    def _add_gradients(self, images: Tensor, targets, weight: float) -> None:
        """Add the gradients of the mean loss of ``images``, which are worth ``weight`` of the batch.

        Gradients are averaged over processes, so those of a batch have weights that add up to how many there are.
        """
        with autocast(images.device, self.precision, cache_enabled=self.graph is None):
            mean, counted = self.data.loss(self.network, images, targets, self.recipe)
            if self.teacher is not None:
                mean = self.teacher.loss(mean, images, self.network.said)
        loss = mean if weight == 1 else mean * weight
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        with torch.no_grad():
            self.sums += torch.stack([mean.detach() * len(images), counted])


@torch.no_grad()
def add_group_lasso(model: nn.Module, strength: float) -> None:
    """Add to the gradients those of ``strength sum_f ||w_f||_2`` over all filters of convolutions: ``w_f / ||w_f||``.

    Structured sparsity learning by filters (Wen et al. 2016, arXiv 1608.03665): whole filters shrink, and can go. One
    of zeros has no gradient. With a parametrized conv it is the stored filters that count.
    """
    for weight in model.parameters():
        if weight.dim() > 2 and weight.grad is not None:
            norms = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
            weight.grad.add_(weight / norms.clamp_min(1e-12), alpha=strength)


def _parts(images: int, batch: int, micro_batch: int) -> list[range]:
    """The micro-batches of a process's ``images`` out of a whole ``batch``: as equal as can be, as many everywhere.

    As many in every process, since their BatchNorms wait for each other; where its share of the batch does not divide
    evenly a process may have one image more than ``micro_batch`` in each.
    """
    processes = distributed.world_size()
    most, least = math.ceil(batch / processes), batch // processes
    count = max(1, min(math.ceil(most / micro_batch), least)) if micro_batch else 1
    edges = [round(images * i / count) for i in range(count + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


@torch.inference_mode()
def evaluate(model: nn.Module, data, split, precision: str = "fp32") -> dict[str, float]:
    """The metrics of the task of ``data`` over every image of ``split``, in percent: of a classification ``top1``.

    Empty for an empty split. Processes share the images.
    """
    if not len(split):
        return {}
    model.eval()
    with parametrize.cached():  # a fused conv computes its filters once, not once a batch
        return data.evaluate(model, split, precision)


def _keep_best(history: History, method: Method, model: nn.Module) -> None:
    """Export the network for each protocol that this epoch is the best of."""
    epochs = {protocol: history.best(protocol) for protocol in PROTOCOLS}
    best = [protocol for protocol, epoch in epochs.items() if epoch is history.curve[-1]]
    exported = {name: tensor.cpu().contiguous() for name, tensor in method.export(model).state_dict().items()}
    history.weights.update(dict.fromkeys(best, exported))
