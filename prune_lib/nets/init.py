"""How a network initialises its filters. Each network names its way, so that a fused bank starts like the full conv."""

import math

from torch import Tensor, nn


def torch_default(weight: Tensor, bias: Tensor | None = None) -> None:
    """PyTorch's own: uniform within 1/sqrt(fan_in), for weights ``(C, …)`` and biases ``(C,)``."""
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(weight, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound)


def he_fan_in(weight: Tensor, bias: Tensor | None = None) -> None:
    """Normal with variance 2/fan_in (He et al. 2015, arXiv 1502.01852, eq. 10); biases zero. For CIFAR ResNets."""
    nn.init.kaiming_normal_(weight)
    if bias is not None:
        nn.init.zeros_(bias)


def he_fan_out(weight: Tensor, bias: Tensor | None = None) -> None:
    """Normal with variance 2/fan_out (the same, eq. 14); biases zero. Used by the networks for ImageNet."""
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    if bias is not None:
        nn.init.zeros_(bias)
