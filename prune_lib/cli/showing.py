"""Commands about what papers print and records say: ``rows show table results claims errata review``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..system.errors import InputError, short


def rows(args) -> None:
    from ..papers.rows import all_rows

    if args.json:
        print(json.dumps([row.to_json() for row in all_rows().values()]))
        return
    print(f"{'row':32} {'FLOPs':>9} {'params':>8} {'top-1':>7}  source")
    for row in all_rows().values():
        printed = (row.reported.get(figure, "–") for figure in ("flops", "params", "top1"))
        print("{:32} {:>9} {:>8} {:>7}  {}".format(row.id, *printed, row.source))


def show(args) -> None:
    from ..book.tables.table import recount
    from ..papers.recipe import meanings
    from ..papers.rows import get_row
    from ..runs.settings import listing, published, settings_of

    row, explained = get_row(args.row), meanings()
    counted, settings = recount(row), settings_of(row)
    if args.json:
        listed = {name: asdict(setting) for name, setting in settings.items()}
        print(json.dumps({**row.to_json(), "recounted": counted, "fields": explained, "settings": listed}))
        return
    method = " ".join(f"{name}={value}" for name, value in row.method.items())
    facts = {
        "row": row.id, "title": f"{row.title}, {row.dataset}", "network": row.arch or "not in this library",
        "rates": row.rates or row.unknown or "nothing is pruned", "layout": row.layout, "rule": row.rule,
        "method": method or "not trained here", "starts from": row.start, "source": row.source, "note": row.note,
    }  # fmt: skip
    print("\n".join(f"{name + ':':12} {value}" for name, value in facts.items() if value))
    print(f"\n{'figure':12} {'reported':>14} {'recounted':>16}")
    for figure in dict.fromkeys([*row.reported, *counted]):
        value = counted.get(figure)
        exact = "–" if value is None else f"{value:.2f}%" if figure.endswith("_cut") else f"{value:,}"
        print(f"{figure:12} {row.reported.get(figure, '–'):>14} {exact:>16}")
    if row.recipes:
        given = {budget: asdict(recipe) for budget, recipe in row.recipes.items()}
        print(f"\n{'recipe':16}{''.join(f'{budget:>12}' for budget in given)}{'default':>12}  meaning")
        for name, about in explained.items():
            values = [str(recipe[name]) for recipe in given.values()] + [str(about["default"])]
            allowed = f" ({settings[name].allowed})" if settings[name].allowed else ""
            print(f"{name:16}{''.join(f'{value:>12}' for value in values)}  {about['meaning']}{allowed}")
        print(f"\n{'method, machine':16}{'this row':>24}  meaning")
        for name, value, kind, meaning in listing(row):
            print(f"{name:16}{value if len(value) < 24 else 'as above':>24}  {meaning} ({kind})")
        print(f"\n{'published':22} here")
        for theirs, ours, says in published(row):
            print(f"{theirs:22} {ours}{f', {says}' if says else ''}")
        print(f"\nEach of these can be set: prune run {row.id} --set epochs=1 lr=0.05")


def table(args) -> None:
    from ..book.tables.table import load_table

    found = load_table(args.table)
    print(json.dumps(found.to_json()) if args.json else found)
    _say_without_records(args.table)


def _say_without_records(table: str) -> None:
    """On stderr, where the records of a table were looked for, if there are none: another folder may be meant."""
    from ..papers.rows import all_rows
    from ..runs.records import records
    from ..system.paths import home

    rows = [row for row in all_rows().values() if row.table == table]
    if not any(next(records(row), None) for row in rows):
        where = home() / "results"
        there = "" if where.is_dir() else ", which is not there"
        print(
            f"no records of {table} in {where}{there}: 'prune run' makes them; another project's are found by running "
            f"this in it, or by $PRUNE_HOME",
            file=sys.stderr,
        )


def results(args) -> None:
    from ..book.tables.results import load_results

    found = load_results(args.paper or "")
    if args.paper and not len(found):
        raise InputError(f"no rows of a paper called {short(args.paper)}; expected such as dcff ('prune rows')")
    print(json.dumps(found.to_json()) if args.json else found)


def claims(args) -> None:
    from ..book.tables.claims import load_claims

    judged = load_claims()
    print(json.dumps(judged.to_json()) if args.json else judged)


def errata(args) -> None:
    from ..book.tables.errata import errata as find

    found = find()
    print(json.dumps(found.to_json()) if args.json else found)


def review(args) -> None:
    from ..book.review import review as sheet
    from ..book.review import to_html, to_markdown

    formats = {"markdown": to_markdown, "html": to_html}
    if args.format not in formats:
        raise InputError(f"--format {short(args.format)}; expected one of: {' '.join(formats)}")
    found = sheet(args.paper)
    text = f"{json.dumps(found.to_json())}\n" if args.json else formats[args.format](found)
    if args.out:
        from ..system.files import write_text

        write_text(Path(args.out), text)
    else:
        print(text, end="")
