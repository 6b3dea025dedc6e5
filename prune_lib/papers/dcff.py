"""Training Compact CNNs for Image Classification using Dynamic-coded Filter Fusion (DCFF).

Lin, Chen, Chao, Ji: arXiv 2107.06916. Three pure functions are the method; a thin class applies them to a network once
an epoch.

Three variants, by name:

``authors``
    What the published code does. The scores are taken from float32 probabilities, where most of them have underflowed
    to 0 and ``0 log 0`` is not a number; a layer whose scores are not all finite keeps the ranking it had. In effect
    the ranking of epoch 0, of random filters, decides the whole run.
``paper``
    The formula as written, from logarithms that cannot underflow, so that the ranking goes on changing.
``mmrazor``
    What MMRazor's code does (dcff_channel_mutator.py of 0480755): both logarithms have an epsilon, the second is
    averaged over a filter's own distribution in place of all others', and the temperature goes by iterations, of which
    there have been so many at the second scoring that it is at its end.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..nets import Arch
from ..nets.reparam import bank, fuse, fusions
from ..system.errors import InputError, short
from .criteria import Group, Seen
from .method import Method

VARIANTS = ("authors", "paper", "mmrazor")
ROWS = 64  # of a matrix that are worked on at once, so that a CPU finds them in its caches
EPSILON = 1e-7  # the published code adds it to the second distribution of each divergence


def temperature(epoch: float, epochs: int, start: float = 1.0, end: float = 10_000.0, rate: float = 1.0) -> float:
    """T(e) of equation 10: from ``start`` at epoch 0 to ``end`` at ``epochs``, an S-curve's upper half.

    With the paper's ``rate`` k = 1 it does not depend on the length of the run: T is 1 in epoch 0, 4,622 in epoch 1,
    and 99 % of its end in epoch 6.
    """
    decay = math.exp(-rate * epochs)
    scale = 2 * (end - start) * (1 + decay) / (1 - decay)
    return scale / (1 + math.exp(-rate * epoch)) + start - scale / 2


def distances(weight: Tensor) -> Tensor:
    """Euclidean distance of each pair of filters, ``(C, …) -> (C, C)``, in float64 with an exactly zero diagonal."""
    inner = _inner(weight.detach().flatten(1))
    squares = inner.diagonal().clone()
    squared = inner.mul_(-2).add_(squares[:, None]).add_(squares)
    return squared.clamp_min_(0).fill_diagonal_(0).sqrt_()


def _inner(filters: Tensor, depth: int = 1152) -> Tensor:
    """``filters @ filters.T`` in float64: the lower half, column block by column block, then its mirror image.

    Only a part of the weights is held in float64 at a time, in memory that is allocated once: new pages cost time.
    """
    n, depth = len(filters), min(depth, filters.shape[1])
    total = torch.zeros(n, n, dtype=torch.float64, device=filters.device)
    room = torch.empty(n * depth, dtype=torch.float64, device=filters.device)
    for columns in filters.split(depth, 1):
        part = room[: columns.numel()].view(n, -1).copy_(columns)
        for start in range(0, n, ROWS):
            total[start:, start : start + ROWS].addmm_(part[start:], part[start : start + ROWS].T)
    for start in range(0, n, ROWS):
        stop = start + ROWS
        total[start:stop, stop:] = total[stop:, start:stop].T
        block = total[start:stop, start:stop].tril_()
        block += block.tril(-1).T
    return total


def similarity(weight: Tensor, temperature: float) -> Tensor:
    """P, the proxies of section 3.2: row j is ``softmax(-T d(j, .))``, filter j's distribution over all filters.

    ``(C, …) -> (C, C)`` in the weight's dtype, each row summing to 1. As T grows the rows become one-hot.
    """
    return torch.softmax(distances(weight).mul_(-temperature), dim=1).to(weight.dtype)


def importance(weight: Tensor, temperature: float, variant: str = "authors") -> Tensor:
    """How unlike the others each filter's distribution is, ``(C, …) -> (C,)`` in float64, larger = more important.

    Section 3.2: ``I_j = 1/C sum_k KL(P_j || P_k)``. The sum over k is taken inside the logarithm's place,

        I_j = sum_l P_jl log P_jl  -  1/C sum_l P_jl sum_k log P_kl,

    which is a matrix-vector product: O(C^2 d) time and O(C^2) memory. With ``variant='authors'`` the result holds NaN
    wherever a probability underflowed; with ``'mmrazor'`` the sum over k is of ``log P_lk``. See the module's text.

    Raises:
        InputError: an unknown variant.
    """
    check_variant(variant)
    proxies = distances(weight).mul_(-temperature)
    own = torch.zeros_like(proxies[0])
    others = torch.zeros_like(own)
    for start in range(0, len(proxies), ROWS):
        rows = proxies[start : start + ROWS]
        if variant == "authors":
            found = torch.softmax(rows, 1).to(weight.dtype).double()
            logs = found.log()
            others += (found + EPSILON).log_().sum(0)
        elif variant == "mmrazor":
            found = torch.softmax(rows, 1)
            logs = (found + EPSILON).log_()
            others[start : start + ROWS] = logs.sum(1)
        else:
            logs = torch.log_softmax(rows, 1)
            found = logs.exp()
            others += logs.sum(0)
        own[start : start + ROWS] = logs.mul_(found).sum(1)
        rows.copy_(found)
    scores = own - proxies @ others / len(proxies)
    return scores / len(proxies) if variant == "mmrazor" else scores


def by_divergence(group: Group, seen: Seen) -> Tensor:
    """DCFF's score as a criterion of ``CRITERIA``: at the temperature of epoch 0, by the formula as written."""
    return group.sum(lambda layer: importance(layer.filters, temperature=1.0, variant="paper"))


def check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise InputError(f"unknown DCFF variant {variant!r}; expected one of: {' '.join(VARIANTS)}")


class DCFF(Method):
    """Every listed conv computes its compact filters from a full-width bank, which is scored again once an epoch.

    Args:
        filters: conv name -> n, the size of its bank. Other convs stay as they are. Works for any network.
        variant: ``authors``, ``paper`` or ``mmrazor``, see the module's text.
        every: re-score after so many steps instead of once an epoch; the temperature then goes by steps too.
        shortcuts: fuse the convs of shortcuts as well, as mmrazor does and the authors do not.
    """

    def __init__(self, filters: Mapping[str, int], variant: str = "authors", every: int = 0):
        check_variant(variant)
        if type(every) is not int or every < 0:
            raise InputError(f"DCFF: every is {short(every)}; expected a whole number of steps, 0 for once an epoch")
        self.filters, self.variant, self.every = dict(filters), variant, every

    @classmethod
    def for_arch(cls, arch: Arch, shortcuts: bool = False, **options) -> "DCFF":
        plain = [conv for conv in arch.plain if not (shortcuts and "downsample" in conv)]
        return cls({conv: n for conv, n in arch.filters.items() if conv not in plain}, **options)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Give every listed conv a freshly drawn bank, by the network's own initialisation."""
        from ..nets.init import torch_default

        draw = getattr(model, "init_filters", torch_default)
        for name, total in self.filters.items():
            conv = model.get_submodule(name)
            if not isinstance(conv, nn.Conv2d):
                raise InputError(f"{name} is {type(conv).__name__}; expected a Conv2d")
            if total < conv.weight.shape[0]:
                raise InputError(f"{name}: a bank of {total} filters cannot give {conv.weight.shape[0]}")
            weight = conv.weight.new_empty(total, *conv.weight.shape[1:])
            bias = None if conv.bias is None else conv.bias.new_empty(total)
            with torch.no_grad():
                draw(weight) if bias is None else draw(weight, bias)
            fuse(conv, weight, bias)
        return model

    def on_epoch(self, model: nn.Module, epoch: int, epochs: int) -> dict[str, float]:
        return {} if self.every else self.update(model, epoch, epochs)

    def on_step(self, model: nn.Module, step: int, steps: int) -> dict[str, float]:
        return self.update(model, step, steps) if self.every and step % self.every == 0 else {}

    @torch.no_grad()
    def update(self, model: nn.Module, epoch: int, epochs: int) -> dict[str, float]:
        """Score every bank and set its P: the ``m`` best filters by stored score, their rows of the current P.

        Returns how many layers had finite scores, and in how many the chosen filters changed. Nothing leaves the
        device before that count.
        """
        passed = math.inf if epoch and self.variant == "mmrazor" else epoch  # it counts iterations
        heat, finite, changed = temperature(passed, epochs), [], []
        for conv, fusion in fusions(model).values():
            filters = bank(conv)
            scores = importance(filters, heat, self.variant)
            usable = scores.isfinite().all()
            before = _best(fusion.scores, len(fusion.proxy))
            fusion.scores.copy_(scores if epoch == 0 else torch.where(usable, scores, fusion.scores))
            best = _best(fusion.scores, len(fusion.proxy))
            fusion.proxy.copy_(similarity(filters, heat)[best])
            finite.append(usable)
            changed.append((best != before).any())
        return {
            "temperature": heat,
            "layers_scored": int(sum(finite)),
            "layers_reranked": int(sum(changed)) if epoch else 0,
        }


def _best(scores: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest scores, in ascending order, so that it does not depend on the device."""
    return scores.topk(count).indices.sort().values
