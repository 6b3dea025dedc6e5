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
# # Errata
#
# Every reported figure that does not follow from its own source, found by computing it: nothing here was typed in but
# the last table, which says so. A mistake in a table is no judgement on a method. It is a reason to state the rule.

# %% tags=["parameters", "hide-input"]
kind = ""  # show one kind of entry only, named by how it begins; empty: all

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), kind=str)

# %% tags=["hide-input"]
from prune_lib.book.tables.errata import Errata, errata

found = Errata([entry for entry in errata().entries if entry.kind.startswith(kind)])
print(f"{len(found)} entries")

# %% [markdown]
# (same-network)=
# ## All of them

# %% tags=["hide-input"]
found
