"""What a network is trained for: data, loss and metric."""

from ..system.faces import lazily

_NAMES = {
    "DENSE": "registry",
    "score_of": "registry",
    "load": "images",
    "find_data": "images",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
