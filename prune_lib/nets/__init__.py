"""The networks, and what is done to their weights.

One class for each architecture, parameterised by widths: full, fused and compact are the same class. Rate strings
become widths (``spec``), masks become smaller networks (``slim``), files become weights (``weights``).

"""

from ..system.faces import lazily

_NAMES = {
    "ARCHS": "archs",
    "Arch": "arch",
    "Layout": "spec",
    "Widths": "spec",
    "parse": "spec",
    "to_widths": "spec",
    "arch_of": "networks",
    "build": "networks",
    "check_widths": "networks",
    "layout_of": "networks",
    "load_network": "networks",
    "read_spec": "networks",
    "recalibrated": "norms",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
