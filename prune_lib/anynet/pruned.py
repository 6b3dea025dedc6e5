"""A pruned network and what is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from ..nets.slim import Keep
from ..nets.spec import Widths

APART = 0.02  # of the full network's operations, by which two counts may differ unsaid


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what it was made of."""

    model: nn.Module = field(repr=False)  # the smaller network, with the weights of what stayed
    criterion: str
    widths: Widths  # channels of each layer that lost some or could have: convs' and linear layers' outputs
    kept: Keep = field(repr=False)  # which of them stayed: layer -> (C_out before,) bool
    macs: int  # multiply-accumulates for one example
    full_macs: int
    params: int
    full_params: int
    difference: float  # of the masked and the smaller network's outputs, relative, at most 1e-5; see checking.woken
    whole: dict[str, str] = field(default_factory=dict, repr=False)  # layers that keep all of their channels -> why
    layers: tuple = field(default=(), repr=False)  # (layer, shape before, shape after, MACs before, MACs after)
    products: tuple[int, int] | None = field(default=None, repr=False)  # MACs after and before by torch's counter

    def __str__(self) -> str:
        share = self.macs / self.full_macs
        said = (
            f"{self.criterion}: {self.macs:,} of {self.full_macs:,} MACs ({share:.1%}), "
            f"{self.params:,} of {self.full_params:,} params; masked and cut network differ by {self.difference:.1e}"
        )
        if self.products and abs(self.products[0] / self.products[1] - share) > APART:
            after, before = self.products
            said += (
                "; that is conv and linear layers alone, with attention and other products (torch's counter) it is "
                f"{after:,} of {before:,} ({after / before:.1%})"
            )
        return said

    def report(self) -> str:
        """A table of the layers: weight before and after, MACs before and after, and why a layer stayed whole."""
        lines = [("layer", "before", "after", "MACs", "left", "")]
        for name, before, after, macs, left in self.layers:
            share = f"{left / macs:.0%}" if macs else ""
            lines.append((name, _shape(before), _shape(after), f"{macs:,}", share, self.whole.get(name, "")))
        wide = [max(len(line[column]) for line in lines) for column in range(5)]
        rows = ["  ".join([f"{line[0]:<{wide[0]}}", *(f"{t:>{w}}" for t, w in zip(line[1:5], wide[1:], strict=True)),
                           line[5]]).rstrip() for line in lines]  # fmt: skip
        return "\n".join([*rows, str(self)])

    def save(self, path: str) -> None:
        """Write the smaller network's weights and shapes to ``path`` (safetensors); ``anynet.load`` reads them."""
        from .saving import save

        save(self, path)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
