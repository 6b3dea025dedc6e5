"""The papers: their tables row by row, their recipes, and their methods.

One paper is ``foo.py`` (its method) and ``foo.yaml`` (its tables).

"""

from ..system.faces import lazily

_NAMES = {
    "METHODS": "methods",
    "make_method": "methods",
    "Method": "method",
    "Start": "method",
    "Recipe": "recipe",
    "open_data": "recipe",
    "BUDGETS": "rows",
    "Row": "rows",
    "all_commands": "rows",
    "all_rows": "rows",
    "get_row": "rows",
    "table_rows": "rows",
    "table_title": "rows",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
