"""How much each group of channels matters: what a network still does when of one group alone so much is gone."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..nets.hooks import without_hooks
from ..papers.criteria import importance
from ..system.errors import InputError
from .checking import probe, refuse, shaken, trusted
from .cutting import cut
from .ready import ready
from .scores import checked_numbers, scores
from .sizing import best

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Row:
    """One group at one share."""

    group: str  # its first layer
    layers: tuple[str, ...]  # all that make its channels
    share: float  # of its channels that were to go
    kept: int
    size: int
    value: float  # what ``evaluate`` gives for the network without them


@dataclass(frozen=True)
class Sensitivity:
    """The values of a network pruned in one group at a time."""

    full: float  # the value of the whole network
    rows: tuple[Row, ...] = field(repr=False)
    criterion: str
    whole: dict[str, str] = field(default_factory=dict, repr=False)  # layers that cannot lose channels -> why

    def __str__(self) -> str:
        """A table: a line for each group, a column for each share, after the value of the whole network."""
        shares = list(dict.fromkeys(row.share for row in self.rows))
        lines = [["group", "channels", *(f"{100 * share:.4g}%" for share in shares)]]
        for group, rows in self.by_group().items():
            lines.append([group, str(rows[0].size), *(f"{row.value:.4g}" for row in rows)])
        wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = ["  ".join([line[0].ljust(wide[0]), *(t.rjust(w) for t, w in zip(line[1:], wide[1:], strict=True))])
                 for line in lines]  # fmt: skip
        return "\n".join([*table, f"{self.criterion}: nothing pruned {self.full:.4g}"])

    def by_group(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.group, []).append(row)
        return found

    def plot(self, path: Any = None) -> Any:
        """The values against the share that is gone, a line for each group: a figure, written to ``path`` if given."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        groups = self.by_group()
        for number, (group, rows) in enumerate(groups.items()):
            colour = number / max(1, len(groups) - 1)
            axes.plot([0, *(100 * row.share for row in rows)], [self.full, *(row.value for row in rows)],
                      marker=".", color=(colour, 0.3, 1 - colour), label=group)  # fmt: skip
        axes.set_xlabel("channels pruned in one group, %")
        axes.set_ylabel("value")
        axes.set_title(f"Sensitivity, filters by {self.criterion}; the first groups are blue, the last ones red")
        if len(groups) <= 40:
            figure.legend(loc="outside right upper", fontsize="x-small", ncols=1 + len(groups) // 21)
        if path is not None:
            figure.savefig(path)
        return figure


def sensitivity(
    model: nn.Module,
    example_inputs: Any,
    evaluate: Callable[[nn.Module], float],
    shares: Sequence[float] = SHARES,
    criterion: str = "l1",
    data: Any = None,
    *,
    ignore: Sequence[str] = (),
    images: int = 512,
    seed: int = 0,
    progress: bool = False,
) -> Sensitivity:
    """Prune one group of channels at a time, by each of ``shares``, and evaluate; ``model`` stays as it is.

    As in Li et al. 2017 (arXiv 1608.08710, section 3.3): layers whose curve stays level can lose more than others. The
    networks are really cut, so ``evaluate`` may time them as well, or train them a little.

    Args:
        evaluate: ``evaluate(network) -> float``, such as the accuracy; each network is its own, in evaluation mode.
        shares: of the channels of a group that go, in (0, 1); at least one channel stays in each layer.
        example_inputs, criterion, data, ignore, images, seed: as of ``prune``.
        progress: say on stderr which group is next.

    Raises:
        InputError: as ``prune``; shares that cannot be, or an ``evaluate`` that gives no number.
    """
    importance(criterion)  # an unknown one is said at once
    if isinstance(shares, str) or not isinstance(shares, Iterable):
        raise InputError(f"shares is {shares!r}; expected a list of shares, each in (0, 1)")
    shares = list(shares)
    odd = [s for s in shares if isinstance(s, bool) or not isinstance(s, int | float) or not 0 < s < 1]
    if odd or not shares:
        raise InputError(f"shares are {shares}; expected at least one, each in (0, 1)")
    if not callable(evaluate):
        raise InputError(f"evaluate is {type(evaluate).__name__}; expected a function of a network that gives a number")
    checked_numbers(images, seed)
    start = ready(model, example_inputs, ignore)
    structure = trusted(shaken(start.work), start.structure, probe(start.work, start.inputs))
    if not structure.groups:
        raise refuse(type(start.work).__name__, structure.whole)
    found = scores(start.model, structure.groups, criterion, data, images, seed)

    def value(keep: dict[str, torch.Tensor]) -> float:
        given = evaluate(without_hooks(cut(start.model, structure, keep)).eval())
        try:
            return float(given)
        except (TypeError, ValueError):
            raise InputError(f"evaluate gives {type(given).__name__}; expected a number") from None

    full, rows = value({}), []
    for number, group in enumerate(structure.groups, 1):
        if progress:
            print(f"sensitivity: {group.root}, {number} of {len(structure.groups)} groups …", file=sys.stderr)
        order = found[group.root].sort(descending=True, stable=True).indices
        for share in sorted(set(shares)):
            keep = best(group, order, max(1, group.size - int(group.size * share + 1e-9)))
            kept = int(keep.sum())
            rows.append(Row(group.root, tuple(group.makers), share, kept, group.size, value({group.root: keep})))
    return Sensitivity(full, tuple(rows), criterion, dict(structure.whole))
