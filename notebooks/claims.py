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
# # Claims, judged at equal recipe
#
# The papers claim by comparison: fusing beats training the small network, regrowing beats pruning alone, one criterion
# beats another. Their tables compare networks that were trained by different people, in different ways, for different
# lengths. Here every network has the same recipe, images and seeds, the budget `fast`: ResNet-20 on CIFAR-10 at half of its
# multiply-accumulates, at 30 % where a claim says so, 45,000 images for training and 5,000 held out, 18 epochs from
# scratch, or 18 in full and 4 after pruning. Where a contrast crosses the two, one side has these 4 epochs more, and its
# claim says so.
#
# A difference is that of test top-1 at the last epoch, seed by seed. Its interval is Student's t over the seeds, of that
# contrast alone. A claim is *supported here* if each of its tested contrasts is, *contradicted here* if any is, both
# corrected by Holm for the several contrasts of the claim, though not for there being several claims. Else it is *cannot
# tell*, with how small a difference could have been seen, and how many more seeds would decide. Below three seeds nothing
# is judged. Where three do not decide, seeds 3 and 4 are added, in that order and no further, to all that was pruned in the
# same way, also to rows whose contrast was told before; the verdict is that of all seeds. For having looked up to three
# times nothing is corrected: where the seeds end with the telling, a contrast with nothing to tell is told apart by chance
# in 10 % of cases and not in 5. A verdict holds for this setting and says nothing about another.

# %% tags=["parameters", "hide-input"]
judged = "fast"  # the budget whose records are judged

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), judged=("fast",))

# %% tags=["hide-input"]
from prune_lib.book.tables.claims import load_claims

claims = load_claims(judged)
claims.grid

# %% [markdown]
# ## Contrasts
#
# Each claim is tested by one or several differences between two rows.

# %% tags=["hide-input"]
claims.differences

# %% tags=["hide-input"] mystnb={"image": {"alt": "A point and an interval for each contrast, beside a line at zero"}}
from prune_lib.book.captions import captioned
from prune_lib.book.figures.forest import forest
from prune_lib.book.tables.contrasts import NOT_TESTED

tested = [contrast for contrast in claims.contrasts if contrast.verdict != NOT_TESTED]
names = [contrast.title.replace(" against ", " − ") for contrast in tested]
captioned(
    forest(names, tested) if tested else None,
    "The contrasts that were tested: mean difference of test top-1 in percentage points, and its 95 % interval.",
)

# %% [markdown]
# ## League tables
#
# Each criterion on the same trained ResNet-20s: first at widths that are the same for all, so that only the choice of
# filters differs; then at widths that follow from its own scores. The last one is of networks trained from scratch.
# *CDP, norms as published* masks filters and leaves their BatchNorms, whose shifts still reach the next layer: what it
# trains cannot be made smaller, and so its compact network has all of the multiply-accumulates.

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.tables.leagues import LEAGUES, league_grid
from prune_lib.papers import table_title

for table in LEAGUES:
    grid = league_grid(table, judged)
    if len(grid.cells) > 1:
        display(Markdown(f"### {table_title(table)}"), grid)

# %% [markdown]
# ## What "best epoch on the test set" is worth
#
# The papers report the epoch that is best on the test images. Over all runs of this budget that adds:

# %% tags=["hide-input"]
from prune_lib.book.tables.leagues import worth_of_test_selection

worth_of_test_selection(judged)

# %% [markdown]
# ## How the recipe was chosen
#
# First by tries of the dense ResNet-20 alone, one seed each; then the rate after pruning, for random filters and for L1
# alike. The column *held out* decided.

# %% tags=["hide-input"]
from prune_lib.book.tables.leagues import tries_grid

display(tries_grid("arena/tries", judged), tries_grid("arena/tune", judged))
