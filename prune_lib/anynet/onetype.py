"""Networks that ask for floating-point types by name, as bfloat16, computed in one type all the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CASTS = (Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16)
MARK = "_of_one_type"  # the attribute that says so of a network


class _OneType(TorchFunctionMode):
    """Whatever asks for a floating-point type gets ``dtype``."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in CASTS:
            return args[0].to(self.dtype)
        if func is not Tensor.view:  # which takes the same bits for other numbers
            args = tuple(map(self._instead, args))
            kwargs = {name: self._instead(value) for name, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))

    def _instead(self, value):
        return self.dtype if isinstance(value, torch.dtype) and value.is_floating_point else value


def of_one_type(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``model``, a copy of somebody's network, with all weights in ``dtype``; ``in_its_type`` it computes in no other.

    Its copies are the same.
    """
    vars(model)[MARK] = dtype
    return model.double() if dtype == torch.float64 else model.float()


@contextmanager
def in_its_type(model: nn.Module) -> Iterator[None]:
    """Within this block a network made by ``of_one_type`` computes in its type, whatever it asks for."""
    dtype, default = vars(model).get(MARK), torch.get_default_dtype()
    if dtype is None:
        yield
        return
    torch.set_default_dtype(dtype)
    try:
        with _OneType(dtype):
            yield
    finally:
        torch.set_default_dtype(default)
