"""What a network takes on this machine: the time of a forward pass, and the bytes of its weights and largest maps."""

import time
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..nets.hooks import call
from .channels import tensors_in


@torch.inference_mode()
def seconds(model: nn.Module, inputs: Any, rounds: int = 7) -> float:
    """The median processor time of a forward pass on the CPU, in seconds, after one that is not counted."""
    call(model, inputs)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call(model, inputs)
        times.append(time.process_time() - start)
    return sorted(times)[rounds // 2]


@torch.no_grad()
def peak_bytes(model: nn.Module, inputs: Any) -> float:
    """Bytes of all weights and of the largest result of one operation together with what it reads."""
    most = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal most
            result = func(*args, **(kwargs or {}))
            storages = {
                t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_in((args, result))
            }
            for weight in weights & storages.keys():
                del storages[weight]
            most = max(most, sum(storages.values()))
            return result

    own = [*model.parameters(), *model.buffers()]
    weights = {t.untyped_storage().data_ptr() for t in own}
    with Watch():
        call(model, inputs)
    return float(most + sum(t.numel() * t.element_size() for t in own))


MEASURES = {"latency": seconds, "memory": peak_bytes}
