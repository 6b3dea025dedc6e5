"""Shell completion, which shtab writes from the parser: ``source <(prune completion bash)``, or zsh."""

import argparse
from collections.abc import Callable, Iterable

from ..cost.rules import RULES
from ..nets import ARCHS
from ..papers.rows import BUDGETS, all_rows
from ..system.errors import InputError
from ..tasks import SETS

SHELLS = ("bash", "zsh")
FILES, FOLDERS = (
    ("weights", "units", "file", "out", "scores"),
    ("data_dir", "work_dir", "site"),
)  # arguments that the shell itself completes
WORDS: dict[str, Callable[[], Iterable[str]]] = {  # what an argument, by its name in the parser, may be
    "arch": lambda: ARCHS,
    "row": lambda: all_rows(),
    "rows": lambda: all_rows(),
    "table": lambda: dict.fromkeys(row.table for row in all_rows().values()),
    "paper": lambda: dict.fromkeys(row.id.split("/")[0] for row in all_rows().values()),
    "budget": lambda: BUDGETS,
    "rule": lambda: (*RULES, "all"),
    "device": lambda: ("auto", "cpu", "cuda"),
    "devices": lambda: ("cuda:0", "cuda:1", "cuda:2", "cuda:3", "cpu"),
    "papers": lambda: dict.fromkeys(row.id.split("/")[0] for row in all_rows().values()),
    "protocol": lambda: ("last", "selected", "test_best"),
    "engine": lambda: ("eager", "graph", "compile"),
    "precision": lambda: ("fp32", "tf32", "bf16", "fp16"),
    "layout": lambda: dict.fromkeys(name for arch in ARCHS.values() for name in arch.layouts),
    "to": lambda: ("onnx", "pt2", "safetensors"),
    **dict.fromkeys(("name", "data"), lambda: SETS),
}
SETUP = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\n"  # where zsh has nothing set up


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What ``shell`` is to read: it then knows every command, its options and what these may be.

    The parser is spent: what may be completed has become what it accepts.

    Raises:
        InputError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise InputError("completion needs shtab; expected after 'pip install shtab'") from None
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    for command in commands.values():
        for action in command._actions:
            if action.dest in WORDS:
                action.choices = list(WORDS[action.dest]())
            elif action.dest in FILES or action.dest in FOLDERS:
                action.complete = shtab.FILE if action.dest in FILES else shtab.DIRECTORY  # type: ignore[attr-defined]
    written = shtab.complete(parser, shell)
    if shell == "bash":
        return f"{written.rstrip()}\n"
    return SETUP + written.replace(
        "$zsh_eval_context[-1] == eval", "$zsh_eval_context[-1] == (eval|file)"
    )  # or sourced
