"""What a page's head says to machines: its permanent address, its title and what it is about, where its data lie.

Pages of ``latest`` are those of an edition, byte for byte, so both name the edition's address as theirs.
"""

import html
import json
import posixpath
from collections.abc import Iterable
from html.parser import HTMLParser
from xml.sax.saxutils import escape

from .citing import article
from .project import Project

LONGEST = 200  # characters of a description
PICTURE = "_static/table.png"  # what is shown where a page is shared, if the book has it
SHOWN = "DCFF on CIFAR-10: counts and accuracies as reported, recounted and measured"  # on that picture
NEWER = "newer.js"
NEWER_CODE = """\
// On a page of an edition that is not the newest: say so, with a link. Without a server, nothing is said.
(async () => {
  const line = document.querySelector(".prune-edition");
  const site = new URL(line.dataset.site, location.href);
  if (!site.protocol.startsWith("http")) return;
  const answer = await fetch(new URL("editions.json", site));
  if (!answer.ok) return;
  const { latest } = await answer.json();
  if (latest === line.dataset.edition) return;
  const link = document.createElement("a");
  link.href = new URL("latest/index.html", site);
  link.textContent = `the newest is ${latest}`;
  line.append(" · ", link);
})().catch(() => {});
"""
OTHER = ("genindex.html", "search.html", "404.html")  # pages that are no text of the book


class _Page(HTMLParser):
    """The title of a page, its first paragraph, and what its head has already."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.paragraph = "", ""
        self.has: set[str | None] = set()  # names of links, properties and descriptions in its head
        self._in, self._article, self._done = "", False, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("link", "meta"):
            self.has |= {given.get("rel"), given.get("property"), given.get("name")}
        if tag in ("article", "main"):
            self._article = True
        if tag == "title" and not self.title:
            self._in = "title"
        elif tag == "p" and self._article and not self._done and given.get("class") != "kind":
            self._in, self.paragraph = "p", ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._in:
            self._in = ""
            if tag == "p":
                self._done = len(self.paragraph.split()) > 4  # else a caption, or a name

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data
        elif self._in == "p":
            self.paragraph += data


def described(text: str, otherwise: str) -> tuple[str, str]:
    """Title and description of a page: its first paragraph, or ``otherwise`` where it has none; at most 200 long."""
    page = _Page()
    page.feed(text)
    about = " ".join(page.paragraph.split())
    about = about if len(about.split()) > 4 else otherwise
    title = " ".join(page.title.split())
    return title, about if len(about) <= LONGEST else about[:LONGEST].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def with_tags(text: str, name: str, project: Project, picture: bool = False) -> str:
    """A page's HTML with canonical, social and machine-readable tags at the end of its head, and its edition below.

    Args:
        name: the page below its edition's folder, as ``notebooks/a.html``.
        picture: whether the edition has ``PICTURE``.
    """
    page = _Page()
    page.feed(text)
    up = posixpath.relpath(".", posixpath.dirname(name) or ".")
    up = "" if up == "." else f"{up}/"
    title, about = described(text, project.abstract)
    address = project.at(name)
    social = {
        "og:type": "website" if name == "index.html" else "article", "og:site_name": project.title,
        "og:title": title or project.title, "og:description": about, "og:url": address,
        "og:image": project.at(PICTURE) if picture else "", "og:image:alt": SHOWN if picture and address else "",
    }  # fmt: skip
    named = {"twitter:card": "summary", "description": about}
    links = {"canonical": address or f"{up}../{project.edition}/{name}", "describedby": f"{up}ro-crate-metadata.json"}
    tags = [_tag("link", rel=rel, href=href) for rel, href in links.items() if rel not in page.has]
    tags += [
        _tag("meta", property=key, content=value) for key, value in social.items() if value and key not in page.has
    ]
    tags += [_tag("meta", name=key, content=value) for key, value in named.items() if key not in page.has]
    if name == "index.html":
        tags.append(f'<script type="application/ld+json">{_in_script(graph(project))}</script>')
    foot = edition_line(project, up)
    head, found, rest = text.partition("</head>")
    if not found:
        return text
    return "\n".join([head, *tags]) + f"\n{found}{_below(rest, foot)}"


def _below(body: str, foot: str) -> str:
    """A body with ``foot`` in the last footer of its text, or of the page; in one of its own where it has none."""
    main, mark, rest = body.rpartition("</main>")
    if mark and "</footer>" in main:
        return _before_last(main, "</footer>", foot) + mark + rest
    return _before_last(body, "</footer>", foot) or _before_last(body, "</body>", f"<footer>{foot}</footer>") or body


def edition_line(project: Project, up: str) -> str:
    """Which edition a page is of, with links to what changed in it, to other editions and to its citation."""
    links = {"what changed": f"{up}changelog.html", "all editions": f"{up}../editions.html",
             "cite": f"{up}CITATION.cff"}  # fmt: skip
    if binder := project.binder:
        links["run the explorer on Binder"] = binder
    named = " · ".join(f'<a href="{address}">{words}</a>' for words, address in links.items())
    name = html.escape(project.edition)
    data = f'class="prune-edition" style="padding: 0 1rem" data-edition="{name}" data-site="{up}../"'
    return f'<p {data}>Edition {name} · {named}</p><script src="{up}{NEWER}" defer></script>'


def _before_last(text: str, mark: str, what: str) -> str:
    """``text`` with ``what`` before its last ``mark``; empty: it has none."""
    before, found, after = text.rpartition(mark)
    return f"{before}{what}{found}{after}" if found else ""


def graph(project: Project) -> dict:
    """The edition as schema.org's ``Dataset``, for search engines."""
    place = {"url": project.at(), "identifier": project.at()} if project.address else {}
    files = {"rows.csv": "text/csv", "records.csv": "text/csv", "croissant.json": "application/ld+json"}
    return {
        "@context": "https://schema.org/", "@type": "Dataset", "name": f"{project.title}: rows and records",
        "description": f"{project.abstract} {project.message}", "license": project.license_address,
        "version": project.version, "datePublished": project.published.isoformat(), "isAccessibleForFree": True,
        "creator": [{"@type": "Organization", "name": name} for name in project.authors],
        "keywords": list(project.keywords), **place,
        "citation": [article(paper)["name"] for paper in project.papers],
        "distribution": [
            {"@type": "DataDownload", "contentUrl": project.at(name) or name, "encodingFormat": kind}
            for name, kind in files.items()
        ],
    }  # fmt: skip


def _in_script(document: object) -> str:
    """JSON that cannot end the script that it stands in."""
    return json.dumps(document, ensure_ascii=False).replace("<", "\\u003c")


def _tag(kind: str, **attributes: str) -> str:
    given = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{kind} {given}>"


def sitemap(project: Project, edition: str, pages: Iterable[str]) -> str:
    """``sitemap.xml`` of an edition, where the project has an address; ``pages`` are below the edition's folder."""
    shown = [project.at(page, edition) for page in pages if page not in OTHER]
    urls = "".join(
        f"<url><loc>{escape(address)}</loc></url>\n" for address in [f"{project.address}/editions.html", *shown]
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )


def robots(project: Project) -> str:
    """``robots.txt``: all may be read. A robot looks for it at the host's root, where the book may not be."""
    place = f"\nSitemap: {project.address}/sitemap.xml\n" if project.address else ""
    return f"User-agent: *\nAllow: /\n{place}"
