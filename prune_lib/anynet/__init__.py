"""Networks that others wrote: which of their channels go together, how important they are, and the smaller network."""

from ..system.faces import lazily

_NAMES = {
    "Pruned": "pruned",
    "prune": "pruning",
    "load": "saving",
    "sensitivity": "curves",
    "dcff": "methods",
    "filterexpo": "methods",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
