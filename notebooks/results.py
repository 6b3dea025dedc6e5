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
# # All results
#
# Every row: what its source reports, what its published spec gives when it is counted again, what our own run gave, and
# the [verdict](/verdicts.md) on each. Rows with nothing reported are our own: baselines at the same widths, which no paper
# prints; their counts are those of the network that was run. A `short` accuracy shows that the line works, and cannot be
# compared with a reported one. The last column opens the run's own file: its curve, versions, hardware.

# %% tags=["parameters", "remove-input"]
paper = ""  # one paper, as dcff; empty: all
least = "short"  # the smallest budget whose records are shown: short or paper

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), paper="paper", least=("short", "paper"))

# %% tags=["remove-input"]
from prune_lib.book.tables import load_results

load_results(paper, least)
