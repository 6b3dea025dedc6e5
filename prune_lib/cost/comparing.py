"""One network under every counter: what each prints, and which layers make the difference, to the last operation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..nets.layers import Layer
from ..system.errors import InputError
from .counters import COUNTERS, Package, as_called
from .rules import RULES, Rule

if TYPE_CHECKING:
    from torch import nn

GROUPS = {  # what is told apart by MACs and bias adds -> kinds
    "convs": ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "F.conv1d",
              "F.conv2d", "F.conv3d", "F.conv_transpose1d", "F.conv_transpose2d", "F.conv_transpose3d"),
    "linear layers": ("Linear", "F.linear"),
    "matrix products": ("torch.matmul", "Tensor.matmul", "Tensor.__matmul__", "torch.mm", "Tensor.mm", "torch.bmm",
                        "Tensor.bmm", "torch.einsum"),
    "fused attention": ("F.scaled_dot_product_attention",),
}  # fmt: skip
GROUP_OF = {kind: group for group, kinds in GROUPS.items() for kind in kinds}


@dataclass(frozen=True)
class Line:
    """What one counter prints."""

    counter: str
    figure: int
    differences: tuple[tuple[str, int], ...]  # in words, and in operations; with the MACs they add up to the figure
    text: str  # what it counts

    def why(self, most: int = 4) -> str:
        """The largest differences in words."""
        ranked = sorted(self.differences, key=lambda item: (-abs(item[1]), item[0]))
        words = [f"{text} {amount(n)}" for text, n in ranked[:most]]
        rest = sum(n for _, n in ranked[most:])
        return "; ".join([*words, *([f"{len(ranked) - most} more {amount(rest)}"] if len(ranked) > most else [])])


@dataclass(frozen=True)
class Comparison:
    """One network under every counter."""

    macs: int  # of convs and linear layers
    lines: tuple[Line, ...]

    def __getitem__(self, counter: str) -> Line:
        return next(line for line in self.lines if line.counter == counter)

    def to_json(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        width = max(len(line.counter) for line in self.lines)
        rows = [f"{'counter':{width}} {'figure':>16} {'of MACs':>8}  what makes the difference"]
        for line in self.lines:
            share = f"{line.figure / self.macs:.4f}" if self.macs else "–"
            rows.append(f"{line.counter:{width}} {line.figure:16,} {share:>8}  {line.why()}".rstrip())
        return "\n".join(rows)


def amount(operations: int) -> str:
    """``+0.14M``: signed, with two digits behind the point of a unit that leaves something before it."""
    sign, size = "−" if operations < 0 else "+", abs(operations)
    unit, letter = next(((n, u) for n, u in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if size >= n), (1, ""))
    return f"{sign}{size / unit:.2f}{letter}" if letter else f"{sign}{size}"


def compare(model: "nn.Module", inputs: Any) -> Comparison:
    """What every counter prints of a network, whoever wrote it, for the examples in ``inputs``.

    Args:
        inputs: a tensor, a sequence of arguments or a mapping of named ones, as the network takes them. Counters count
            whole batches, but for two that divide by it; one example is what is compared as a rule.

    Raises:
        InputError: the network does not take these inputs.
    """
    from ..nets.hooks import call, tensors
    from .recording import record
    from .tracing import trace

    kinds = set().union(*(rule.kinds for rule in RULES.values()))
    try:
        layers = trace(model, lambda: call(model, inputs), kinds)
        calls = record(model, lambda: call(model, inputs))
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be counted on these inputs: {said[:300]}; expected what the network takes") from None
    given = tensors(inputs)
    return compared(layers, calls, len(given[0]) if given and given[0].dim() else 1)


def compared(layers: Sequence[Layer], calls: Sequence[Layer] | None = None, examples: int = 1) -> Comparison:
    """The same of layers that are known: ``calls`` are what ``record`` noted; of a plan they follow from its layers."""
    calls = list(as_called(layers)) if calls is None else calls
    lines = []
    for rule in (*RULES.values(), *COUNTERS.values()):
        figure, found = _difference(rule, layers, calls)
        if isinstance(rule, Package) and rule.averaged and examples > 1:
            found.append((f"divided by {examples} examples", figure // examples - figure))
            figure //= examples
        lines.append(Line(rule.name, figure, tuple(item for item in found if item[1]), rule.text))
    return Comparison(RULES["macs"].total(layers), tuple(lines))


def _difference(rule: Rule, layers: Sequence[Layer], calls: Sequence[Layer]) -> tuple[int, list[tuple[str, int]]]:
    """``(figure, differences)`` from the MACs of all convs and linear layers to what a rule makes of a network."""
    seen, per_mac = (calls, rule.per_mac) if isinstance(rule, Package) else (layers, 1)
    figure, macs = rule.total(seen), _by_group(layers, RULES["macs"])
    if rule.masked:
        return figure, [("masked filters", figure - sum(macs.values()))]
    functions = _by_group(calls, COUNTERS["deepspeed-macs"])
    parts: dict[str, int] = dict.fromkeys(GROUPS, 0)
    sizes: dict[str, tuple[int, int]] = {}  # of what is read and written
    for layer in seen:
        if layer.kind in rule.ops and (operations := rule.ops[layer.kind](layer)):
            name = _name(layer)
            parts[name] = parts.get(name, 0) + operations
            read, written = sizes.get(name, (0, 0))
            sizes[name] = read + layer.read, written + layer.written
    found = [("2 per MAC", sum(macs.values()))] if per_mac == 2 else []
    for name, operations in parts.items():
        if name in GROUPS:
            rest = operations - per_mac * macs[name]
            said = _said(name, rest, layers, per_mac * macs[name], per_mac * functions[name])
            found.append(("convs: zeros left out" if rule.name == "chex" and rest < 0 else said, rest))
        else:
            found.append((f"{name}, {_rate(name, operations, *sizes[name])}", operations))
    return figure, found


def _by_group(seen: Sequence[Layer], rule: Rule) -> dict[str, int]:
    found = dict.fromkeys(GROUPS, 0)
    for layer in seen:
        if layer.kind in rule.ops:
            found[GROUP_OF[layer.kind]] += rule.ops[layer.kind](layer)
    return found


def _said(name: str, rest: int, layers: Sequence[Layer], macs: int, functions: int) -> str:
    """What ``rest`` operations more than the MACs of a group are, in words."""
    group = [layer for layer in layers if GROUP_OF.get(layer.kind) == name]
    written, bias = (sum(x.written for x in group if x.bias or every) for every in (True, False))
    if not macs:
        return name
    meanings = [
        (bias, "bias adds"),
        (written, "1 more per output, biases or not"),
        (-macs, "not seen"),
        (functions - macs, "those that are called as functions too"),
        (macs - written, "2 in − 1 per output"),
        (macs - written + bias, "2 in − 1 per output, and the bias"),
    ]
    return f"{name}: {next((words for value, words in meanings if value == rest), 'counted otherwise')}"


def _name(layer: Layer) -> str:
    if layer.kind == "leaf":
        return GROUP_OF.get(layer.mode, f"{layer.mode}'s parameters")
    return GROUP_OF.get(layer.kind, layer.kind if "." not in layer.kind else f"{layer.kind}()")


def _rate(name: str, operations: int, read: int, written: int) -> str:
    if name.endswith("parameters"):
        return "not its elements"
    for size, word in ((written, "output"), (read, "input")):
        if size and operations % size == 0:
            return f"{operations // size} per {word}"
    return "by size"
