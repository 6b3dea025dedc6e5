"""Figures that are committed, each as a small PNG beside a JSON record of how it was made: ``book/figures/``.

``book.gallery`` makes them from committed weights and real data, and shows them where these are not at hand.
"""

import hashlib
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...system.errors import InputError, needs
from ...system.files import write_bytes, write_text
from ...system.paths import home
from ...system.reading import from_json, read_text

CHECKOUT = Path(__file__).resolve().parents[3]
LARGEST = 200_000  # bytes of a PNG
KINDS = {  # what a record says of its figure -> its type
    "figure": str,
    "shows": str,  # in words, as a caption
    "command": str,  # that makes it anew
    "data": dict,  # name, sha256 and which images
    "weights": list,  # of each network: its name in the figure, what it is, the SHA-256 of its tensors, where it is
    "found": dict,  # numbers that belong to the figure
    "date": str,
    "code": str,
    "versions": dict,
    "hardware": dict,
    "seconds": float,
    "png_sha256": str,
}


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, and the record of how it was made."""

    png: bytes = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)
    fresh: bool = False  # made just now, rather than committed

    def _repr_png_(self) -> bytes:
        return self.png

    @property
    def found(self) -> dict[str, Any]:
        return self.record["found"]

    @property
    def note(self) -> str:
        """HTML below the figure: what it shows, whether it was made here, and, to be opened, from what and how."""
        record, data = self.record, self.record["data"]
        if self.fresh:
            where = "Computed when this page was built, from committed weights and the data on this machine."
        else:
            where = f"Committed figure of {record['date'][:10]}: made from real weights and data, shown here as it is."
        lines = {"Command": f"<code>{html.escape(record['command'])}</code>"}
        if data:
            lines["Data"] = html.escape(f"{data['name']}, {data['images']}; SHA-256 {data['sha256'][:12]}…")
        for one in record["weights"]:
            lines[html.escape(f"Weights, {one['network']}")] = html.escape(
                f"{one['what']}; {one['file'] or 'not committed'}; SHA-256 {one['sha256'][:12]}…"
            )
        lines["Code"] = html.escape(f"{record['code']}; " + ", ".join(" ".join(i) for i in record["versions"].items()))
        lines["Time"] = html.escape(f"{record['seconds']:.0f} s on {record['hardware']['name']}")
        if not self.fresh:
            lines["Record"] = f"<code>book/figures/{html.escape(record['figure'])}.json</code>"
        facts = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in lines.items())
        return (
            f'<div class="prune-figure-note"><p>{html.escape(record["shows"])} <strong>{where}</strong></p>'
            f"<details><summary>How it was made</summary><dl>{facts}</dl></details></div>"
        )


def folder() -> Path:
    """Where figures are committed in this project."""
    return home() / "book" / "figures"


def save(picture: Picture) -> Path:
    """Put a figure and its record where they are committed; returns the PNG's path.

    Raises:
        InputError: the PNG is too large.
    """
    if len(picture.png) > LARGEST:
        raise InputError(f"{picture.record['figure']} has {len(picture.png):,} bytes; expected at most {LARGEST:,}")
    path = folder() / f"{picture.record['figure']}.png"
    write_bytes(path, picture.png)
    write_text(path.with_suffix(".json"), json.dumps(picture.record, indent=1, allow_nan=False) + "\n")
    return path


def read(name: str) -> Picture:
    """The committed figure of this name, of this project or, where it has none, of the checkout of this library.

    Raises:
        InputError: there is none, its record is damaged, or its PNG is not the one that the record is of.
    """
    for root in dict.fromkeys((home(), CHECKOUT)):
        path = root / "book" / "figures" / f"{name}.png"
        if path.is_file():
            break
    else:
        raise InputError(f"no figure {name} in {folder()}; 'python -m prune_lib.book.gallery {name}' makes it")
    record = from_json(read_text(path.with_suffix(".json")), f"{path.with_suffix('.json')}: not a figure's record")
    if wrong := wrong_with(record):
        raise InputError(f"{path.with_suffix('.json')}: not a figure's record ({wrong})")
    assert isinstance(record, dict)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != record["png_sha256"]:
        raise InputError(f"{path}: not the figure that its record is of; expected the SHA-256 {record['png_sha256']}")
    return Picture(data, record)


def wrong_with(record: object) -> str:
    """What is wrong with the contents of a record; empty: nothing."""
    if not isinstance(record, dict):
        return "expected a mapping"
    for name, kind in KINDS.items():
        if type(record.get(name)) is not kind:
            return f"{name}: expected {kind.__name__}"
    texts = {"data": ("name", "sha256", "images"), "weights": ("network", "what", "sha256", "file")}
    for part, wanted in texts.items():
        for one in record[part] if part == "weights" else [record[part]] if record[part] else []:
            if not (isinstance(one, dict) and all(isinstance(one.get(name), str) for name in wanted)):
                return f"{part}: expected texts for {' '.join(wanted)}"
    return "" if isinstance(record["hardware"].get("name"), str) else "hardware: expected its name"


def to_png(figure: Any, colours: int = 256) -> bytes:
    """A matplotlib figure as a PNG of a palette, at the highest of a few resolutions that gives at most ``LARGEST``.

    Raises:
        InputError: it is too large at every one of them.
    """
    with needs("book"):
        from PIL import Image

    for dpi in (150, 130, 110, 90, 70):
        whole, small = io.BytesIO(), io.BytesIO()
        figure.savefig(whole, format="png", dpi=dpi)
        picture = Image.open(whole).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        picture.save(small, format="png", optimize=True)
        if small.tell() <= LARGEST:
            return small.getvalue()
    raise InputError(f"a figure of {small.tell():,} bytes at {dpi} dpi; expected at most {LARGEST:,}")
