"""What a user sets otherwise than a row has it: ``--set epochs=30 lr=0.05`` of its recipe, method and execution.

A row that was changed is the user's own. Its id begins with ``own/``, its key has the settings, and its records are
kept apart: no table, verdict or claim takes them.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..papers.methods import METHODS, make_method
from ..papers.options import options_of
from ..papers.published import ALIASES, aliases_of
from ..papers.recipe import Recipe, allowed, meanings
from ..papers.rows import BUDGETS, Row, get_row
from ..system.errors import InputError, short
from ..system.words import Given, read_given, read_value, to_words
from ..tasks import SETS, metric_of
from .execution import RANGES as OF_EXECUTION
from .execution import Execution

ONE_OF = {"cdp": ("sparsity", "flops"), "filterexpo": ("sparsity", "macs")}  # options of which one says the budget
BESIDE = "beside --set, or set in Python and notebooks"
ELSEWHERE = {  # what is no setting, and where it is said
    **{
        name: f"--{name.replace('_', '-')} {BESIDE}"
        for name in ("budget", "seed", "seeds", "device", "weights", "units")
    },
    **dict.fromkeys(("data_dir", "data_path", "dataroot"), f"--data-dir {BESIDE}"),
    **dict.fromkeys(("pretrained_dir", "pretrain_dir"), f"--weights {BESIDE}"),
    "gpus": f"--device {BESIDE}",
    "resume": "nothing: the same command goes on where it was interrupted",
    "evaluate": "'prune eval ROW --weights FILE'",
}


@dataclass(frozen=True)
class Setting:
    """A field that can be set: ``kind`` is its type as annotated, ``default`` the row's own value where it has one."""

    part: str  # row, recipe, method or execution
    kind: str
    default: Any
    meaning: str
    allowed: str = ""  # in words
    published: tuple[str, ...] = ()  # other names, as the papers' commands have them


def settings_of(row: Row, budget: str | None = None) -> dict[str, Setting]:
    """``{name: setting}`` of all that can be set of ``row``; defaults are its own, a recipe's those at ``budget``."""
    if not row.method:
        return {}
    name = row.method["name"]
    recipe = row.recipes[budget] if budget else Recipe()
    found = {}
    if not row.finds_widths:
        compact = row.rates and "".join(row.rates.split())
        found["rates"] = Setting("row", "str", compact, "the rates of its layout's groups, as the papers write them")
    for field, about in meanings().items():
        of = " ".join(known for known in SETS if metric_of(known) == metric_of(row.data)) if field == "data" else ""
        words = f"one of: {of}" if of else allowed(field)
        found[field] = Setting("recipe", _kinds(Recipe)[field], getattr(recipe, field), about["meaning"], words)
    for field, option in options_of(name).items():
        default = row.method.get(field, option.default)
        found[field] = Setting("method", option.kind, default, option.meaning)
    for field, about in meanings(Execution).items():
        words = OF_EXECUTION.get(field, "")
        found[field] = Setting("execution", _kinds(Execution)[field], about["default"], about["meaning"], words)
    return {
        field: replace(setting, published=tuple(a for a, alias in aliases_of(name).items() if alias.to == field))
        for field, setting in found.items()
    }


def _kinds(of: type) -> dict[str, str]:
    return {f.name: f.type.__name__ if f.type in (int, float, str, bool) else str(f.type) for f in fields(of)}  # type: ignore[arg-type, union-attr]


def changed(row: Row | str, budget: str, given: Given) -> Row:
    """``row`` at ``budget`` with what is ``given`` set, as a row of the user's own; ``row`` if nothing changes.

    Args:
        given: ``["epochs=30", "lr=0.05"]``, ``"epochs=30 lr=0.05"`` or ``{"epochs": 30, "lr": 0.05}``; names are those
            of ``settings_of``, or of the papers' commands.

    Raises:
        InputError: an unknown row, budget or name, or a value that the field cannot have: which, and what it may be.
    """
    row = get_row(row) if isinstance(row, str) else row
    if not (read := read_given(given)):
        return row
    row = get_row(row.runs_of) if row.runs_of else row
    if budget not in BUDGETS:
        raise InputError(f"unknown budget {budget!r}; expected one of: {' '.join(BUDGETS)}")
    if budget not in row.recipes:
        raise InputError(f"{row.id} {row.why_not(budget)}")
    known = settings_of(row, budget)
    try:
        return _changed(row, budget, known, _canonical(row, budget, known, read))
    except InputError as error:
        raise InputError(f"{row.called}: {error}") from None


def changed_rows(rows: Sequence[Row], budget: str, given: Given) -> list[Row]:
    """Rows of one comparison, each ``changed`` by those of the settings that it has; as they are if nothing is given.

    ``rates`` are not for a row of which nothing is pruned: it stays the full network beside the others.

    Raises:
        InputError: as ``changed``, or a setting that none of the rows has.
    """
    read = read_given(given)
    mine = [{name: value for name, value in read.items() if _has(row, name)} for row in rows]
    for name, value in read.items():
        if not any(name in some for some in mine):
            for row in rows:  # the first says why
                changed(row, budget, {name: value})
            raise InputError(f"set: {name} is for none of these rows, of which nothing is pruned")
    return [changed(row, budget, some) for row, some in zip(rows, mine, strict=True)]


def _has(row: Row, name: str) -> bool:
    known = settings_of(row)
    aliases = aliases_of(row.method["name"]) if known else {}
    ours = name if name in known or name not in aliases else aliases[name].to
    return ours in known and (ours != "rates" or row.pruned)


def _canonical(row: Row, budget: str, known: Mapping[str, Setting], read: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, by our names and of the fields' types; of what is already so, nothing."""
    aliases = aliases_of(row.method["name"])
    values: dict[str, Any] = {}
    said: dict[str, str] = {}  # our name -> the name that was read
    for name in sorted(read, key=lambda name: name in aliases and bool(aliases[name].convert)):  # epochs come first
        alias = aliases.get(name) if name not in known else None
        ours = alias.to if alias else name
        if ours not in known:
            raise InputError(_unknown(name, row, known))
        if ours in values:
            raise InputError(f"set: {said[ours]} and {name} are the same; expected one of them")
        value = read[name]
        if alias and alias.convert:
            epochs = values.get("epochs", row.recipes[budget].epochs)
            value = alias.convert(value, row, epochs)
        values[ours], said[ours] = read_value(name, known[ours].kind, value, known[ours].allowed), name
    if "rates" in values:
        values["rates"] = "".join(values["rates"].split())
    return {name: value for name, value in values.items() if value != known[name].default}


def _unknown(name: str, row: Row, known: Mapping[str, Setting]) -> str:
    """What is wrong with a name that no field of ``row`` has."""
    if name in ELSEWHERE:
        return f"set: {name} is no setting; expected {ELSEWHERE[name]}"
    ours = ALIASES[name].to if name in ALIASES else name
    if ours == "rates":
        return f"set: {row.method['name']} finds the widths itself, so it takes no {name}"
    theirs = [method for method in METHODS if ours in options_of(method) and name in {ours, *aliases_of(method)}]
    if theirs and name not in known:
        return f"set: {name} is for {' '.join(theirs)}; {row.of or row.id} is of {row.method['name']}"
    names = [*known, *(alias for alias, to in aliases_of(row.method["name"]).items() if to.to in known)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or ["epochs", "lr"]
    return f"set: unknown setting {short(name)}; expected such as {' '.join(near)} ('prune show {row.of or row.id}')"


def _changed(row: Row, budget: str, known: Mapping[str, Setting], values: dict[str, Any]) -> Row:
    """The user's own row; every value is checked as the part that has it checks its own."""
    if not values:
        return row
    parts: dict[str, dict[str, Any]] = {part: {} for part in ("row", "recipe", "method", "execution")}
    for name, value in values.items():
        parts[known[name].part][name] = value
    recipe = replace(row.recipes[budget], **parts["recipe"])
    if "data" in parts["recipe"]:
        _check_data(row, recipe.data)
    Execution(**parts["execution"])
    changes: dict[str, Any] = {"recipes": {budget: recipe}}
    if parts["method"]:
        changes["method"] = _method(row, parts["method"])
    if parts["row"]:
        if row.given is not None:
            raise InputError("set: both rates and units; expected one of them")
        changes |= {"rates": parts["row"]["rates"], "unknown": ""}
    own = row.with_settings(dict(sorted({**row.settings, **values}.items())), **changes)
    if parts["row"]:
        _ = own.widths
    return own


def _method(row: Row, options: dict[str, Any]) -> dict[str, Any]:
    """The row's method with these ``options``; of two that exclude each other, the one that was set."""
    from ..nets import arch_of

    name, others = row.method["name"], ONE_OF.get(row.method["name"], ())
    before = {n: v for n, v in row.method.items() if not (n in others and n not in options and options.keys() & others)}
    method = {**before, **options}
    make_method(name, arch_of(row.arch), **{n: v for n, v in method.items() if n != "name"})
    return method


def _check_data(row: Row, data: str) -> None:
    of = [name for name in SETS if metric_of(name) == metric_of(row.data)]
    if data not in of:
        raise InputError(f"set: data is {short(data)}; expected one of: {' '.join(of)}")


def execution(row: Row, given: Mapping[str, Any]) -> dict[str, Any]:
    """How to carry a run out: as ``given``, by the fields of ``Execution``, and as the settings of ``row`` have it.

    Raises:
        InputError: a field that both say, and say otherwise.
    """
    default = vars(Execution())
    mine = {name: value for name, value in row.settings.items() if name in default}
    for name, value in mine.items():
        if given.get(name, default[name]) not in (default[name], value):
            raise InputError(f"{name} is {short(given[name])}, and {short(value)} by set; expected one of them")
    return {**given, **mine}


def listing(row: Row) -> list[list[str]]:
    """What can be set besides a recipe's fields, in words: name, the row's value, what it may be, meaning."""
    lines = []
    for name, setting in settings_of(row).items():
        if setting.part != "recipe":
            value = to_words({name: setting.default})[0].partition("=")[2]
            lines.append([name, value, setting.allowed or setting.kind, setting.meaning])
    return lines


def published(row: Row) -> list[list[str]]:
    """The names that the papers' commands have for what can be set of ``row``: theirs, ours, and how they differ."""
    known = settings_of(row)
    aliases = aliases_of(row.method["name"]) if known else {}
    return [[name, alias.to, alias.says] for name, alias in aliases.items() if alias.to in known and name not in known]
