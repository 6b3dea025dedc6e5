"""Forest plots: differences with their intervals, one line each."""

from collections.abc import Sequence

from .style import ACCENT, COMPACT, FULL, closed, styled

COLOURS = {"supported here": COMPACT, "contradicted here": ACCENT}


def forest(names: Sequence[str], contrasts: Sequence, unit: str = "points of test top-1"):
    """Each contrast's mean, its 95 % interval and the differences of its seeds, beside zero.

    Args:
        names: what is compared, one for each of ``contrasts`` (``tables.contrasts.Contrast`` with two seeds or more).
    """
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(8.4, 0.42 * len(names) + 1.0))
        axes.axvline(0, color="#5b6570", linewidth=1)
        for line, contrast in enumerate(contrasts):
            colour = COLOURS.get(contrast.verdict, FULL)
            low, high = contrast.mean - contrast.half, contrast.mean + contrast.half
            axes.plot([low, high], [line, line], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(contrast.differences, [line] * len(contrast.differences), "|", color=colour, markersize=7)
            axes.plot(contrast.mean, line, "s", color=colour, markersize=6)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set(xlabel=unit, ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
    return closed(plt, figure)
