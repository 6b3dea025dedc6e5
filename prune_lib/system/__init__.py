"""The machine and the disk: errors, paths, reading, locks, devices, checkpoints, where a figure comes from."""

from .faces import lazily

_NAMES = {
    "InputError": "errors",
    "needs": "errors",
    "home": "paths",
    "pick_device": "device",
    "pick_precision": "device",
    "code_version": "provenance",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
