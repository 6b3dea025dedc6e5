"""The arena: a trained network's filters chosen by any criterion of ``CRITERIA``, at widths that are the same for all.

So only the criterion differs. With ``macs`` in place of a row's rates, the widths follow from the criterion's scores.
"""

import copy
import time
from bisect import bisect_right
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..nets import Arch, build
from ..nets.reparam import plain
from ..nets.slim import mask, transplant
from ..nets.spec import Widths
from ..system.checkpoint import digest
from ..system.errors import InputError
from .baselines import best
from .criteria import CRITERIA, Seen, groups_of, importance
from .method import Method, Start


def share_of_macs(arch: Arch, widths: Widths) -> float:
    """The share of the full network's multiply-accumulates that ``widths`` leave."""
    from ..cost import costs

    counted = costs(arch.name, widths)["macs"]
    return counted.flops / counted.base_flops


def widths_from(scores: dict[str, Tensor], arch: Arch, macs: float) -> Widths:
    """The widths at which the channels with the highest scores of all units cost at most ``macs`` of the network.

    ``scores`` has one vector for each unit, comparable between units; a unit keeps at least one channel. As many
    channels stay, in the order of their scores, as are affordable; where that leaves more than 1 % of ``macs``, the
    next ones take the place of the weakest of other units.

    Raises:
        InputError: one channel of each unit costs more.
    """
    best_of = {unit: int(values.argmax()) for unit, values in scores.items()}
    ranked = sorted(
        ((unit, i) for unit, values in scores.items() for i in range(len(values)) if i != best_of[unit]),
        key=lambda place: -float(scores[place[0]][place[1]]),
    )

    def widths(chosen) -> Widths:
        counts = dict.fromkeys(scores, 1)
        for unit, _ in chosen:
            counts[unit] += 1
        return {conv: counts[unit] for unit, convs in arch.units.items() for conv in convs}

    def cost(chosen) -> float:
        return share_of_macs(arch, widths(chosen))

    if (least := cost([])) > macs:
        raise InputError(f"{arch.name} cannot be pruned to {macs:.1%} of its MACs; expected at least {least:.1%}")
    most = bisect_right(range(len(ranked) + 1), macs, key=lambda n: cost(ranked[:n])) - 1
    chosen = ranked[:most]
    for place in ranked[most:]:  # a channel that many convs read may cost too much where a cheaper one still fits
        if cost(chosen) >= 0.99 * macs:
            break
        other = [*chosen, place]
        for weakest in [kept for kept in reversed(chosen) if kept[0] != place[0]]:
            if cost(other) <= macs:
                break
            other.remove(weakest)
        chosen = other if macs >= cost(other) > cost(chosen) else chosen
    return widths(chosen)


class ByCriterion(Method):
    """Keep a trained network's most important filters, as many as the row's rates say, and train on.

    Channels that are added together stay together: a unit's score is the sum of its convs'. A zero-padding shortcut
    carries the channels that stay.

    Args:
        criterion: a name of ``CRITERIA``.
        macs: the share of the multiply-accumulates that stays, where the widths are to follow from the scores.
        images: how many training images a criterion looks at that looks.
        norms: ``masked``: the smaller network; ``authors``: as CDP's code masks, conv weights alone, so that a filter
            that goes still emits its BatchNorm's constant and the network stays as large.
    """

    prunes_trained = True

    def __init__(
        self, arch: Arch, criterion: str, macs: float | None = None, images: int = 2560, norms: str = "masked"
    ):
        if macs is not None and not 0 < macs <= 1:
            raise InputError(f"criterion {criterion}: macs is {macs}; expected a share in (0, 1]")
        if images < 1:
            raise InputError(f"criterion {criterion}: images is {images}; expected at least 1")
        if norms not in ("masked", "authors"):
            raise InputError(f"criterion {criterion}: norms is {norms!r}; expected masked or authors")
        self.choose: Callable = importance(criterion)
        self.arch, self.criterion, self.macs, self.images, self.norms = arch, criterion, macs, images, norms
        self.chooses_widths = macs is not None

    @classmethod
    def for_arch(cls, arch: Arch, **options) -> "ByCriterion":
        return cls(arch, **options)

    def begin(self, start: Start) -> dict:
        """Score the dense network's units; returns what that took."""
        self.dense, self.start, before = start.dense, start, time.process_time()
        groups = groups_of(self.arch, start.dense)
        layers = [layer for group in groups for layer in group.layers]
        images = min(self.images, len(start.data.train))

        def batches():
            left = images
            for batch, labels in start.training_batches(128):
                yield batch[:left], labels[:left]
                left -= len(labels[:left])
                if not left:
                    return

        self.seen = Seen(start.dense, layers, batches, images, start.seed, start.precision)
        facts = {"dense": digest(start.dense.state_dict()), "criterion": self.criterion, "images": images,
                 "seed": start.seed}  # fmt: skip
        self.scores = start.scored(lambda: {group.name: self.choose(group, self.seen) for group in groups}, facts)
        self.widths = self._own_widths(groups) if self.macs is not None else None
        looks = CRITERIA[self.criterion].needs != "weights"
        return {
            "criterion_seconds": time.process_time() - before,
            "images": images if looks else 0,
            **({"widths": self.widths} if self.widths else {}),
        }

    def _own_widths(self, groups) -> Widths:
        """Widths from scores made comparable between units, as the criterion's ``across`` says."""
        across, scores = CRITERIA[self.criterion].across, self.scores
        if across in CRITERIA:
            scores = {group.name: importance(across)(group, self.seen) for group in groups}
            across = CRITERIA[across].across
        comparable = {}
        for group in groups:
            values = scores[group.name]
            scale = len(group.layers) if across == "raw" else float(values.mean().abs()) or 1.0
            comparable[group.name] = values / scale
        return widths_from(comparable, self.arch, self.macs or 1.0)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The smaller network with the chosen filters' weights; ``model`` says how wide each conv is."""
        of = {conv: model.get_submodule(conv).out_channels for conv in self.arch.filters}
        widths: Widths = self.widths or of  # type: ignore[assignment]
        scores = {conv: self.scores[unit] for unit, convs in self.arch.units.items() for conv in convs}
        keep = best({conv: scores[conv] for conv in self.arch.filters}, widths)
        if self.norms == "authors":
            self.cost = share_of_macs(self.arch, widths)
            return mask(copy.deepcopy(self.dense), self.arch, keep, norms=False)
        classes = self.arch.scored(len(model.state_dict()[f"{self.arch.head}.weight"]))
        compact = build(self.arch.name, widths, classes) if self.widths else model
        return transplant(self.dense, compact, self.arch, keep)

    def found(self) -> dict:
        if self.norms != "authors":
            return {}
        from ..cost import cost

        full = cost(self.arch.name, None, "macs").flops
        return {"widths": dict(self.arch.filters), "flops": round(self.cost * full)}

    @torch.no_grad()
    def export(self, model: nn.Module) -> nn.Module:
        return plain(model)
