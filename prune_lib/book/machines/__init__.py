"""What machines read of the book: citations, crates, a data set, model cards, and how two editions differ.

All of it is made from one source: ``pyproject.toml``, ``CHANGELOG.md``, the rows and the records.
"""

from ...system.faces import lazily

_NAMES = {
    "Project": "project",
    "read_project": "project",
    "COMMITTED": "written",
    "stale": "written",
    "write": "written",
    "compare": "editions",
    "find_edition": "editions",
    "snapshot": "editions",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
