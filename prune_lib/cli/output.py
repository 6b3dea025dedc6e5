"""Output for terminals that cannot show every character: no command may fail because of a dash."""

import codecs
import sys
import unicodedata

PLAIN = {"–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "·": "-", "’": "'", "‘": "'", "“": '"', "”": '"'}
HANDLER = "prune-plain"  # its name among those of ``codecs``


def plain(text: str) -> str:
    """``text`` in ASCII: dashes, quotes and dots by their like, letters without their accents, the rest as ``?``."""
    parts = unicodedata.normalize("NFKD", "".join(PLAIN.get(c, c) for c in text))
    return "".join(c if c.isascii() else "?" for c in parts if not unicodedata.combining(c))


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def never_refuse() -> None:
    """Have stdout and stderr take any text, whatever encoding the environment gave them."""
    codecs.register_error(HANDLER, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=HANDLER)
