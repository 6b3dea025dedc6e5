"""Pages that only a published book has: its changelog, the list of its editions, and one that leads to the newest."""

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files

from ...system.errors import needs
from .citing import bibtex
from .editions import Changes
from .project import Project

CODE = "pre { overflow-x: auto; } code { overflow-wrap: anywhere; }\n"


def page(title: str, kind: str, main: str, head: str = "", foot: str = "") -> str:
    """A whole page with its style in it; ``title`` and ``kind`` are text, the rest is HTML."""
    style = (files("prune_lib.book.review") / "review.css").read_text(encoding="utf-8")
    said = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">{head}'
        f"<title>{said}</title><style>\n{style}{CODE}</style></head>\n<body><header>"
        f'<p class="kind">{html.escape(kind)}</p><h1>{said}</h1></header>\n<main>{main}</main>\n'
        f"<footer>{foot}</footer></body></html>\n"
    )


def changelog_page(project: Project, changelog: str) -> str:
    """``CHANGELOG.md`` as a page; HTML in it is text."""
    with needs("book"):
        from markdown_it import MarkdownIt

    text = changelog.partition("\n")[2]  # its first line is the page's title
    body = MarkdownIt("commonmark", {"html": False}).render(text)
    return page("What changed", project.title, f'<p><a href="index.html">The book</a></p>{body}')


def front_page(project: Project, newest: str) -> str:
    """Leads to the newest edition; a link for those whom nothing leads."""
    head = '<meta http-equiv="refresh" content="0; url=latest/index.html">'
    head += f'<link rel="canonical" href="{project.at("index.html", newest) or f"{newest}/index.html"}">'
    main = f'<p>The newest edition is <a href="latest/index.html">{html.escape(newest)}</a>. '
    main += '<a href="editions.html">All editions</a>.</p>'
    return page(project.title, "Book", main, head)


def editions_page(project: Project, editions: Sequence[Mapping], changes: Mapping[str, Changes], newest: str) -> str:
    """All editions, the newest first, each with its address and what changed since the one before it.

    Args:
        editions: what each holds, oldest first.
        changes: ``{name of an edition: what changed since the one before it}``.
        newest: the one that ``latest`` is a copy of.
    """
    parts = [
        "<p>Each edition keeps its address. A draft is the exception: it is replaced until it is released. "
        f'<a href="latest/index.html">latest</a> is a copy of {html.escape(newest)}; what is compared is in '
        '<a href="editions.json">editions.json</a>, and <code>prune editions compare A B</code> says it of any two.</p>'
    ]
    for edition in reversed(editions):
        name = html.escape(edition["edition"])
        place = html.escape(project.at(edition=edition["edition"])) or f"{name}/"
        when = html.escape(str(edition.get("released") or "a draft"))
        figures = f"{len(edition['rows'])} rows, {len(edition['records'])} records, {len(edition['claims'])} claims"
        parts.append(f'<section><h2 id="{name}">{name}</h2><p><a href="{name}/index.html">{place}</a>, {when}: ')
        parts.append(f"{figures}; code {html.escape(str(edition.get('code')))}. ")
        parts.append(f'<a href="{name}/changelog.html">What changed in words</a>.</p>')
        if edition["edition"] in changes:
            parts.append(changes[edition["edition"]].to_html())
        else:
            parts.append("<p>The first edition here.</p>")
        parts.append("</section>")
    if project.edition == newest:
        parts.append(
            f"<section><h2>To cite {html.escape(newest)}</h2><pre>{html.escape(bibtex(project))}</pre></section>"
        )
    return page("Editions", project.title, "".join(parts))
