"""What a paper's own test file says of its rows, for the tests of all rows: a new paper needs no line in theirs."""

from importlib import import_module
from importlib.util import find_spec

from prune_lib.papers.rows import papers


def brought(name: str) -> dict:
    """``name`` (``EXACT``, ``DIFFER`` or ``CLAIMS``) of every ``test_<paper>.py`` that has one, in one dict."""
    found: dict = {}
    for paper in papers():
        if find_spec(f"test_{paper}"):
            found |= getattr(import_module(f"test_{paper}"), name, {})
    return found
