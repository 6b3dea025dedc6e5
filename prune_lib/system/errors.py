"""The one exception a user can cause: its message is one clear line, and the command line ends with exit code 2."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 8000  # characters of a message: the longest list of what was expected fits, a hostile name does not


class InputError(ValueError):
    """Bad input: the message says what is wrong, where, and what would be right. It is one line, whatever it quotes."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))


class DataMissing(InputError):
    """The image set is not where it was looked for; all else may be right."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Within this block, imports come from an extra of this package.

    Raises:
        InputError: it is not installed; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; it comes with the extra {extra}: pip install 'prune_lib[{extra}]'"
        ) from None


def one_line(text: str) -> str:
    """``text`` on one line, with control and invisible characters written as escapes."""
    text = re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*", " ", text)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1000]} … {text[-900:]}"
    shown = (c if c == " " or unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown).strip()


def short(value: object, longest: int = 100) -> str:
    """``repr(value)`` of something from a file, cut short without first being written out: nests can be bombs."""
    from reprlib import Repr

    brief = Repr()
    brief.maxlevel, brief.maxstring, brief.maxother, brief.maxlong = 2, longest, longest, longest
    try:
        return brief.repr(value)
    except ValueError:  # a number of more digits than Python will print
        return f"a {type(value).__name__} too long to print"
