"""Channel units as a file to edit: which convs must keep the same channels, how many there are, how many to keep.

The first step of mmrazor's pruning (its ``get_channel_units.py``), for any network here.
"""

from pathlib import Path

from ..system.errors import InputError, short
from ..system.reading import from_json, from_yaml, read_text
from .networks import arch_of, check_widths
from .spec import Widths

FIELDS = ("channels", "keep", "convs")


def units(arch: str, widths: Widths | None = None) -> dict:
    """``{"arch": …, "units": {name: {"channels": n, "keep": n, "convs": […]}}}``; a unit is named after its first conv.

    Args:
        widths: what each conv keeps, the same in all of a unit; ``None``: everything.

    Raises:
        InputError: an unknown arch.
    """
    about = arch_of(arch)
    kept = widths or about.filters
    listed = {
        name: {"channels": about.filters[name], "keep": kept[name], "convs": list(convs)}
        for name, convs in about.units.items()
    }
    return {"arch": arch, "units": listed}


def to_yaml(arch: str, widths: Widths | None = None) -> str:
    """``units(arch, widths)`` as YAML; a comment at the top says what may be edited."""
    head = (
        f"# Channel units of {arch}. Edit 'keep': a number of channels, or the share to keep, such as 0.65\n"
        f"# (truncated: 0.65 of 64 is 41). Then: prune cost {arch} --units THIS_FILE\n"
    )
    lines = [f"arch: {arch}", "units:"]
    for name, unit in units(arch, widths)["units"].items():
        lines.append(
            f"  {name}: {{channels: {unit['channels']}, keep: {unit['keep']}, convs: [{', '.join(unit['convs'])}]}}"
        )
    return head + "\n".join(lines) + "\n"


def read_units(path: str | Path, arch: str) -> Widths:
    """The widths that an edited file (YAML or JSON) asks of ``arch``. Units left out keep all their channels.

    Raises:
        InputError: no such file, not a file of units, another arch, an unknown unit, or a ``keep`` that cannot be.
    """
    path, about = Path(path), arch_of(arch)
    read = from_json if path.suffix == ".json" else from_yaml
    found = read(read_text(path), f"{path}: not a readable file of units")
    if not isinstance(found, dict) or not isinstance(found.get("units"), dict):
        raise InputError(f"{path}: no units in it; expected what 'prune units {arch}' prints")
    if found.get("arch") != arch:
        raise InputError(f"{path}: units of {short(found.get('arch'))}; expected of {arch}")
    widths: Widths = {}
    for name, unit in found["units"].items():
        if name not in about.units:
            raise InputError(f"{path}: {arch} has no unit {short(name)}; expected one of: {' '.join(about.units)}")
        if not isinstance(unit, dict) or "keep" not in unit or set(unit) - set(FIELDS):
            raise InputError(f"{path}, {name}: {short(unit)}; expected a mapping with {' '.join(FIELDS)}")
        if "convs" in unit and unit["convs"] != list(about.units[name]):
            raise InputError(f"{path}, {name}: its convs are {' '.join(about.units[name])}; only 'keep' may be edited")
        kept = _kept(unit["keep"], about.filters[name])
        if kept is None:
            raise InputError(
                f"{path}, {name}: keep is {short(unit['keep'])}; expected a whole number in 1 … "
                f"{about.filters[name]}, or a share in (0, 1) that leaves a channel"
            )
        widths |= dict.fromkeys(about.units[name], kept)
    return check_widths(about, widths)


def _kept(keep: object, channels: int) -> int | None:
    if type(keep) is int:
        return keep if 1 <= keep <= channels else None
    if type(keep) is float and 0 < keep <= 1:
        return int(channels * keep) or None
    return None
