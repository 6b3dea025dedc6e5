# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every reported figure, recounted
#
# All tables of all papers, line by line: what the source prints, and what its own spec gives when it is counted again
# under the rule that the source uses. *Not public* means that the source does not say what the network is; then its full
# network is recounted, and a printed cut is held against the range that the printed figure leaves.

# %% tags=["parameters", "hide-input"]
paper = ""  # one paper, as dcff; empty: all

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), paper="paper")

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.tables import Grid, load_table
from prune_lib.papers import all_rows

names = dict.fromkeys(row.table for row in all_rows().values() if row.reported and row.id.startswith(paper))
tables = [load_table(name) for name in names]
verdicts = [line.count_verdict for table in tables for line in table.lines]
Grid(
    [["Verdict on the counts", "Rows"]]
    + [[verdict, str(verdicts.count(verdict))] for verdict in dict.fromkeys(verdicts)],
    f"{len(verdicts)} rows of {len(tables)} tables.",
)

# %% tags=["hide-input"]
from prune_lib.papers import table_title

for table in tables:
    display(Markdown(f"## {table_title(table.name)}"))
    display(table.parts[0])
    unknown = dict.fromkeys(line.row.unknown for line in table.lines if line.row.unknown)
    for reason in unknown:
        display(Markdown(f"*Not public:* {reason}"))
