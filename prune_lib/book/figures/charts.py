"""Charts for the notebooks: widths, counts, trade-offs, training curves, and what became of every filter.

Every function returns a matplotlib Figure of the data that it is given, and looks nothing up.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ...system.errors import needs
from .style import ACCENT, COMPACT, FULL, closed, styled


def source(function: Callable):
    """The source of a library function without its docstring, to be shown beside the equation that it implements."""
    with needs("book"):
        from IPython.display import Code

    lines = inspect.getsource(function).splitlines()
    docstring = ast.parse("\n".join(lines)).body[0].body[0]  # type: ignore[attr-defined]
    del lines[docstring.lineno - 1 : docstring.end_lineno]
    return Code("\n".join(lines), language="python")


def widths(full: Mapping[str, int], compact: Mapping[str, int], title: str = ""):
    """Number of filters of each conv, the pruned network's bars in front. Both map conv name -> number of filters."""
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(8.4, 2.6))
        places = range(len(full))
        axes.bar(places, full.values(), color=FULL, width=0.9, alpha=0.55, label="full network")
        axes.bar(places, [compact[conv] for conv in full], color=COMPACT, width=0.9, label="kept")
        shown = list(places) if len(full) <= 16 else list(places)[:: max(1, len(full) // 12)]
        names = list(full)
        axes.set_xticks(shown, [names[i] for i in shown], rotation=45, ha="right", fontsize=8)
        axes.set(ylabel="filters", title=title, xlim=(-0.7, len(full) - 0.3))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, 1))
    return closed(plt, figure)


def above(flops: Mapping[str, int], base: str, title: str = ""):
    """How many million operations each rule counts more than the rule ``base``; ``flops`` maps rule -> FLOPs."""
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(8.4, 0.35 * len(flops) + 0.8))
        names = [name for name in flops if name != base]
        more = [(flops[name] - flops[base]) / 1e6 for name in names]
        bars = axes.barh(names[::-1], more[::-1], color=COMPACT, height=0.6)
        axes.bar_label(bars, [f"{100e6 * value / flops[base]:+.2f} %" for value in more[::-1]], padding=4, fontsize=8)
        axes.set(xlabel=f"million operations above {base} ({flops[base]:,})", title=title)
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
    return closed(plt, figure)


def scatter(
    points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, title: str = "", at: float | None = None
):
    """Points ``(x, y)`` of each kind, joined by a line in the order of x; a line across them ``at`` an x."""
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(7, 3))
        for (kind, values), colour in zip(points.items(), (COMPACT, ACCENT, "#2b8a3e", FULL), strict=False):
            axes.plot(*zip(*sorted(set(values)), strict=True), "o-", color=colour, label=kind, linewidth=1)
        if at is not None:
            axes.axvline(at, color=FULL, linestyle="--", linewidth=1)
        axes.set(xlabel=x, ylabel=y, title=title)
        axes.legend()
    return closed(plt, figure)


def tradeoff(pairs: Sequence[tuple], full: int):
    """Top-1 against the share of FLOPs that is left, before and after further training; one line per criterion.

    Args:
        pairs: ``(row, its record)``; the criterion is an option of the row's method, or else the method itself.
        full: FLOPs of the full network.
    """
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for row, record in pairs:
        kind, metrics = row.method.get("criterion") or row.method["name"], record["metrics"]
        point = metrics["flops"] / full, metrics["top1_before"], metrics["top1_last"]
        lines.setdefault(f"{kind} ({record['budget']})", []).append(point)
    colours = [COMPACT, ACCENT, FULL, "#2b8a3e", "#7048e8", "#c2255c"]
    with styled() as plt:
        figure, panels = plt.subplots(1, 2, figsize=(8.4, 3), sharey=True)
        for (kind, points), colour in zip(lines.items(), colours, strict=False):
            shares, before, after = zip(*sorted(points), strict=True)
            panels[0].plot(shares, before, "o-", color=colour, label=kind, markersize=4)
            panels[1].plot(shares, after, "o-", color=colour, label=kind, markersize=4)
        panels[0].set(title="as pruned", xlabel="share of the FLOPs", ylabel="test top-1 (%)", ylim=(0, 100))
        panels[1].set(title="after training on", xlabel="share of the FLOPs")
        panels[0].legend(fontsize=8)
    return closed(plt, figure)


def temperature(schedule: Callable[[int, int], float], epochs: int = 300, first: int = 12):
    """DCFF's temperature over a whole run, and over the first epochs, in which nearly all of it happens."""
    with styled() as plt:
        figure, (whole, start) = plt.subplots(1, 2, figsize=(8.4, 2.6), sharey=True)
        whole.plot(range(epochs + 1), [schedule(epoch, epochs) for epoch in range(epochs + 1)], color=COMPACT)
        whole.set(title=f"{epochs} epochs", xlabel="epoch", ylabel="temperature T")
        values = [schedule(epoch, epochs) for epoch in range(first)]
        start.plot(range(first), values, "o-", color=COMPACT)
        for epoch in (0, 1):
            start.annotate(
                f"T({epoch}) = {values[epoch]:,.0f}", (epoch, values[epoch]), xytext=(10, 2 - 12 * epoch),
                textcoords="offset points", color=ACCENT,
            )  # fmt: skip
        start.set(title=f"its first {first}", xlabel="epoch")
    return closed(plt, figure)


def curves(named: Mapping[str, dict]):
    """Loss and test top-1 of each epoch, one panel for each record in ``named`` (title -> record)."""
    with styled() as plt:
        figure, panels = plt.subplots(1, len(named), figsize=(2.6 * len(named), 2.6), squeeze=False)
        for panel, (title, record) in zip(panels[0], named.items(), strict=True):
            lines, epochs = record["curves"], [epoch + 1 for epoch in record["curves"]["epoch"]]
            panel.plot(epochs, lines["train_top1"], ".-", color=FULL, label="training")
            panel.plot(epochs, lines["test_top1"], ".-", color=COMPACT, label="test")
            panel.set(title=f"{title}", xlabel=f"epoch ({record['budget']}, seed {record['seed']})", ylim=(0, 100))
            panel.xaxis.set_major_locator(plt.MaxNLocator(integer=True, nbins=6))
        panels[0][0].set_ylabel("top-1 (%)")
        panels[0][0].legend(loc="best", fontsize=8)
    return closed(plt, figure)


def losses(named: Mapping[str, dict], metric: str):
    """Training loss of each epoch, and the test ``metric`` of the epochs that were evaluated (title -> record)."""
    with styled() as plt:
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.6))
        for (title, record), colour in zip(named.items(), (FULL, COMPACT, ACCENT), strict=False):
            lines = record["curves"]
            epochs = [epoch + 1 for epoch in lines["epoch"]]
            left.plot(epochs, lines["loss"], ".-", color=colour, label=title)
            known = [(epoch, v) for epoch, v in zip(epochs, lines[f"test_{metric}"], strict=True) if v is not None]
            right.plot(*zip(*known, strict=True), ".-", color=colour, label=title)
        left.set(title="training loss", xlabel="epoch")
        right.set(title=f"test {metric} (%)", xlabel="epoch", ylim=(0, 100))
        for panel in (left, right):
            panel.xaxis.set_major_locator(plt.MaxNLocator(integer=True, nbins=6))
        left.legend(fontsize=8)
    return closed(plt, figure)


def rankings(named: Mapping[str, dict]):
    """For each epoch of each record: in how many layers the scores were finite, and in how many the choice changed."""
    with styled() as plt:
        figure, panels = plt.subplots(1, len(named), figsize=(2.6 * len(named), 2.4), squeeze=False)
        for panel, (title, record) in zip(panels[0], named.items(), strict=True):
            lines, epochs = record["curves"], [epoch + 1 for epoch in record["curves"]["epoch"]]
            panel.bar(epochs, lines["layers_scored"], color=FULL, label="finite scores")
            panel.bar(epochs, lines["layers_reranked"], color=ACCENT, width=0.5, label="choice changed")
            panel.set(title=title, xlabel=f"epoch ({record['budget']}, seed {record['seed']})")
            panel.set_ylim(0, 1.4 * max(1, *lines["layers_scored"]))  # the legend has room above the bars
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_locator(plt.MaxNLocator(integer=True, nbins=6))
        panels[0][0].set_ylabel("layers")
        panels[0][-1].legend(loc="upper right", fontsize=8)
    return closed(plt, figure)


def channel_flow(explorations: Sequence[tuple[int, Mapping[str, Tensor]]], title: str = ""):
    """Channels of each layer after each exploration, one panel per layer; the shaded ones had been pruned before.

    Args:
        explorations: ``(epoch, {conv: (C,) bool})`` in order; the channels kept from that epoch on.
    """
    layers = list(explorations[0][1])
    columns = min(6, len(layers))
    with styled() as plt:
        figure, grid = plt.subplots(
            -(-len(layers) // columns), columns, figsize=(1.5 * columns, 1.35 * -(-len(layers) // columns) + 0.3),
            sharex=True, squeeze=False,
        )  # fmt: skip
        epochs = [epoch for epoch, _ in explorations]
        for axes, conv in zip(grid.flat, layers, strict=False):
            masks = torch.stack([kept[conv] for _, kept in explorations])
            returned = masks & (~masks).cummax(0).values  # kept now, pruned at some earlier time
            alive, back = masks.sum(1).tolist(), returned.sum(1).tolist()
            axes.step([*epochs, epochs[-1] + 1], [*alive, alive[-1]], where="post", color=COMPACT)
            axes.fill_between(
                [*epochs, epochs[-1] + 1], [*back, back[-1]], step="post", color=ACCENT, alpha=0.35, linewidth=0
            )
            axes.set(ylim=(0, masks.shape[1]), xlim=(0, epochs[-1] + 1))
            axes.set_title(conv.replace("layer", ""), fontsize=7)
            axes.tick_params(labelsize=7)
        for axes in list(grid.flat)[len(layers) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10)
    return closed(plt, figure)


def filter_lives(explorations: Sequence[tuple[int, Mapping[str, Tensor]]], title: str = ""):
    """What became of every filter, one line each: layer below layer, filters with the same history together.

    Args:
        explorations: as for ``channel_flow``.
    """
    with needs("book"):
        from matplotlib.colors import ListedColormap

    layers, epochs = list(explorations[0][1]), [epoch for epoch, _ in explorations]
    lives, edges = [], [0]
    for conv in layers:
        masks = torch.stack([kept[conv] for _, kept in explorations], 1)  # (C, explorations)
        life = masks.int() + (masks & (~masks).cummax(1).values).int()
        lives.append(life[sorted(range(len(life)), key=lambda i: life[i].tolist())])
        edges.append(edges[-1] + len(masks))
    with styled() as plt:
        figure, axes = plt.subplots(figsize=(8.4, 4.2))
        picture = torch.cat(lives).numpy()
        axes.pcolormesh(
            [*epochs, epochs[-1] + max(1, epochs[-1] // max(1, len(epochs)))], range(len(picture) + 1), picture,
            cmap=ListedColormap(["#f1f3f5", COMPACT, ACCENT]), vmin=0, vmax=2,
        )  # fmt: skip
        for edge in edges[1:-1]:
            axes.axhline(edge, color="white", linewidth=1.2)
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        step = max(1, len(layers) // 14)
        axes.set_yticks(middles[::step], layers[::step], fontsize=7)
        axes.set(xlabel="epoch", title=title)
        axes.invert_yaxis()
        axes.grid(False)
        handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in (COMPACT, "#f1f3f5", ACCENT)]
        axes.legend(handles, ["kept so far", "pruned", "kept again"], ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return closed(plt, figure)


def tiles(lines: Mapping[str, Tensor], title: str = ""):
    """A row of small pictures ``(N, H, W, 3)`` uint8 for each label."""
    across = max(len(line) for line in lines.values())
    with styled() as plt:
        figure, grid = plt.subplots(len(lines), across, figsize=(8.4, 0.78 * len(lines) + 0.3), squeeze=False)
        for row, (label, pictures) in zip(grid, lines.items(), strict=True):
            for axes, picture in zip(row, pictures, strict=False):
                axes.imshow(picture.numpy(), interpolation="nearest")
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
            row[0].set_ylabel(label, fontsize=8)
        figure.suptitle(title, fontsize=10)
    return closed(plt, figure)


def matrices(named: Mapping[str, Tensor]):
    """Square matrices ``(C, C)`` with entries in [0, 1] side by side, each on a scale up to its own largest entry."""
    with styled() as plt:
        figure, panels = plt.subplots(1, len(named), figsize=(2.8 * len(named), 2.9), squeeze=False)
        for axes, (title, matrix) in zip(panels[0], named.items(), strict=True):
            shown = axes.imshow(matrix.numpy(), cmap="viridis", vmin=0, interpolation="nearest")
            axes.set(title=title, xlabel="filter", xticks=[0, len(matrix) - 1], yticks=[0, len(matrix) - 1])
            axes.grid(False)
            figure.colorbar(shown, ax=axes, shrink=0.7)
        panels[0][0].set_ylabel("filter")
    return closed(plt, figure)


def agree(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str):
    """Two measurements of the same things, a panel for each kind, with the line on which they are equal."""
    with styled() as plt:
        figure, panels = plt.subplots(1, len(points), figsize=(2.8 * len(points), 2.8), squeeze=False)
        for axes, (title, pairs) in zip(panels[0], points.items(), strict=True):
            first, second = zip(*pairs, strict=True)
            ends = min(*first, *second), max(*first, *second)
            axes.plot(ends, ends, color=FULL, linewidth=1)
            axes.plot(first, second, "o", color=COMPACT, markersize=3, alpha=0.7)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel(x, fontsize=8)
        panels[0][0].set_ylabel(y, fontsize=8)
    return closed(plt, figure)
