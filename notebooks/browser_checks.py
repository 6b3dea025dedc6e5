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
# # What a browser saw
#
# A test opens every page of this book in Chromium, 390 and 1300 pixels wide, light and dark, with the network shut: every
# picture must be drawn and have words for who cannot see it, every formula set, no request leave the book, nothing be
# said in the console, no page scroll sideways on a phone, and no text of a table or a box have a contrast below 4.5 to 1.
# What it found is kept, what failed included. `make test-browser` does it again, on the book that was built before, so
# that a new page enters this table one build later. It does not see a browser ask the host for an icon; the pages name
# one of their own, so that none is asked for.

# %% tags=["parameters", "remove-input"]
part = ""  # only pages whose name has this in it; empty: all

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), part=str)

# %% tags=["remove-input"]
from prune_lib.book.site.checks import load_checks

pages, explorer = load_checks(part)
pages

# %% [markdown]
# ## The explorer
#
# The same command opens {doc}`the explorer <explorer>` in JupyterLab, as `make lab` does, moves its sliders, and reads how
# long each change took:

# %% tags=["remove-input"]
explorer
