"""How every figure looks, and how one is opened and handed over. matplotlib is imported where it is used."""

from contextlib import contextmanager

from ...system.errors import needs

FULL, COMPACT, ACCENT = "#9aa5b1", "#1f6feb", "#d9480f"
_STYLE: dict = {
    "figure.dpi": 110, "savefig.bbox": "tight", "figure.constrained_layout.use": True, "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e6e9ed", "axes.edgecolor": "#5b6570", "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "legend.frameon": False,
}  # fmt: skip


@contextmanager
def styled():
    """matplotlib's ``pyplot`` with the book's settings, which hold within the block."""
    with needs("book"):
        import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        yield plt


def closed(plt, figure):
    """Close the figure in ``plt`` and return it, so that a notebook shows it once, as what the cell returns."""
    plt.close(figure)
    return figure
