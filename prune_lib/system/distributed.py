"""Several processes that train one network together, as ``torchrun`` starts them. Alone, everything here does nothing.

Each process takes its part of every batch; gradients, BatchNorm statistics and sums are shared, so the result is
that of a single process with the same batch, up to rounding. The names are those of ``torch.distributed``.
"""

import atexit
import inspect
import os
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrize

PATIENCE = timedelta(hours=12)  # the first process may have to wait, to score or to decode while the others do nothing
T = TypeVar("T")


def rank() -> int:
    """Which of the processes this is, from 0; the first one writes and prints."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def share() -> tuple[int, int]:
    """``(rank, world_size)``: which part of each batch is this process's."""
    return rank(), world_size()


def init_process_group(device: torch.device) -> None:
    """Belong to the group of processes, until this one ends: NCCL between CUDA devices, gloo between CPUs.

    A second call does nothing: a group that is left and joined anew may meet what the first one left behind.
    """
    if world_size() == 1 or dist.is_initialized():
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def barrier() -> None:
    """Wait for every process to get here, before one reads what another wrote."""
    if world_size() > 1:
        dist.barrier()


def broadcast(tensor: Tensor, device: torch.device) -> Tensor:
    """The first process's ``tensor``, on the CPU; ``device`` is where the processes meet."""
    if world_size() == 1:
        return tensor
    meeting = tensor.to(device)
    dist.broadcast(meeting, 0)
    return meeting.cpu()


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Give every process the first one's buffers: BatchNorm's and the method's."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def on_first(work: Callable[[], T]) -> T:
    """What ``work`` returns in the first process, for all of them; what it raises there is raised in all of them."""
    if world_size() == 1:
        return work()
    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found = [work(), None]
        except Exception as error:
            found = [None, error]
    dist.broadcast_object_list(found, 0)
    if found[1] is not None:
        raise found[1]
    return found[0]


def all_gather(items: list) -> list:
    """The lists of all processes as one, in the order of the processes."""
    if world_size() == 1:
        return items
    lists: list[list] = [[]] * world_size()
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with shared BatchNorm statistics, behind a wrapper that averages gradients over the processes.

    The wrapper is to be called in training; parameters, buffers and names remain those of ``model``.
    """
    if world_size() == 1:
        return model
    _share_norms(model, nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm)
    wrapper = nn.parallel.DistributedDataParallel
    known = inspect.signature(wrapper).parameters  # newer torch has another name for the same switch
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict = {switch: False, "device_ids": [device.index] if device.type == "cuda" else None}
    return wrapper(model, gradient_as_bucket_view=True, **options)


def no_sync(model: nn.Module, still_to_come: bool):
    """Within this block gradients add up without being averaged, if more of the same batch is ``still_to_come``."""
    if still_to_come and isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def _share_norms(model: nn.Module, kind: type[nn.Module]) -> None:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(model, name, _shared(child, kind).train(child.training))
        else:
            _share_norms(child, kind)


def _shared(norm: Any, kind: type[nn.Module]) -> nn.Module:
    """``norm`` as one of ``kind``: the same parameters, buffers and parametrizations (masks) by the same names."""
    shared = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared._parameters, shared._buffers = dict(norm._parameters), norm._buffers
    if parametrize.is_parametrized(norm):
        for name, steps in norm.parametrizations.items():
            shared._parameters[name] = steps.original
            for step in steps:
                parametrize.register_parametrization(shared, name, step)
    return shared


class _AllReduce(torch.autograd.Function):
    """A sum over processes whose gradient is one too."""

    @staticmethod
    def forward(ctx, x):
        return all_reduce(x.clone())

    @staticmethod
    def backward(ctx, gradient):
        return all_reduce(gradient.clone())


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the images of all processes, on any device (torch's SyncBatchNorm needs CUDA)."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        over = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.float()
        count = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = _AllReduce.apply(torch.cat([wide.sum(over), count]))
        n = sums[-1].detach()
        centred = wide - (sums[:-1] / n).view(shape)
        variance = _AllReduce.apply(centred.square().sum(over)) / n
        with torch.no_grad():
            self.running_mean.lerp_(sums[:-1] / n, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        return (scaled * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)
