"""From scores to filters that stay, and widths that no score decides: the same share of every layer."""

from bisect import bisect_right
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..nets import Arch
from ..nets.slim import Keep
from ..nets.spec import Widths
from ..system.errors import InputError

Scores = dict[str, Tensor]  # conv name -> (C_out,) float, larger = more important


def norms(model: nn.Module, convs: Iterable[str]) -> Scores:
    """The L1 norm of each filter of these convs of any network; of a transposed conv, of what makes each output."""
    found: Scores = {}
    for conv in convs:
        layer = model.get_submodule(conv)
        weight: Tensor = layer.weight.detach().abs()  # type: ignore[operator, assignment]
        if isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1:
            weight = weight.transpose(0, 1)
        found[conv] = weight.flatten(1).sum(1)
    return found


def best(scores: Scores, widths: Widths) -> Keep:
    """The ``widths[conv]`` filters of each conv with the highest scores; among equal scores, the first.

    Raises:
        InputError: more filters than there are, or none.
    """
    keep: Keep = {}
    for conv, values in scores.items():
        kept = widths.get(conv, len(values))
        if not 1 <= kept <= len(values):
            raise InputError(
                f"{conv}: {kept} filters of {len(values)}; expected at least one and no more than there are"
            )
        mask = torch.zeros(len(values), dtype=torch.bool)
        mask[values.detach().cpu().sort(descending=True, stable=True).indices[:kept]] = True
        keep[conv] = mask
    return keep


def by_unit(scores: Scores, arch: Arch) -> Scores:
    """Scores that are the same for all convs of a unit: the sum of theirs, so that their channels stay aligned."""
    result: Scores = {}
    for convs in arch.units.values():
        total = torch.stack([scores[conv].cpu().double() for conv in convs]).sum(0)
        result |= dict.fromkeys(convs, total)
    return {conv: result[conv] for conv in arch.filters}


def uniform(arch: Arch, flops: int) -> Widths:
    """The same share of every conv's filters, the largest at which CDP's counter gives at most ``flops``.

    Raises:
        InputError: not even one filter of each conv is that cheap.
    """
    from ..cost.counting import masked_flops

    def widths(thousandths: int) -> Widths:
        return {conv: max(1, n * thousandths // 1000) for conv, n in arch.filters.items()}

    def cost(thousandths: int) -> int:
        return masked_flops(arch.name, widths(thousandths))

    if (least := cost(0)) > flops:
        raise InputError(f"{arch.name} costs {least:,} at one filter a conv; expected at most {flops:,}")
    return widths(bisect_right(range(1001), flops, key=cost) - 1)


def evenly(filters: Widths, pruned: int) -> Widths:
    """``pruned`` channels in all, the same share of each layer as nearly as whole numbers allow.

    Raises:
        InputError: more than all but one of each layer.
    """
    check_pruned(pruned, filters)
    share = pruned / sum(filters.values())
    lost = {conv: min(int(n * share), n - 1) for conv, n in filters.items()}
    by_remainder = sorted(filters, key=lambda conv: lost[conv] - filters[conv] * share)
    while (missing := pruned - sum(lost.values())) > 0:
        for conv in [c for c in by_remainder if lost[c] < filters[c] - 1][:missing]:
            lost[conv] += 1
    return {conv: n - lost[conv] for conv, n in filters.items()}


def check_pruned(pruned: int, filters: Widths) -> None:
    """Refuse a number of channels that cannot be pruned."""
    most = sum(filters.values()) - len(filters)
    if not 0 <= pruned <= most:
        smallest = min(filters, key=lambda conv: filters[conv])
        raise InputError(
            f"{pruned} of {sum(filters.values())} channels cannot go without emptying a layer, as {smallest} of "
            f"{filters[smallest]}; expected 0 … {most}"
        )
