"""A review sheet of each paper: one page, computed from its rows, claims and records."""

from ...system.faces import lazily

_NAMES = {"Review": "sheet", "review": "sheet", "to_html": "page", "to_markdown": "page"}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
