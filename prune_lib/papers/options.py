"""The options of each method, by name: read from its source, as text, so that to list them imports nothing heavy."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from inspect import cleandoc

from .methods import METHODS

NOT_OPTIONS = ("self", "cls", "arch", "filters")  # what a row's network gives


@dataclass(frozen=True)
class Option:
    kind: str  # as annotated: ``float | None``
    default: object  # ``None`` also where there is none
    meaning: str


@cache
def options_of(method: str) -> dict[str, Option]:
    """``{name: option}`` of the method of that name, in the order in which its class takes them."""
    module, cls = METHODS[method].split(":")
    tree = ast.parse((files(__package__) / f"{module.removeprefix('.')}.py").read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls)
    makers = [n for n in body.body if isinstance(n, ast.FunctionDef) and n.name in ("__init__", "for_arch")]
    meanings = _meanings(body)
    options = {}
    for maker in makers:
        of = [*maker.args.args, *maker.args.kwonlyargs]
        without = [None] * (len(maker.args.args) - len(maker.args.defaults))
        defaults = [*without, *maker.args.defaults, *maker.args.kw_defaults]
        for argument, default in zip(of, defaults, strict=True):
            if argument.arg not in NOT_OPTIONS and argument.annotation is not None:
                value = constants.get(default.id) if isinstance(default, ast.Name) else default
                options[argument.arg] = Option(
                    ast.unparse(argument.annotation),
                    None if value is None else ast.literal_eval(value),
                    meanings.get(argument.arg, ""),
                )
    return options


def _meanings(body: ast.ClassDef) -> dict[str, str]:
    """``{name: what is said of it}`` in the section ``Args:`` of a class's docstring; ``a, b: …`` is of both."""
    text = cleandoc(ast.get_docstring(body) or "").partition("Args:\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if begins := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names, line = begins[1].split(", "), begins[2]
        for name in names if line.strip() else ():
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found
