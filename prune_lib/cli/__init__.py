"""The command line."""

from ..system.faces import lazily

_NAMES = {
    "main": "parser",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
