"""Filter pruning, reproduced: the library behind the book.

Nothing heavy is imported here; ``import prune_lib`` costs nothing, and each name below loads what it needs.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "InputError": "errors",
    "parse": "spec",
    "to_widths": "spec",
    "ARCHS": "nets",
    "build": "nets",
    "count": "cost",
    "get_row": "rows",
    "all_rows": "rows",
    "run": "records",
    "load_table": "tables",
    "prune": "anynet",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'prune_lib' has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
