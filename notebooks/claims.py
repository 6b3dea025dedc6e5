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
# lengths. Here both sides of a comparison have the same recipe, images and seeds: CIFAR-10, 45,000 images for training and
# 5,000 held out, the budget `fast` (18 epochs for ResNet-20, 4 after pruning a trained one). The recipe is chosen by
# held-out images among the tries at the end of this page.
#
# A difference is that of test top-1 at the last epoch, seed by seed. Its interval is Student's t over the seeds. *Supported
# here* means that every tested contrast is above zero, corrected by Holm for the several contrasts of the claim; *cannot
# tell* says how small a difference could have been seen, and how many more seeds would decide. Below three seeds nothing
# is judged. Where three do not decide, seeds 3 and 4 are added to both sides, in that order and no further; the interval is
# not corrected for having looked before. A verdict holds for this setting and says nothing about another.

# %% tags=["parameters", "hide-input"]
judged = "fast"  # the budget whose records are judged

# %% tags=["remove-input"]
from prune_lib.book.site.notebook import check_parameters

check_parameters(globals(), judged=("fast",))

# %% tags=["hide-input"]
from prune_lib.book.tables.claims import NOT_TESTED, league_grid, load_claims, worth_of_test_selection

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

tested = [contrast for contrast in claims.contrasts if contrast.verdict != NOT_TESTED]
names = [f"{contrast.of.split('/', 1)[1]} – {contrast.than.split('/', 1)[1]}" for contrast in tested]
captioned(
    forest(names, tested) if tested else None,
    "The contrasts that were tested: mean difference of test top-1 in percentage points, and its 95 % interval.",
)

# %% [markdown]
# ## League tables
#
# Each criterion on the same trained ResNet-20s: first at widths that are the same for all, so that only the choice of
# filters differs; then at widths that follow from its own scores. The last one is of networks trained from scratch.

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from prune_lib.book.tables.claims import LEAGUES
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
worth_of_test_selection(judged)

# %% [markdown]
# ## How the recipe was chosen
#
# Tries of the dense ResNet-20 alone, one seed each; the column *held out* decided, and test images did not.

# %% tags=["hide-input"]
from prune_lib.book.tables.claims import tries_grid

tries_grid("arena/tries", judged)
