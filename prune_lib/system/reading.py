"""YAML and JSON from outside, as plain data: nothing in it is run, and whatever is wrong is told in one line."""

import json
import re
from pathlib import Path

from .errors import InputError

DEEPEST = 100  # nests of a YAML document; ours have 7
LARGEST = 64 * 2**20  # bytes of a file of settings or figures; the longest curves that were ever recorded take 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", re.ASCII)  # a part of a name that becomes a folder


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        InputError: no such file, not a file, not UTF-8, or more than 64 MiB.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"{path}: more than {LARGEST >> 20} MiB; expected a file of text")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}; expected a file of text") from None
    except ValueError:
        raise InputError(f"{str(path)!r} is no name that a file can have") from None


def from_yaml(text: str, where: str) -> object:
    """What a YAML document holds, as plain data: tags that would make objects are refused.

    Raises:
        InputError: it is not YAML; ``where`` begins the message.
    """
    import yaml

    try:
        loader, depth = getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0  # libyaml's, where PyYAML was built with it
        for event in yaml.parse(text, loader):  # libyaml's composer calls itself for each nest, and has no limit
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise RecursionError
        return loader(text).get_single_data()
    except Exception as error:  # besides YAMLError: dates that are none, numbers that are none
        raise InputError(f"{where}: not YAML ({_reason(error)})") from None


def from_json(text: str | bytes, where: str) -> object:
    """What a JSON document holds. ``NaN`` and infinities are not JSON.

    Raises:
        InputError: it is not JSON; ``where`` begins the message.
    """

    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({_reason(error)})") from None


def check_name(name: object, where: str) -> str:
    """``name``, if it can be a folder's: letters, digits and ``_ . + -`` after a letter or digit, 100 at most.

    Raises:
        InputError: it cannot.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        from .errors import short

        raise InputError(f"{where}: {short(name)} is no name; expected letters, digits and _ . + - (100 at most)")
    return name


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
