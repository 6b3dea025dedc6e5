"""A picture of a notebook with its caption below it, and links to the records that it shows."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

from ..system.errors import needs
from .tables.links import links


class Words:
    """A caption: its text is escaped, and its links are made by ``tables.links``."""

    def __init__(self, text: str, after: str):
        self.text, self.after = text, after

    def _repr_html_(self) -> str:
        return f'<p class="prune-caption">{html.escape(self.text)}{self.after}</p>'


class Captioned:
    """A picture and its caption, shown one below the other; the book makes a numbered figure of the two."""

    def __init__(self, picture: Any, caption: Words):
        self.picture, self.caption = picture, caption

    def _ipython_display_(self) -> None:
        with needs("book"):
            from IPython.display import display

        display(self.picture, self.caption)


def captioned(picture: Any, text: str, records: Iterable[Mapping] = (), table: str = "") -> Captioned | None:
    """``picture`` with a caption: one plain sentence on what it shows, and how to read it.

    Args:
        picture: a matplotlib figure or whatever a notebook draws; ``None``: there is nothing to show.
        records: the records that it is drawn from, linked where the book serves them.
        table: ``paper/table`` whose rows it shows, linked on the results page.
    """
    if picture is None:
        return None
    return Captioned(picture, Words(text, links(records, table)))
