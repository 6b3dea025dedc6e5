"""What was measured on networks of other people, in ``benchmarks/own_networks.json`` and ``benchmarks/lite0.json``."""

import json
from statistics import median

from ...system.errors import InputError
from ...system.paths import home
from ...system.reading import read_text
from .table import Grid

FAMILIES = {"timm": "timm", "written": "written by hand", "": "torchvision"}
SAME = 1e-5  # of the largest output


def measured(name: str) -> dict:
    """What ``benchmarks/NAME.json`` holds.

    Raises:
        InputError: there is no such file, as in an installed wheel.
    """
    path = home() / "benchmarks" / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{path} is missing; expected a checkout, or python benchmarks/{name}.py --out {path}")
    return json.loads(read_text(path))


def side_by_side() -> Grid:
    """How many networks of each family either library pruned, and in what time."""
    found = measured("own_networks")
    lines = [[
        "Networks", "Tried", "Pruned here", "Within 2 % of the target", "By Torch-Pruning", "No answer in time",
        "Result differs from its own masked network", "Median time, ours / theirs",
    ]]  # fmt: skip
    for family, title in FAMILIES.items():
        rows = [row for name, row in found["networks"].items() if name.rpartition(":")[0] == family]
        if not rows:
            continue
        ours = [row["ours"] for row in rows if row["ours"]["works"]]
        both = [row for row in rows if "theirs" in row]
        theirs = [row["theirs"] for row in both if row["theirs"]["works"]]
        late = sum("no answer" in row["theirs"].get("why", "") for row in both)
        off = sum(not (t.get("difference") or 0) <= SAME for t in theirs if t.get("difference") is not None)
        near = sum(0.98 * found["flops"] <= o["macs"] / o["full_macs"] <= 1.02 * found["flops"] for o in ours)
        ratios = [r["ours"]["seconds"] / r["theirs"]["seconds"] for r in both
                  if r["ours"]["works"] and r["theirs"]["works"]]  # fmt: skip
        lines.append([
            title, str(len(rows)), str(len(ours)), str(near), f"{len(theirs)} of {len(both)}", str(late), str(off),
            f"{median(ratios):.1f}" if ratios else "",
        ])  # fmt: skip
    return Grid(lines, f"To {found['flops']:.0%} of the MACs, by L1; {found['versions']}. Ours with its check; "
                "Torch-Pruning by its plain call, without what its examples set for single networks, and given "
                f"{found['limit']:g} seconds of a processor.")  # fmt: skip


def found_grid() -> Grid:
    """Networks that are not pruned here, with the reason."""
    lines = [["Network", "Why it is not pruned to the target here"]]
    for name, row in measured("own_networks")["networks"].items():
        if not row["ours"]["works"]:
            lines.append([name.replace(":", " "), row["ours"]["why"]])
    return Grid(lines, "What is refused, by the words in which it is.", prose=True)


def lite0_grid(photographs: int = 0, data_dir: str = "") -> Grid:
    """EfficientNet-Lite0 by every criterion: as committed, or measured anew on so many photographs."""
    if photographs:
        from ..gallery.lite0 import study

        found = study(photographs, data_dir)
    else:
        found = measured("lite0")
    shares = [f"{share:.0%}" for share in found["shares"]]
    lines = [["Criterion", *(f"{share} of the MACs{then}" for share in shares for then in ("", ", BatchNorm anew"))]]
    for criterion, rows in found["criteria"].items():
        lines.append([criterion, *(f"{row[when]:.1f} %" for row in rows for when in ("before", "recalibrated"))])
    return Grid(lines, f"Top-1 on {found['photographs']} photographs; with all filters {found['full']:.1f} %. "
                f"{found['what']}.")  # fmt: skip
