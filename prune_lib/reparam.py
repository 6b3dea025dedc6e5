"""Compressed layers as parametrizations: the stored tensor is the method's, the computed weight is the compact one."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class FilterFusion(nn.Module):
    """``weight = P @ bank``: m compact filters, each a weighted average of a bank of n (DCFF, section 3.3).

    The bank ``(n, C_in, k, k)`` is the parameter that is trained; ``proxy`` P ``(m, n)`` is a buffer that the method
    rewrites between epochs, so gradients reach the bank through it. With one-hot rows this is plain pruning.
    ``scores`` ``(n,)`` is the importance of each filter of the bank, by which the rows of P are chosen.
    """

    proxy: Tensor
    scores: Tensor

    def __init__(self, kept: int, total: int):
        super().__init__()
        self.register_buffer("proxy", torch.eye(kept, total))
        self.register_buffer("scores", torch.zeros(total, dtype=torch.float64))

    def forward(self, bank: Tensor) -> Tensor:
        return (self.proxy @ bank.flatten(1)).view(-1, *bank.shape[1:]) if bank.dim() > 1 else self.proxy @ bank


def fuse(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> FilterFusion:
    """Make ``conv`` compute its ``m`` filters from a bank: ``weight (n, C_in, k, k)`` and ``bias (n,)``, n >= m."""
    fusion = FilterFusion(conv.weight.shape[0], weight.shape[0])
    for name, filters in (("weight", weight), ("bias", bias)):
        if filters is not None:
            setattr(conv, name, nn.Parameter(filters))
            # unsafe: the shape changes, n filters to m. One module serves both, so that they share P.
            parametrize.register_parametrization(conv, name, fusion, unsafe=True)
    return fusion


def fusions(model: nn.Module) -> dict[str, tuple[nn.Conv2d, FilterFusion]]:
    """``{conv name: (conv, its fusion)}`` for every fused conv of ``model``, in module order."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module, "weight"):
            fusion = module.parametrizations.weight[0]  # type: ignore[union-attr, index]
            if isinstance(fusion, FilterFusion):
                found[name] = (module, fusion)
    return found


def bank(conv: nn.Conv2d) -> Tensor:
    """The stored bank ``(n, C_in, k, k)`` of a fused conv: the parameter that is trained."""
    return conv.parametrizations.weight.original  # type: ignore[union-attr, return-value]


@torch.no_grad()
def plain(model: nn.Module) -> nn.Module:
    """A copy of ``model`` without parametrizations: plain convs that hold the computed weights, same outputs.

    The parametrized convs are never deep-copied (removing parametrizations from a copy would break the original,
    whose class the copy shares); deepcopy finds their plain stand-ins in its memo instead.
    """
    memo: dict[int, nn.Module] = {}
    for conv, _ in fusions(model).values():
        copied = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,  # type: ignore[arg-type]
            conv.dilation, conv.groups, conv.bias is not None, conv.padding_mode,  # type: ignore[arg-type]
        ).to(conv.weight)  # fmt: skip
        copied.weight.copy_(conv.weight)
        if conv.bias is not None and copied.bias is not None:
            copied.bias.copy_(conv.bias)
        memo[id(conv)] = copied.train(conv.training)
    return copy.deepcopy(model, memo)
