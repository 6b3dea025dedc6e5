"""Anybody's method by the name of its class, ``package.module:Class``, with its options in words behind it."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..system.errors import InputError, short
from ..system.words import read_given

EXPECTED = "expected package.module:Class and then its options, such as sparsity=0.5"


def method_named(text: str, folder: Path | None = None) -> tuple[Any, dict[str, Any]]:
    """``(class, options)`` of ``package.module:Class option=value …``; a value is read as JSON, else as text.

    Args:
        folder: where else modules are looked for, as ``python -m`` does in the current one.

    Raises:
        InputError: no such module or class, one that lacks a hook of ``Method``, or words that are no options.
    """
    from .method import Method

    name, _, rest = text.strip().partition(" ")
    module, colon, cls = name.partition(":")
    if not (module and colon and cls):
        raise InputError(f"{short(text)}; {EXPECTED}")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = getattr(importlib.import_module(module), cls, None)
    except ImportError as error:
        raise InputError(f"{short(text)}: {error}; {EXPECTED}") from None
    if not isinstance(found, type):
        raise InputError(f"{short(text)}: {module} has no class {cls}; {EXPECTED}")
    hooks = [hook for hook in vars(Method) if not hook.startswith("_")]
    if missing := [hook for hook in hooks if not hasattr(found, hook)]:
        raise InputError(f"{short(text)}: {cls} has no {missing[0]}; expected a class derived from prune_lib's Method")
    return found, {option: _value(value) for option, value in read_given(rest).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def taken(cls: type) -> dict[str, type]:
    """``{option: int, float or str}`` of the annotated options that a method's class takes; others are left out."""
    found: dict[str, type] = {}
    makers: tuple[Callable, ...] = (cls.__init__, cls.for_arch)  # type: ignore[misc, attr-defined]
    for maker in makers:
        for option in inspect.signature(maker).parameters.values():
            kind = str(getattr(option.annotation, "__name__", option.annotation)).removesuffix(" | None")
            if kind in ("int", "float", "str"):
                found[option.name] = {"int": int, "float": float, "str": str}[kind]
    return found
