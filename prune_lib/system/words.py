"""Words ``name=value`` from outside, as from a command line: split, and read as what a field is annotated with."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError, short

Given = str | Sequence[str] | Mapping[str, Any] | None  # settings as words, as one text, or as a mapping


def read_given(given: Given) -> dict[str, Any]:
    """Settings as ``{name: value}``, from words ``name=value``, from one text of such words, or from a mapping.

    Raises:
        InputError: a word that is none, or a name that is there twice.
    """
    if not given:
        return {}
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        try:
            words = shlex.split(given) if isinstance(given, str) else list(given)
        except ValueError as error:
            raise InputError(f"set: {short(given)}: {error}; expected such as epochs=30 rates='[0.5]*13'") from None
        pairs = []
        for word in words:
            name, equals, value = word.partition("=") if isinstance(word, str) else ("", "", "")
            if not equals or not name.strip():
                raise InputError(f"set: {short(word)} is no setting; expected such as epochs=30 lr=0.05, after the row")
            pairs.append((name, value))
    found: dict[str, Any] = {}
    for name, value in pairs:
        name = name.strip().lstrip("-").replace("-", "_") if isinstance(name, str) else name
        if not isinstance(name, str):
            raise InputError(f"set: {short(name)} is no name; expected such as epochs")
        if name in found:
            raise InputError(f"set: {short(name)} is there twice; expected once")
        found[name] = value
    return found


def read_value(name: str, kind: str, value: Any, allowed: str = "") -> Any:
    """``value``, a text or already of its type, as the ``kind`` that a field is annotated with.

    Args:
        allowed: what it may be, in words, for the message.

    Raises:
        InputError: it is none.
    """
    optional, kind = kind.endswith(" | None"), kind.removesuffix(" | None")
    text = value.strip() if isinstance(value, str) else value
    if optional and (text is None or (isinstance(text, str) and text.lower() in ("none", "null", "all"))):
        return None
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    if kind.startswith("tuple"):
        if isinstance(text, str):
            text = [part for part in re.split(r"[,\s]+", text.strip("[]()")) if part]
        if isinstance(text, int | float):
            text = [text]
        if isinstance(text, list | tuple) and len(text) <= 1000:
            return tuple(read_value(name, "float", part) for part in text)
        raise InputError(f"set: {name} is {short(value)}; expected numbers, such as [0.5,0.75]")
    if kind == "bool":
        said = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(text).lower())
        if said is not None and isinstance(text, str | bool | int):
            return said
    elif kind == "int":
        if isinstance(text, str) and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
            return int(text)
        if type(text) is int and abs(text) < 10**18:
            return text
    elif kind == "float":
        if isinstance(text, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.I):
            text = float(text)
        if not isinstance(text, str | bool) and isinstance(text, int | float) and abs(text) < 2.0**1000:
            return float(text)
    elif isinstance(text, str) and len(text) <= 20_000:
        return text
    expected = [words[kind], *([allowed] if allowed else []), *(["or none"] if optional else [])]
    raise InputError(f"set: {name} is {short(value)}; expected {', '.join(expected)}")


def to_words(settings: Mapping[str, Any]) -> list[str]:
    """``settings`` as they are written after ``--set``, by name: ``["epochs=1", "nesterov=true"]``."""

    def text(value) -> str:
        if isinstance(value, list | tuple):
            return f"[{','.join(map(text, value))}]"
        return str(value) if isinstance(value, str) else json.dumps(value)  # true, null, 0.05

    return [f"{name}={text(settings[name])}" for name in sorted(settings)]
