"""What a network is trained for: data, loss and metric. ``load`` gives a set by its name."""

from ..system.faces import lazily

_NAMES = {
    "SETS": "registry",
    "metric_of": "registry",
    "load": "registry",
    "find_data": "registry",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
