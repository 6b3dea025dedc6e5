"""The reference: every public function and class of a room, from its source and its docstring.

``.. room:: system`` is a directive of the Sphinx extension ``build``. It reads the source and imports nothing, so that
the reference costs seconds; names, index and search are those of Sphinx's own Python domain.
"""

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from ...system.errors import InputError

STYLE = Config(napoleon_google_docstring=True, napoleon_use_rtype=False)
LITERAL = re.compile(r"(``.*?``)", re.DOTALL)
EXAMPLE = re.compile(r"(^\S.*\n\n)((?:    .*\n*)+)", re.MULTILINE)  # code that stands in from the text above it
LEFT_OUT = ("pytest_plugin.py",)  # which pytest alone calls
Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def setup(app) -> None:
    """Register what this module does; ``build.setup`` calls it."""
    app.add_directive("room", Room)
    app.connect("doctree-read", _link_exactly)


def _link_exactly(app, doctree: nodes.document) -> None:
    """A type in a signature links to the class of that name in its own module, and never to another's."""
    for node in doctree.findall(pending_xref):
        node.attributes.pop("refspecific", None)


class Room(SphinxDirective):
    """``.. room:: NAME``: the reference of the modules in ``prune_lib/NAME``, a section for each."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        place = f"room {self.arguments[0]}"
        for path in modules(self.arguments[0]):
            self.env.note_dependency(str(path))
        holder = nodes.section()
        holder.document = self.state.document
        nested_parse_with_titles(self.state, StringList(list(reference(self.arguments[0])), place), holder)
        return holder.children


def modules(room: str) -> list[Path]:
    """The source files of a room, in the order of their names.

    Raises:
        InputError: there is no such room.
    """
    folder = Path(str(files("prune_lib"))) / room
    if not (folder / "__init__.py").is_file():
        raise InputError(f"no room {room!r} in prune_lib")
    return [path for path in sorted(folder.rglob("*.py")) if path.name not in LEFT_OUT]


def reference(room: str) -> Iterator[str]:
    """The reference of a room as lines of reStructuredText."""
    root = Path(str(files("prune_lib")))
    for path in modules(room):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, Def) and not node.name.startswith("_")]
        if not found:
            continue
        yield from (name, "-" * len(name), "", f".. py:module:: prune_lib.{name}", "")
        yield from (*_text(tree), "")
        for node in found:
            yield from _described(node)


def _text(node: ast.AST) -> list[str]:
    """A docstring as reStructuredText, its Google sections as lists."""
    words = ast.get_docstring(node) or ""  # type: ignore[arg-type]
    escaped = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in LITERAL.split(words))
    shown = EXAMPLE.sub(r"\1::\n\n\2", escaped)
    return str(GoogleDocstring(shown, STYLE)).splitlines()  # type: ignore[arg-type]


def _described(node: Def, depth: int = 0) -> Iterator[str]:
    """A function, or a class with its public methods, as directives of the Python domain."""
    indent = "   " * depth
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        yield f"{indent}.. py:class:: {node.name}{_fields(node) or (f'({bases})' if bases else '')}"
    else:
        kind = "method" if depth else "function"
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if depth and decorators & {"property", "cached_property"}:
            yield f"{indent}.. py:property:: {node.name}"
            if node.returns:
                yield f"{indent}   :type: {ast.unparse(node.returns)}"
        else:
            yield f"{indent}.. py:{kind}:: {node.name}({_arguments(node, depth)}){_returns(node)}"
            if decorators & {"classmethod", "staticmethod"}:
                yield f"{indent}   :{'classmethod' if 'classmethod' in decorators else 'staticmethod'}:"
    yield ""
    yield from (f"{indent}   {line}" for line in _text(node))
    yield ""
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and ast.get_docstring(part):
                yield from _described(part, depth + 1)


def _fields(node: ast.ClassDef) -> str:
    """What a dataclass is made from, as arguments."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return ""
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
    return f"({', '.join(_field(part) for part in fields)})"


def _field(part: ast.AnnAssign) -> str:
    default = f" = {ast.unparse(part.value)}" if part.value else ""
    return f"{ast.unparse(part.target)}: {ast.unparse(part.annotation)}{default}"


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef, depth: int) -> str:
    """The arguments as they are written, but for ``self`` and ``cls``."""
    text = ast.unparse(node.args)
    first = node.args.args[0].arg if node.args.args else ""
    if depth and first in ("self", "cls"):
        text = text.removeprefix(first).removeprefix(", ")
    return text


def _returns(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f" -> {ast.unparse(node.returns)}" if node.returns else ""
