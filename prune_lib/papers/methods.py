"""One paper = ``foo.py`` (its method) + ``foo.yaml`` (its tables). Methods are listed here, and nowhere else."""

from importlib import import_module

from ..nets import Arch
from ..system.errors import InputError

METHODS = {  # name in the tables -> module:Class in this package (or the library's own)
    "dense": ".method:Method",
    "dcff": ".dcff:DCFF",
    "cdp": ".cdp:CDP",
    "cfdp": ".cfdp:CFDP",
    "hrank": ".hrank:HRank",
    "filterexpo": ".filterexpo:FilterExpo",
    "criterion": ".arena:ByCriterion",
}
FROM_FRESH = ("dense", "dcff")  # their runs begin from weights as the network draws them
PRUNES_TRAINED = ("cdp", "cfdp", "hrank", "criterion")  # their runs begin from a trained network
CHOOSES_WIDTHS = (
    "cdp",
    "filterexpo",
)  # they find the widths themselves; the others are given them, or find them where asked for ``macs``


def make_method(name: str, arch: Arch, **options):
    """The method called ``name`` for networks of ``arch``.

    Raises:
        InputError: no such method, or an option that it does not have.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; expected one of: {' '.join(METHODS)}")
    module, cls = METHODS[name].split(":")
    kind = getattr(import_module(module, __package__), cls)
    try:
        return kind.for_arch(arch, **options)
    except TypeError as error:
        raise InputError(f"method {name}: {error}") from None
