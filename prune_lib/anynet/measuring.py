"""What a network takes: operations, and on this machine the time of a forward pass and bytes of weights and maps."""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..cost.counting import by_layer, rule_called
from ..cost.tracing import examples, trace
from ..nets.hooks import call, mapped, tensors
from ..nets.reparam import twin
from .channels import tensors_in
from .structure import without_fast_paths


def macs(model: nn.Module, inputs: Any) -> tuple[dict[str, int], int]:
    """Multiply-accumulates (rule ``macs``) of each conv and linear layer for all of ``inputs``; how many those are."""
    rule = rule_called("macs")
    with without_fast_paths(model):
        calls = trace(model, lambda: call(model, inputs), rule.kinds)
    return by_layer(calls, rule), examples(tensors(inputs, floating=False), calls)


def counted(model: nn.Module, inputs: Any) -> tuple[dict[str, int], int] | None:
    """Each layer's ``macs``, and by torch's counter those of all products, functional ones and attention's too.

    From shapes alone, nothing being computed; ``None`` where these do not say what is run, as where boxes are found.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[int, Tensor] = {id(p): nn.Parameter(p.to("meta"), False) for p in model.parameters()}
    shapes |= {id(b): b.to("meta") for b in model.buffers()}
    try:
        with FlopCounterMode(display=False) as counter:
            layers, _ = macs(twin(model, shapes), mapped(inputs, lambda t: t.to("meta")))
    except Exception:  # whatever a model may do with values that are not there
        return None
    return layers, counter.get_total_flops() // 2


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


def operations(model: nn.Module, inputs: Any) -> float:
    """All multiply-accumulates of its conv and linear layers (rule ``macs``)."""
    return float(sum((counted(model, inputs) or macs(model, inputs))[0].values()))


MEASURES = {"latency": seconds, "memory": peak_bytes, "flops": operations}
