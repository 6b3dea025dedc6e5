"""Tables as text, HTML and JSON: reported, recounted, measured, judged."""

from ...system.faces import lazily

_NAMES = {
    "Grid": "table",
    "Table": "table",
    "commands": "table",
    "export_grid": "table",
    "opening": "openings",
    "load_line": "table",
    "load_table": "table",
    "mean_sd": "table",
    "recount": "table",
    "side_by_side": "table",
    "load_results": "results",
    "judge": "verdict",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
