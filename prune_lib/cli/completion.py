"""Shell completion, written from the parser itself: ``source <(prune completion bash)``, or zsh."""

import argparse
from collections.abc import Callable, Iterable

from ..nets import ARCHS
from ..papers.rows import BUDGETS, RULE_NAMES, all_rows
from ..tasks import DENSE

SHELLS = ("bash", "zsh")
FILES, FOLDERS = "<file>", "<folder>"  # what the shell knows itself
WORDS: dict[str, Callable[[], Iterable[str]]] = {  # what an argument, by its name in the parser, may be
    "arch": lambda: ARCHS,
    "row": lambda: all_rows(),
    "rows": lambda: all_rows(),
    "table": lambda: dict.fromkeys(row.table for row in all_rows().values()),
    "budget": lambda: BUDGETS,
    "rule": lambda: (*RULE_NAMES, "all"),
    "device": lambda: ("auto", "cpu", "cuda"),
    "engine": lambda: ("eager", "graph", "compile"),
    "layout": lambda: dict.fromkeys(name for arch in ARCHS.values() for name in arch.layouts),
    "to": lambda: ("onnx", "pt2", "safetensors"),
    **dict.fromkeys(("name", "data"), lambda: ("cifar10", "digits", "imagenet", "imagenet-sample", *DENSE)),
    "data_dir": lambda: (FOLDERS,),
    **dict.fromkeys(("weights", "units", "file", "out"), lambda: (FILES,)),
}


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What ``shell`` is to read: a function that knows every command, its options and what these may be.

    zsh runs the same function through its own ``bashcompinit``.
    """
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    options, values, places = [], [], []
    for name, sub in commands.items():
        actions = [action for action in sub._actions if action.option_strings]
        options.append(_case(name, [word for action in actions for word in action.option_strings]))
        for action in actions:
            if action.nargs != 0:
                values += [_case(f"{name} {word}", _words(action)) for word in action.option_strings]
        positional = [action for action in sub._actions if not action.option_strings]
        places += [_case(f"{name} {number}", _words(action)) for number, action in enumerate(positional)]
    own = [word for action in parser._actions for word in action.option_strings]
    lines = _BASH.replace("@COMMANDS@", " ".join([*commands, *own])).replace("@OPTIONS@", "\n".join(options))
    lines = lines.replace("@VALUES@", "\n".join(values)).replace("@PLACES@", "\n".join(places))
    return f"{_ZSH}{lines}" if shell == "zsh" else lines


def _words(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    return list(WORDS.get(action.dest, tuple)())


def _case(pattern: str, words: Iterable[str]) -> str:
    return f"        '{pattern}') echo '{' '.join(words)}' ;;"


_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
autoload -Uz bashcompinit && bashcompinit
"""
_BASH = """\
# Completion of prune, written by 'prune completion'.
_prune_options() {
    case "$1" in
@OPTIONS@
    esac
}
_prune_values() {
    case "$1 $2" in
@VALUES@
        *) return 1 ;;
    esac
}
_prune_places() {
    case "$1 $2" in
@PLACES@
    esac
}
_prune() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" name="${COMP_WORDS[1]}"
    local words='' place=0 i each
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='@COMMANDS@'
    elif words="$(_prune_values "$name" "$before")"; then
        :
    elif [ "${word#-}" != "$word" ]; then
        words="$(_prune_options "$name")"
    else
        for ((i = 2; i < COMP_CWORD; i++)); do
            if [ "${COMP_WORDS[i]#-}" != "${COMP_WORDS[i]}" ]; then
                _prune_values "$name" "${COMP_WORDS[i]}" > /dev/null && i=$((i + 1))
            else
                place=$((place + 1))
            fi
        done
        words="$(_prune_places "$name" "$place")"
    fi
    case "$words" in
        '<file>') local IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$word")) ;;
        '<folder>') local IFS=$'\\n'; COMPREPLY=($(compgen -d -- "$word")) ;;
        *)  # not by compgen, which in zsh lets every word through
            for each in $(echo "$words"); do
                case "$each" in "$word"*) COMPREPLY+=("$each") ;; esac
            done ;;
    esac
}
complete -o filenames -F _prune prune
"""
