"""Links from a table or a figure to what it was made of: the records of runs, and their rows among all results."""

import html
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from ...papers.rows import TRIALS, all_rows
from ...runs.records import Run

SHOWN = 4  # records that a caption names; more are folded


def record_files(records: Iterable[Mapping]) -> dict[str, str]:
    """``{path below results/: what to call it}`` of the records that the book serves.

    Those of trials and of a user's own rows are left out: no edition keeps them.
    """
    found = {}
    for record in records:
        row = all_rows().get(record["row"])
        if row is None or record["budget"] in TRIALS:
            continue
        run = Run(row, record["budget"], record["seed"], record["key"])
        for path in run.files[:1]:
            found[f"{row.runs}/{path.name}"] = f"{row.id}, {run.budget}, seed {run.seed}"
    return found


def links(records: Iterable[Mapping] = (), table: str = "", download: str = "") -> str:
    """What stands behind a caption, as HTML: its records, and its rows on the results page; empty if there is neither.

    Args:
        records: the records that the figures come from.
        table: ``paper/table``, whose rows are meant.
        download: the name of its files among ``downloads``, as ``claims``.
    """
    files = [
        f'<a href="../results/{html.escape(file)}">{html.escape(name)}</a>'
        for file, name in record_files(records).items()
    ]
    said = []
    if files and len(files) <= SHOWN:
        said.append(f"Records: {'; '.join(files)}.")
    elif files:
        said.append(f"<details><summary>{len(files)} records</summary>{'<br>'.join(files)}</details>")
    if table:
        address = html.escape(f"results.html#{urlencode({'find': f'{table}/'})}")
        said.append(f'<a href="{address}">These rows among all results, with their records</a>.')
    if download:
        files = [f'<a href="../downloads/{download}.{kind}" download>{kind.upper()}</a>' for kind in ("csv", "json")]
        said.append(f"Download all of it: {', '.join(files)}.")
    return f' <span class="prune-links">{" ".join(said)}</span>' if said else ""
