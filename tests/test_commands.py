"""Each command that a paper publishes has one of ours beside it, which the command line takes."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from prune_lib.book.tables import commands
from prune_lib.cli.parser import _parser
from prune_lib.papers.rows import all_commands, get_row
from prune_lib.runs.settings import changed

ROOT = Path(__file__).resolve().parent.parent
OURS = [(paper, command["ours"]) for paper, some in all_commands().items() for command in some]


def _words(ours):
    """Without what starts several processes."""
    words = shlex.split(ours)
    return words[words.index("prune_lib" if "prune_lib" in words else "prune") + 1 :]


@pytest.mark.parametrize(("paper", "ours"), OURS)
def test_our_command_is_one(paper, ours):
    if ours.startswith("sh tools/"):
        script, row = ROOT / shlex.split(ours)[1], shlex.split(ours)[4]
        assert os.access(script, os.X_OK)
        assert get_row(row).id.startswith(paper)
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
        return
    args = _parser().parse_args(_words(ours))
    if hasattr(args, "row"):
        row = get_row(args.row)
        assert row.id.startswith(paper)
        if hasattr(args, "set"):
            assert not row.why_not(args.budget, weights=bool(args.weights))
            own = changed(row, args.budget, args.set)
            assert (own is not row) == bool(args.set)


def test_every_papers_commands_are_shown_in_its_chapter():
    texts = {path.stem: path.read_text() for path in (ROOT / "notebooks").glob("*.py")}
    for paper, some in all_commands().items():
        assert any(f'commands("{paper}")' in text and paper in stem for stem, text in texts.items()), paper
        shown = str(commands(paper))
        assert all(command["published"] in shown and command["ours"] in shown for command in some)
    assert set(all_commands()) == {"cdp", "cfdp", "dcff", "filterexpo", "mmrazor"}
