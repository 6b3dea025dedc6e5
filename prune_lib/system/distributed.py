"""Several processes that train one network together, as ``torchrun`` starts them. Alone, everything here does nothing.

Each process takes its part of every batch; gradients, BatchNorm statistics and sums are shared, so that the result is
the one of a single process with the same batch, up to rounding.
"""

import atexit
import inspect
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """Which of the processes this is, from 0; the first one writes and prints."""
    return int(os.environ.get("RANK", 0))


def size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def share() -> tuple[int, int]:
    """``(rank, size)``: which part of each batch is this process's."""
    return rank(), size()


def join(device: torch.device) -> None:
    """Belong to the group of processes, until this one ends: NCCL between CUDA devices, gloo between CPUs.

    A second call does nothing: a group that is left and joined anew may meet what the first one left behind.
    """
    if size() == 1 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    atexit.register(dist.destroy_process_group)


def total(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over all processes, in place."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def agree(model: nn.Module) -> None:
    """Give every process the first one's buffers: BatchNorm's and the method's."""
    if size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def same(tensor: Tensor, device: torch.device) -> Tensor:
    """The first process's ``tensor``, on the CPU; ``device`` is where the processes meet."""
    if size() == 1:
        return tensor
    meeting = tensor.to(device)
    dist.broadcast(meeting, 0)
    return meeting.cpu()


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with shared BatchNorm statistics, behind a wrapper that averages gradients over the processes.

    The wrapper is to be called in training; parameters, buffers and names remain those of ``model``.
    """
    if size() == 1:
        return model
    _share_norms(model, nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm)
    wrapper = nn.parallel.DistributedDataParallel
    known = inspect.signature(wrapper).parameters  # newer torch has another name for the same switch
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict = {switch: False, "device_ids": [device.index] if device.type == "cuda" else None}
    return wrapper(model, gradient_as_bucket_view=True, **options)


def _share_norms(model: nn.Module, kind: type[nn.Module]) -> None:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            norm = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            norm._parameters, norm._buffers = child._parameters, child._buffers
            setattr(model, name, norm.train(child.training))
        else:
            _share_norms(child, kind)


class _Total(torch.autograd.Function):
    """A sum over processes whose gradient is one too."""

    @staticmethod
    def forward(ctx, x):
        return total(x.clone())

    @staticmethod
    def backward(ctx, gradient):
        return total(gradient.clone())


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
        sums = _Total.apply(torch.cat([wide.sum(over), count]))
        n = sums[-1].detach()
        centred = wide - (sums[:-1] / n).view(shape)
        variance = _Total.apply(centred.square().sum(over)) / n
        with torch.no_grad():
            self.running_mean.lerp_(sums[:-1] / n, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        return (scaled * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)
