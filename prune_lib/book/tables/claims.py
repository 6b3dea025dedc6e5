"""The papers' comparative claims, judged by contrasts between records at one recipe.

The contrasts of one claim are judged together: so the chance that any of them is told apart where there is nothing to
tell is 5 % for each claim, and not for all claims together.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from ...papers.rows import get_row, papers, table_short
from ...system.errors import InputError
from ...system.reading import from_yaml
from .contrasts import CANNOT_TELL, NOT_TESTED, Contrast, holm, load_contrast
from .table import Grid
from .verdict import CONTRADICTED, SUPPORTED


@dataclass(frozen=True)
class Claim:
    id: str
    text: str
    source: str
    contrasts: tuple[Contrast, ...]

    @property
    def verdict(self) -> str:
        """Supported if every tested contrast is, contradicted if any is; else what cannot be told."""
        verdicts = {contrast.verdict for contrast in self.contrasts} - {NOT_TESTED}
        if not verdicts:
            return NOT_TESTED
        if CONTRADICTED in verdicts:
            return CONTRADICTED
        return SUPPORTED if verdicts == {SUPPORTED} else CANNOT_TELL


@dataclass(frozen=True)
class Claims:
    claims: Sequence[Claim]

    @property
    def contrasts(self) -> list[Contrast]:
        return [contrast for claim in self.claims for contrast in claim.contrasts]

    @property
    def grid(self) -> Grid:
        """A line for each claim, and its verdict."""
        cells = [["Claim", "Made by", "Contrasts with seeds enough", "Verdict"]]
        for claim in self.claims:
            tested = sum(contrast.verdict != NOT_TESTED for contrast in claim.contrasts)
            cells.append([claim.text, claim.source, f"{tested} of {len(claim.contrasts)}", claim.verdict])
        return Grid(
            cells,
            "What the papers claim by comparison, in our words, and what can be said of it at equal recipe.",
            prose=True, ids=[claim.id for claim in self.claims], filters=["Verdict"], download="claims",
        )  # fmt: skip

    @property
    def differences(self) -> Grid:
        """A line for each contrast: how much better one row is than the other, and what can be told of it."""
        cells, ids = [["Claim", "Contrast", "Difference", "Seeds", "p, by Holm", "Verdict", "Would decide"]], []
        for claim in self.claims:
            for number, contrast in enumerate(claim.contrasts, 1):
                more = contrast.more_seeds
                cells.append([
                    claim.id.replace("_", " "), contrast.title, contrast.shown, str(len(contrast.seeds) or "–"),
                    "–" if contrast.verdict == NOT_TESTED else f"{contrast.holm:.3f}", contrast.verdict,
                    f"about {more} more seed{'s' * (more > 1)}" if more else "–",
                ])  # fmt: skip
                ids.append(f"{claim.id}/{number}")
        tested = sum(contrast.verdict != NOT_TESTED for contrast in self.contrasts)
        return Grid(
            cells,
            "Differences of test top-1 at the last epoch, in percentage points, with 95 % intervals over paired seeds, "
            "each of one contrast alone; p and verdict are corrected by Holm over the contrasts of a claim. "
            f"{tested} contrasts have three seeds or more.",
            prose=True, ids=ids,
        )  # fmt: skip

    def __str__(self) -> str:
        """A paragraph for each claim: itself, where it is from, and a line for each contrast."""
        paragraphs = []
        for claim in self.claims:
            lines = [f"{claim.verdict.upper()}: {claim.text}", f"  {claim.source}"]
            lines += [f"  {c.title}: {c.shown} ({len(c.seeds)} seeds), {c.words()}" for c in claim.contrasts]
            paragraphs.append("\n".join(lines))
        return "\n\n".join([*paragraphs, self.differences.caption])

    def _repr_html_(self) -> str:
        return self.grid._repr_html_() + self.differences._repr_html_()

    def to_json(self) -> list[dict]:
        return [
            {
                "id": claim.id, "text": claim.text, "source": claim.source, "verdict": claim.verdict,
                "contrasts": [
                    asdict(c) | {"mean": c.mean, "half_width": c.half, "verdict": c.verdict} for c in claim.contrasts
                ],
            }
            for claim in self.claims
        ]  # fmt: skip


def load_claims(budget: str = "fast", text: str | None = None) -> Claims:
    """Every claim of ``papers/claims.yaml``, judged by the finished records of ``budget``.

    Args:
        text: other claims, as YAML.

    Raises:
        InputError: a claim that is not whole, or names a row that there is not.
    """
    judged = []
    for name, claim in _stated(text).items():
        contrasts = holm([load_contrast(fields, budget) for fields in claim["contrasts"]])
        judged.append(Claim(name, claim["text"], claim["source"], tuple(contrasts)))
    return Claims(judged)


def claims_of(paper: str, budget: str = "fast") -> list[Claim]:
    """The claims that name a paper, as ``cdp``, as their source: by its short name, or by that before a colon."""
    about = papers()[paper]["paper"]
    names = {name for name in (about["short"], about["title"].partition(":")[0]) if len(name) < 20}
    told = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)))
    return [claim for claim in load_claims(budget).claims if told.search(claim.source)]


def _stated(text: str | None) -> dict:
    text = text or (files("prune_lib") / "papers" / "claims.yaml").read_text(encoding="utf-8")
    document = from_yaml(text, "claims.yaml")
    claims = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(claims, dict):
        raise InputError("claims.yaml: no claims in it; expected a mapping from names to claims")
    for name, claim in claims.items():
        if not isinstance(claim, dict) or set(claim) != {"text", "source", "contrasts"} or not claim["contrasts"]:
            raise InputError(f"claims.yaml, {name}: expected text, source and contrasts")
        for fields in claim["contrasts"]:
            if not isinstance(fields, dict) or not {"of", "than"} <= set(fields) <= {"of", "than", "within"}:
                raise InputError(f"claims.yaml, {name}: a contrast is {fields!r}; expected of, than and perhaps within")
    return claims


def verdicts(budget: str = "fast") -> Sequence[Sequence[str]]:
    """The claims that were tested, a line for each: where it is made, what was measured, and the verdict.

    A claim's contrasts stand below each other, those that are told in bold, and the table that all share before them.
    """
    cells = [["Claim", "Made by", "Measured here, points of top-1", "Verdict"]]
    for claim in load_claims(budget).claims:
        tested = [c for c in claim.contrasts if c.verdict != NOT_TESTED]
        if tested:
            tables = {get_row(row).table for c in tested for row in (c.of, c.than)}
            shared = [f"{table_short(tables.pop())}:"] if len(tables) == 1 else []
            lines = [_measured(c, c.rows if shared else c.title) for c in tested]
            cells.append([claim.text, claim.source, "<br>".join([*shared, *lines]), claim.verdict])
    return cells


def _measured(contrast: Contrast, title: str) -> str:
    """``L1 − random +0.33 ± 0.54``, the figure in bold where it is told."""
    shown = "the same weights" if contrast.same else contrast.shown.replace("-", "−")
    shown = shown.replace(" ", "\N{NO-BREAK SPACE}")  # a figure stays on one line
    told = contrast.verdict in (SUPPORTED, CONTRADICTED)
    return f"{title.replace(' against ', ' − ')} {'**' * told}{shown}{'**' * told}"
