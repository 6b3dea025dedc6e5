"""Filter pruning, reproduced: the library behind the book.

Nothing heavy is imported here; ``import prune_lib`` costs nothing, and each name below loads what it needs.
"""

from .system.faces import lazily

__version__ = "0.1.0"

_NAMES = {
    "InputError": "system",
    "parse": "nets",
    "to_widths": "nets",
    "ARCHS": "nets",
    "build": "nets",
    "count": "cost",
    "get_row": "papers",
    "all_rows": "papers",
    "run": "runs",
    "load": "runs",
    "load_table": "book.tables",
    "prune": "anynet",
}
__all__ = ["__version__", *_NAMES]
__getattr__ = lazily(__name__, _NAMES)
