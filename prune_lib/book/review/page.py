"""A review sheet as Markdown, or as one HTML page that needs nothing beside it: for a screen, in the dark, on paper."""

import html
import re
from collections.abc import Sequence
from importlib.resources import files

from ..tables.verdict import NOT_ATTEMPTED, TONES
from .answers import NOT_SAID, NOT_TRIED
from .sheet import BORNE_OUT, Cell, Link, Part, Review

MARKS = {  # a verdict's colour, as in the book's tables, and what is said softly
    **TONES, BORNE_OUT: "good", "does not hold": "poor",
    **dict.fromkeys((NOT_SAID, NOT_TRIED, NOT_ATTEMPTED), "none"),
}  # fmt: skip
SPECIAL = re.compile(r"([\\`*<|]|(?<!\w)_|_(?!\w))")
ADDRESS = re.compile(r"https?://\S+")


def to_markdown(review: Review) -> str:
    """The sheet as Markdown: GitHub's tables, a heading for each section."""
    about = review.about
    lines = [f"# Review sheet: {_plain(about['short'])}", "", _plain(about["title"]), "",
             f"{_plain(about['authors'])}. {about['link']}", ""]  # fmt: skip
    for section in review.sections:
        lines += [f"## {section.title}", ""]
        for part in section.parts:
            if part.cells:
                head, *rest = [" | ".join(map(_cell, line)) for line in part.cells]
                rule = " | ".join("---" for _ in part.cells[0])
                lines += [f"| {line} |" for line in (head, rule, *rest)] + [""]
            if part.text:
                lines += [_plain(part.text), ""]
    return "\n".join(lines).rstrip() + "\n"


def _plain(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _cell(cell: Cell) -> str:
    return f"[{_plain(cell.text)}]({cell.to})" if isinstance(cell, Link) else _plain(cell)


def to_html(review: Review, links: str = "", back: str = "") -> str:
    """The sheet as a whole page, with its style in it.

    Args:
        links: what stands before the address of a record, as ``../`` in the book; empty: records are only named.
        back: the address of the paper's chapter, or none.
    """
    about = {name: html.escape(text) for name, text in review.about.items()}
    style = (files(__package__) / "review.css").read_text(encoding="utf-8")
    contents = "".join(f'<li><a href="#{_anchor(s.title)}">{html.escape(s.title)}</a></li>' for s in review.sections)
    sections = "".join(
        f'<section id="{_anchor(s.title)}"><h2>{html.escape(s.title)}</h2>'
        f"{''.join(_part(part, links, s.title) for part in s.parts)}</section>"
        for s in review.sections
    )
    source = about["link"]
    if ADDRESS.fullmatch(review.about["link"]):
        source = f'<a href="{source}">{source}</a>'
    chapter = f' <a href="{html.escape(back)}">Its chapter in the book</a>' if back else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Review sheet: {about['short']}</title><style>\n{style}</style></head>\n<body><header>"
        f'<p class="kind">Review sheet</p><h1>{about["title"]}</h1><p class="by">{about["authors"]}. {source}</p>'
        f'<nav aria-label="Sections"><ol>{contents}</ol></nav></header>\n<main>{sections}</main>\n'
        f"<footer><p>Computed from the paper's rows, claims and records.{chapter}</p></footer>"
        "</body></html>\n"
    )


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _part(part: Part, links: str, title: str) -> str:
    text = html.escape(part.text)
    if not part.cells:
        return f"<p>{text}</p>"
    head = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in part.cells[0])
    body = "".join(f"<tr>{''.join(_td(cell, links) for cell in line)}</tr>" for line in part.cells[1:])
    note = f'<p class="note">{text}</p>' if text else ""
    label = html.escape(title)
    return (
        f'<div class="table{_prose(part.cells)}" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _prose(cells: Sequence[Sequence[Cell]]) -> str:
    """Tables of few columns, or with sentences in them, wrap; those of figures scroll."""
    if len(cells[0]) <= 3:
        return " prose"
    return " prose" if any(isinstance(cell, str) and len(cell) > 60 for line in cells[1:] for cell in line) else ""


def _td(cell: Cell, links: str) -> str:
    if isinstance(cell, Link):
        text = html.escape(cell.text)
        text = f'<a href="{html.escape(links + cell.to)}">{text}</a>' if links else text
        return f'<td class="file">{text}</td>'
    mark = MARKS.get(cell) or next((tone for word, tone in MARKS.items() if cell.startswith(f"{word} (")), "")
    of = f' class="{mark}"' if mark else ""
    return f"<td{of}>{html.escape(cell)}</td>"
