"""What a page of the book is made of: numbered figures and tables, code below what it draws, how to run it.

A part of the Sphinx extension ``build``. It works on pages after they were read, most of it on those of notebooks:

- a table of Markdown gets the caption that a comment above it has;
- a table of ours, and a picture with its caption, become a table and a figure that Sphinx numbers;
- folded code goes below what it draws; where it draws nothing, it only prepares, and leaves the page;
- the parameters, which stand first in a notebook, go to the end, where the page says how to run it.
"""

import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from docutils import nodes

TABLE = re.compile(r'<div class="prune-table.*?</table></div>', re.DOTALL)
CAPTION = re.compile(r"<caption>(.*?)</caption>", re.DOTALL)
NOTE = re.compile(r'<p class="prune-caption">(.*?)(<span class="prune-links">.*)?</p>', re.DOTALL)
SAID = re.compile(r"<!-- caption: (.*?) -->", re.DOTALL)
RUN = "run-this-page"
RUN_LINK = f'<a class="prune-run" href="#{RUN}">Run this</a>'


class numbered_table(nodes.General, nodes.Element):  # named as docutils names its nodes
    """A table that a notebook wrote as HTML, which Sphinx numbers like its own; it holds that HTML as a raw node."""


def setup(app) -> None:
    """Register what this module does; ``build.setup`` calls it."""
    app.add_enumerable_node(numbered_table, "table", _title, html=(_visit_table, None))
    app.connect("doctree-read", _arrange, priority=100)  # before Sphinx collects a page's contents and numbers
    app.connect("html-page-context", _list_citations)


def _list_citations(app, page, template, context, doctree) -> None:
    """Call the entries of the bibliography items of its list: docutils gives them a role that no list may hold."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def _title(node: nodes.Element) -> str:
    """A table's caption as text, or a word in place of one: what is not empty is numbered."""
    found = CAPTION.search(node.astext())
    return re.sub(r"<[^>]+>", "", found[1]) if found and found[1] else "table"


def _visit_table(writer, node: nodes.Element) -> None:
    """Write the table with its number, and with a link to how to run it, before and after its caption."""
    text = node.astext()
    before, found, after = (*text.partition("<caption>"),) if "<caption>" in text else _captionless(text)
    writer.body.append(f'<div id="{node["ids"][0]}" class="prune-numbered">{before}<caption>')
    writer.add_fignumber(node)
    caption, _, rest = after.partition("</caption>") if found else ("", "", after)
    writer.body.append(f"{caption} {RUN_LINK}")
    writer.add_permalink_ref(node, "Link to this table")
    writer.body.append(f"</caption>{rest}</div>")
    raise nodes.SkipNode


def _captionless(text: str) -> tuple[str, str, str]:
    head, tag, rest = text.partition("<table>")
    return f"{head}{tag}", "", rest


def _arrange(app, doctree: nodes.document) -> None:
    """Make a page of what was read of a notebook."""
    name = Path(doctree.settings.env.docname).name
    _give_captions(doctree)
    if doctree.settings.env.docname != f"notebooks/{name}":
        return
    numbers = {"table": 0, "figure": 0}
    settings: list[nodes.Node] = []
    given = ""
    for cell in [node for node in doctree.findall(nodes.container) if node.get("nb_element") == "cell_code"]:
        if "tag_parameters" in cell["classes"]:
            settings = list(cell.findall(nodes.literal_block))
            cell.parent.remove(cell)
            continue
        if "tag_injected-parameters" in cell["classes"]:
            given = cell.astext()
            cell.parent.remove(cell)
            continue
        for output in [node for node in cell.children if node.get("nb_element") == "cell_code_output"]:
            output.children = list(_numbered(output, numbers))
            for child in output.children:
                child.parent = output
            if not output.children:
                cell.remove(output)
        _fold(cell)
        if not cell.children:
            cell.parent.remove(cell)
    if settings or given:
        next(doctree.findall(nodes.section)).append(_how_to_run(name, settings, given))


def _give_captions(doctree: nodes.document) -> None:
    """Give a table of Markdown the caption that stands above it: ``<!-- caption: What it shows. -->``."""
    for number, table in enumerate(list(doctree.findall(nodes.table)), 1):
        before = table.parent.children[: table.parent.index(table)][-2:]
        found = [match for node in before if (match := SAID.search(node.astext()))]
        if found and isinstance(table[0], nodes.tgroup):
            table.insert(0, nodes.title("", found[-1][1]))
            table["ids"] = table["ids"] or [f"table-{number}"]


def _numbered(output: nodes.Element, numbers: dict[str, int]) -> Iterator[nodes.Node]:
    """The outputs of a cell, tables and pictures among them as nodes that are numbered."""
    before: nodes.Node | None = None  # a picture that waits for the caption below it
    for child in output.children:
        html = _html(child)
        note = NOTE.search(html)
        if before is not None:
            yield _figure(before, numbers, *(note.groups("") if note else ()))
            before = None
            if note:
                continue
        if tables := TABLE.findall(html):
            for text in tables:
                numbers["table"] += 1
                table = numbered_table("", nodes.raw("", text, format="html"), ids=[f"table-{numbers['table']}"])
                yield table
        elif next(child.findall(nodes.image), None) is not None and not isinstance(child, nodes.figure):
            before = child
        else:
            yield child
    if before is not None:
        yield _figure(before, numbers)


def _html(output: nodes.Node) -> str:
    """What a cell put out as HTML, if it did."""
    return "".join(node.astext() for node in output.findall(nodes.raw) if "html" in node.get("format", ""))


def _figure(picture: nodes.Node, numbers: dict[str, int], caption: str = "", behind: str = "") -> nodes.figure:
    """A figure of a picture, its caption, and a link to how to run it; without a caption, its words for the blind."""
    numbers["figure"] += 1
    image = next(picture.findall(nodes.image))
    said = nodes.caption("", unescape(caption).strip() or image.get("alt", ""))
    said += nodes.raw("", f" {behind} {RUN_LINK}", format="html")
    return nodes.figure("", image, said, ids=[f"figure-{numbers['figure']}"])


def _fold(cell: nodes.Element) -> None:
    """Put folded code below what it draws; take it off the page if it draws nothing."""
    if cell.get("hide_mode") != "input":
        return
    del cell["hide_mode"]
    codes = [node for node in cell.children if node.get("nb_element") == "cell_code_source"]
    for code in codes:
        cell.remove(code)
    if not cell.children or not codes:
        return
    opened = '<details class="prune-code"><summary>Code</summary>'
    cell += [nodes.raw("", opened, format="html"), *codes, nodes.raw("", "</details>", format="html")]


def _how_to_run(name: str, settings: list[nodes.Node], given: str) -> nodes.section:
    """The last section of a page: the notebook, the commands that run it, and what may be set otherwise."""
    words = ["papermill", f"text:notebooks/{name}.py", "out.ipynb"]
    for line in given.splitlines():
        field, equals, value = line.partition(" = ")
        if equals and value not in ('""', "''"):
            words += ["-p", field, value.strip("\"'")]
    files = (
        f"<p>This page is the notebook <code>notebooks/{name}.py</code>. As it was run, with its outputs: "
        f'<a href="../_sources/notebooks/{name}.ipynb" download>{name}.ipynb</a>.</p>'
    )
    commands = f"make lab    # then open {name}.py\n{shlex.join(words)}"
    section = nodes.section("", nodes.title("", "Run this page"), ids=[RUN], names=[])
    section += [nodes.raw("", files, format="html"), nodes.literal_block(commands, commands, language="bash")]
    if settings:
        section += [nodes.paragraph("", "What can be set, each behind -p:"), *settings]
    return section
