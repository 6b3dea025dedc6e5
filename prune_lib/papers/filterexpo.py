"""FilterExpo, published as CHEX: prune and regrow channels while one network trains from scratch.

Hou, Qin, Sun, Ma, Yuan, Xu, Chen, Jin, Xie, Kung: arXiv 2203.15794. Every few epochs a layer keeps the filters that
best span all of its filters (column subset selection), as many as its BatchNorm scales earn it among all layers, and
regrows some of those it lost before. Fewer regrow as time goes on, and in the end the budget is met.

Which filters can go: those of convs inside a block, and of shortcuts; the first conv and the residual stream stay.
Numbers are the published code's, with three exceptions: the budget is met to the channel; no layer is ever emptied;
and channels of shortcuts, of which there are more than their filters have weights, regrow by the chances of the paper's
formula, where the published pseudo-inverse inverts rounding noise and gives others.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..nets import Arch, build
from ..nets.slim import Keep, complete, mask, slim, slim_widths, to_text
from ..nets.spec import Widths
from ..system import distributed
from ..system.errors import InputError
from . import baselines
from .baselines import check_pruned, evenly
from .criteria import Group, Seen
from .method import Method

SELECT = ("leverage", "l1")
REGROW = ("residual", "gram", "uniform", "none")
ALLOCATE = ("global", "even")
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def regrown(epoch: int, last: int, initial: float) -> float:
    """The share of channels that is regrown in ``epoch``: from ``initial`` along a half cosine to 0 in ``last``."""
    return initial * (1 + math.cos(math.pi * epoch / last)) / 2


def leverage_scores(weight: Tensor, keep: int) -> Tensor:
    """How much each filter contributes to the span of the best ``keep``, ``(C, …) -> (C,)`` in float64.

    Column subset selection (Boutsidis et al. 2009, arXiv 0812.4293): with the filters as the columns of X ``(d, C)``
    and V_k its first ``keep`` right singular vectors, the score of filter j is the length of row j of V_k. V_k is taken
    from the eigenvectors of X'X, which is smaller than X. Where a filter has fewer weights than there are filters
    (d < C) it is its L1 norm, as in the published code.

    Raises:
        InputError: fewer than one filter to keep, or more than there are.
    """
    filters = weight.detach().flatten(1).double()
    if not 1 <= keep <= len(filters):
        raise InputError(f"{keep} filters to keep of {len(filters)}; expected at least one and no more than there are")
    if filters.shape[1] < len(filters):
        return filters.abs().sum(1)
    return torch.linalg.eigh(filters @ filters.T).eigenvectors[:, -keep:].norm(dim=1)


def by_leverage(group: Group, seen: Seen) -> Tensor:
    """CSS as a criterion of ``CRITERIA``; where nobody says how many filters stay, half of them."""
    keep = group.keep or max(1, group.size // 2)
    return group.sum(lambda layer: leverage_scores(layer.filters, min(keep, len(layer.filters))))


def growth(weight: Tensor, selected: Tensor, how: str = "residual") -> Tensor:
    """The probability with which each filter that is not ``selected (C,)`` is drawn first, ``(C, …) -> (C,)``.

    Args:
        how: ``residual``: softmax of the length of what the selected filters do not span of it (CHEX, section 3.3);
            ``gram``: by exp(-||G - I||), G the Gram matrix of the selected filters and it (commit 4136520 with
            --sampling); ``uniform``: the same for all (that commit without).

    Raises:
        InputError: another ``how``.
    """
    filters = weight.detach().flatten(1).double()
    inner = filters @ filters.T
    inside, across = inner[selected][:, selected], inner[selected]
    if how == "residual":
        spanned = (across * (torch.linalg.pinv(inside, hermitian=True) @ across)).sum(0)
        logits = (inner.diagonal() - spanned).clamp_min(0).sqrt()
    elif how == "gram":
        fixed = (inside - torch.eye(len(inside), device=inside.device)).square().sum()
        logits = -(fixed + 2 * across.square().sum(0) + (inner.diagonal() - 1).square()).sqrt()
    elif how == "uniform":
        logits = torch.zeros_like(inner[0])
    else:
        raise InputError(f"unknown growth {how!r}; expected one of: {' '.join(REGROW[:-1])}")
    return logits.masked_fill(selected, -math.inf).softmax(0)


def allocate(scales: dict[str, Tensor], pruned: int) -> dict[str, int]:
    """How many channels each layer keeps if the ``pruned`` smallest BatchNorm scales of all layers go.

    ``{conv: (C,)} -> {conv: kept}``; exactly ``pruned`` fewer than there are. The largest of a layer always stays.

    Raises:
        InputError: more to prune than all but one of each layer.
    """
    check_pruned(pruned, {conv: len(values) for conv, values in scales.items()})
    others = {conv: values.detach().abs().double().sort().values[:-1].cpu() for conv, values in scales.items()}
    owner = torch.cat([torch.full((len(v),), i) for i, v in enumerate(others.values())])
    order = torch.cat(list(others.values())).sort(stable=True).indices[:pruned]
    lost = torch.bincount(owner[order], minlength=len(scales)).tolist()
    return {conv: len(values) - gone for (conv, values), gone in zip(scales.items(), lost, strict=True)}


def norms(model: nn.Module, arch: Arch) -> dict[str, str]:
    """``{conv: its BatchNorm}`` of every conv whose channels can go.

    Raises:
        InputError: there is none, as where a norm reads many convs (DenseNet).
    """
    first, found = next(iter(arch.filters)), {}
    readers = {name: of for name, of in arch.inputs.items() if isinstance(model.get_submodule(name), BATCH_NORM)}
    for unit in arch.units.values():
        for conv in unit:
            own = [name for name, sources in readers.items() if conv in sources]
            alone = len(own) == 1 and arch.inputs[own[0]] == (conv,)
            if alone and (len(unit) == 1 or "downsample" in conv) and conv != first and not conv.startswith("stem."):
                found[conv] = own[0]
    if found:
        return {conv: found[conv] for conv in arch.filters if conv in found}
    raise InputError(f"{arch.name} has no conv with a BatchNorm of its own inside a block; FilterExpo needs them")


class FilterExpo(Method):
    """Channels that are pruned and regrown while the network trains from scratch.

    Args:
        sparsity: the share of the channels that can go which is gone in the end (the published channel_sparsity).
        macs: instead, the share of the multiply-accumulates that stays; as many channels go as that takes.
        initial: the share that is regrown at first (init_channel_ratio).
        until: the last exploration, as a share of the epochs (T_max: 180 of 250).
        times: about how many explorations there are; the published delta_T is 2 epochs, which gives 90.
        interval: instead, the epochs between explorations (delta_T); 0: as ``times`` says.
        select: which filters a layer keeps: ``leverage``, or by their L1 norm (``l1``).
        regrow: see ``growth``; ``none`` prunes to the same number of channels, and nothing comes back.
        allocate: ``global``: as the BatchNorm scales of all layers say; ``even``: the same share of each layer.
    """

    chooses_widths = True

    def __init__(
        self, arch: Arch, sparsity: float | None = None, initial: float = 0.2, until: float = 0.72, times: int = 90,
        select: str = "leverage", regrow: str = "residual", allocate: str = "global", macs: float | None = None,
        interval: int = 0,
    ):  # fmt: skip
        if (sparsity is None) == (macs is None):
            raise InputError(f"FilterExpo: sparsity is {sparsity} and macs is {macs}; expected one of them")
        sparsity = sparsity or 0.0
        if macs is not None and not 0 < macs <= 1:
            raise InputError(f"FilterExpo: macs is {macs}; expected a share in (0, 1]")
        for name, share in {"sparsity": sparsity, "initial": initial, "until": until}.items():
            if not 0 <= share < 1:
                raise InputError(f"FilterExpo: {name} is {share}; expected a share in [0, 1)")
        chosen = {"select": (select, SELECT), "regrow": (regrow, REGROW), "allocate": (allocate, ALLOCATE)}
        for name, (value, known) in chosen.items():
            if value not in known:
                raise InputError(f"FilterExpo: {name} is {value!r}; expected one of: {' '.join(known)}")
        if times < 1:
            raise InputError(f"FilterExpo: times is {times}; expected at least 1")
        if interval < 0:
            raise InputError(f"FilterExpo: interval is {interval}; expected epochs, or 0 for as many as times says")
        self.interval = interval
        self.arch, self.sparsity, self.initial, self.until, self.times = arch, sparsity, initial, until, times
        self.select, self.regrow, self.share, self.macs = select, regrow, allocate, macs

    @classmethod
    def for_arch(cls, arch: Arch, **options) -> "FilterExpo":
        return cls(arch, **options)

    def find_norms(self, model: nn.Module) -> dict[str, str]:
        """``{conv: its BatchNorm}`` of every conv whose channels can go, in module order."""
        self.classes = self.arch.scored(len(model.get_submodule(self.arch.head).weight))  # type: ignore[arg-type]
        return norms(model, self.arch)

    def prepare(self, model: nn.Module) -> nn.Module:
        """He's initialisation, BatchNorm scales of 0.5, and the first masks: the largest filters by L1 norm.

        The classifier is PyTorch's own, as published. What stands on a backbone for another task stays as it was drawn.
        """
        if self.arch and not self.arch.backbone:
            model.get_submodule(self.arch.head).reset_parameters()  # type: ignore[operator]
        for module in model.get_submodule(self.arch.backbone if self.arch else "").modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BATCH_NORM):
                nn.init.constant_(module.weight, 0.5)
        self.norms = self.find_norms(model)
        self.filters = {conv: len(_of(model, conv)) for conv in self.norms}
        self.seed = int(torch.randint(2**31, ()))  # of the run's seed: the same in every process
        self.total = sum(self.filters.values())
        self.gone = torch.tensor(self._goal(lambda n: evenly(self.filters, n)))
        check_pruned(self.goal, self.filters)
        kept = evenly(self.filters, self._fewer(self.initial))
        self.keep: Keep = baselines.best(baselines.norms(model, kept), kept)
        self.memory = {name: tensor.detach().cpu().clone() for name, tensor, _ in self._touched(model, True)}
        self._mask(model)
        return model

    @property
    def goal(self) -> int:
        """How many channels are pruned in the end."""
        return int(self.gone)

    def _goal(self, divide: Callable[[int], Widths]) -> int:
        """The same, if ``divide`` says how many each layer keeps when so many are gone."""
        if self.macs is None:
            return int(self.total * self.sparsity)
        from .arena import share_of_macs

        counts = range(self.total - len(self.filters) + 1)
        return bisect_left(counts, -self.macs, key=lambda n: -share_of_macs(self.arch, self.arch.filters | divide(n)))

    def _fewer(self, share: float) -> int:
        """How many are gone while ``share`` of all are regrown; as published, a difference of shares is truncated."""
        gone = self.sparsity if self.macs is None else self.goal / self.total
        return int(self.total * max(0.0, gone - share))

    def state(self) -> dict[str, Tensor]:
        """The masks, and every masked tensor as it was before it was masked last."""
        kinds = {"keep": self.keep, "memory": self.memory} | ({"gone": {"": self.gone}} if self.macs else {})
        return {f"{kind}/{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}

    def schedule(self, epochs: int) -> tuple[int, int]:
        """``(last, step)``: explorations are before epochs ``step``, ``2 step`` … ``last`` of ``epochs``."""
        last = int(self.until * epochs)
        if last < 1:
            raise InputError(
                f"FilterExpo: {epochs} epochs are too few to explore; expected {self.until} of them to be one"
            )
        if self.interval > last:
            raise InputError(f"FilterExpo: interval is {self.interval}; expected 1 … {last}, the last epoch to explore")
        step = self.interval or max(1, round(last / self.times))
        return last - last % step, step

    @torch.no_grad()
    def on_epoch(self, model: nn.Module, epoch: int, epochs: int) -> dict:
        """Explore if it is time. Returns how many channels are left, which (as text), how many went and came back."""
        last, step = self.schedule(epochs)
        before, started, due = self.keep, time.perf_counter(), 1 <= epoch <= last and epoch % step == 0
        if due:
            self._explore(model, epoch, regrown(epoch, last, self.initial))
        changed = [(self.keep[conv] & ~kept, kept & ~self.keep[conv]) for conv, kept in before.items()]
        channels = sum(int(kept.sum()) for kept in self.keep.values())
        return {
            "channels": channels,
            "within_budget": channels <= self.total - self.goal,
            "came_back": sum(int(back.sum()) for back, _ in changed),
            "went": sum(int(gone.sum()) for _, gone in changed),
            "kept": to_text(self.keep) if due or epoch == 0 else None,
            "exploration_seconds": round(time.perf_counter() - started, 3),
        }

    def _explore(self, model: nn.Module, epoch: int, share: float) -> None:
        scales = {conv: _of(model, norm) for conv, norm in self.norms.items()}
        divide = (lambda n: evenly(self.filters, n)) if self.share == "even" else (lambda n: allocate(scales, n))  # type: ignore[arg-type]
        self.gone.fill_(self._goal(divide))
        now = divide(self._fewer(share))  # filters there are from here on
        fixed = now if self.regrow == "none" else divide(self.goal)  # those that earn their place
        scores = (
            {conv: leverage_scores(_of(model, conv), kept) for conv, kept in fixed.items()}
            if self.select == "leverage"
            else baselines.norms(model, fixed)
        )
        selected = baselines.best(scores, fixed)
        self._restore(model)
        generator = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        for conv, chosen in selected.items():
            if free := now[conv] - fixed[conv]:
                weight = _of(model, conv)
                chances = growth(weight, chosen.to(weight.device), self.regrow).float().cpu()
                # one that has underflowed can still be drawn once nothing else is left
                chances = chances.clamp_min(torch.finfo(torch.float32).tiny).masked_fill(chosen, 0)
                chosen[torch.multinomial(chances, free, generator=generator)] = True
        self.keep = {conv: distributed.broadcast(chosen, _of(model, conv).device) for conv, chosen in selected.items()}
        for name, tensor, _ in self._touched(model, True):
            self.memory[name].copy_(tensor)
        self._mask(model)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Set masked entries back to zero, which the optimizer's step has changed."""
        if not self._entries:
            found = list(self._touched(model))
            self._tensors = [tensor for _, tensor, _ in found]
            self._entries: list[Tensor] = [entries.to(tensor.dtype) for _, tensor, entries in found]
        torch._foreach_mul_(self._tensors, self._entries)

    def _mask(self, model: nn.Module) -> None:
        self._entries = []
        self.after_step(model)
        self._entries = []  # made anew where the network goes, and after a resume

    @torch.no_grad()
    def _restore(self, model: nn.Module) -> None:
        """Give every masked entry the value it had before it was masked last."""
        for name, tensor, entries in self._touched(model, True):
            tensor.copy_(torch.where(entries, tensor, self.memory[name].to(tensor)))

    def _touched(self, model: nn.Module, buffers: bool = False) -> Iterable[tuple[str, Tensor, Tensor]]:
        """``(name, tensor, entries that stay)`` of all that masks reach: filters, their norms, and what reads them."""
        made, read = self.sides()
        for name, tensor in [*model.named_parameters(), *(model.named_buffers() if buffers else [])]:
            module, _, part = name.rpartition(".")
            rows, columns = made.get(module), read.get(module) if part == "weight" and tensor.dim() > 1 else None
            if part == "num_batches_tracked" or (rows is None and columns is None):
                continue
            entries = torch.ones([1] * tensor.dim(), dtype=torch.bool)
            if rows is not None:
                entries = rows.view(-1, *[1] * (tensor.dim() - 1))
            if columns is not None:
                area = tensor.shape[1] // len(columns)  # a linear layer reads each channel's whole map
                entries = entries & columns.repeat_interleave(area).view(1, -1, *[1] * (tensor.dim() - 2))
            yield name, tensor, entries.to(tensor.device)

    def sides(self) -> tuple[Keep, Keep]:
        """Which channels stay of those that each layer makes (convs, norms), and of those that it reads."""
        keep = complete(self.arch, self.keep)
        inputs = {name: of for name, of in self.arch.inputs.items() if not self.keep.keys().isdisjoint(of)}
        read = {name: torch.cat([keep[conv] for conv in of]) for name, of in inputs.items()}
        return self.keep | {norm: self.keep[conv] for conv, norm in self.norms.items()}, read

    def found(self) -> dict:
        """The final channels: widths of the smaller network, and its FLOPs by CHEX's counter."""
        kept = {conv: int(kept.sum()) for conv, kept in self.keep.items()}
        widths, cost = slim_widths(self.arch, self.keep), flops(self.arch, self.keep, self.classes)
        return {"kept": kept, "widths": widths, "flops": cost, "layers": list(self.keep)}

    def export(self, model: nn.Module) -> nn.Module:
        """The smaller network, with the masked channels removed."""
        return slim(model, self.arch, self.keep)


def flops(arch: Arch, keep: Keep, classes: int | None = None) -> int:
    """FLOPs by CHEX's counter, which credits every masked weight: also those of shortcuts, whose channels stay."""
    from ..cost.counting import count

    return count(slim(mask(build(arch.name, None, classes), arch, keep), arch, keep), "chex", arch.image)[1]


def _of(model: nn.Module, conv: str) -> Tensor:
    return model.get_submodule(conv).weight  # type: ignore[return-value]
