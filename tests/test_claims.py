"""Claims are judged by paired differences: on figures worked by hand, and on records that a test writes."""

import json
import sys
from pathlib import Path

import pytest
import torch

from prune_lib.book.tables import claims, contrasts, leagues
from prune_lib.book.tables.claims import Claim
from prune_lib.book.tables.contrasts import CANNOT_TELL, CONTRADICTED, NOT_TESTED, SUPPORTED, Contrast, holm
from prune_lib.papers.rows import get_row, table_rows
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def contrast(*differences, within=None):
    return Contrast("a", "b", "fast", within, tuple(range(len(differences))), differences)


def test_the_interval_is_student_s():
    one = contrast(1.0, 2.0, 3.0)
    assert one.mean == 2.0
    assert one.sd == 1.0
    assert one.half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t of 97.5 % with two degrees of freedom
    assert contrasts.p_value(one) == pytest.approx(0.0741799, rel=1e-5)  # t = 2 sqrt(3)


def test_a_difference_that_rounds_to_nothing_has_no_sign_of_loss():
    assert contrast(-0.001, 0.0, -0.001).shown == "+0.00 ± 0.00"


def test_equality_is_judged_by_two_one_sided_tests():
    one = contrast(0.1, 0.2, 0.3, within=0.5)
    t = (0.5 - 0.2) / (0.1 / 3**0.5)
    assert contrasts.p_value(one) == pytest.approx(2 * contrasts.tail(t, 2))
    assert holm([one])[0].verdict == SUPPORTED
    assert holm([contrast(0.1, 0.9, -0.5, within=0.5)])[0].verdict == CANNOT_TELL
    assert holm([contrast(-3.1, -3.0, -2.9, within=0.5)])[0].verdict == CONTRADICTED


def test_holm_corrects_the_smallest_most_and_never_falls(monkeypatch):
    ps = iter([0.01, 0.04, None, 0.03])
    monkeypatch.setattr(contrasts, "p_value", lambda contrast: next(ps))
    assert [c.holm for c in holm([contrast(1.0, 2.0, 3.0)] * 4)] == pytest.approx([0.03, 0.06, 1.0, 0.06])


def test_a_verdict_says_what_more_seeds_would_do():
    better, worse, unclear = holm([contrast(2.0, 2.1, 1.9), contrast(-2.0, -2.1, -1.9), contrast(0.5, -0.2, 0.3)])
    assert (better.verdict, worse.verdict, unclear.verdict) == (SUPPORTED, CONTRADICTED, CANNOT_TELL)
    assert unclear.words() == f"cannot tell (±0.90; about {unclear.more_seeds} more seeds)"
    n = 3 + unclear.more_seeds
    needed = [contrasts.quantile(0.975, k - 1) * unclear.sd / k**0.5 for k in (n, n - 1)]
    assert needed[0] < abs(unclear.mean) <= needed[1]
    assert {contrast(*differences).verdict for differences in ((), (1.0,), (1.0, 1.0))} == {NOT_TESTED}
    assert contrasts.p_value(contrast(1.0, 1.1)) is None


def test_more_seeds_are_told_with_the_correction_for_several_contrasts():
    """Alone this contrast is told apart; as one of two it must be at 2.5 %, and wants more seeds."""
    one = contrast(-1.5, -0.72, -1.05)
    (alone,), (first, _) = holm([one]), holm([one, contrast(0.5, -0.2, 0.3)])
    assert alone.verdict == CONTRADICTED
    assert (first.verdict, first.holm / first.p) == (CANNOT_TELL, pytest.approx(2))
    n = 3 + first.more_seeds
    needed = [contrasts.quantile(1 - 0.025 / 2, k - 1) * first.sd / k**0.5 for k in (n, n - 1)]
    assert needed[0] < abs(first.mean) <= needed[1]


def test_what_looking_after_three_four_and_five_seeds_costs_is_what_the_page_says():
    found = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(0))
    told = torch.zeros(len(found), dtype=torch.bool)
    for n in (3, 4, 5):
        some = found[:, :n]
        told |= some.mean(1).abs() / some.std(1) * n**0.5 > contrasts.quantile(0.975, n - 1)
    page = (ROOT / "notebooks" / "claims.py").read_text(encoding="utf-8")
    assert f"{100 * told.double().mean():.0f} % of cases and not in 5" in page


def test_a_claim_holds_only_if_each_contrast_does():
    better, worse, unclear = holm([contrast(2.0, 2.1, 1.9), contrast(-2.0, -2.1, -1.9), contrast(0.5, -0.2, 0.3)])

    def verdict(*contrasts):
        return Claim("c", "t", "s", contrasts).verdict

    assert verdict(better, contrast()) == SUPPORTED
    assert verdict(better, unclear) == CANNOT_TELL
    assert verdict(better, worse) == CONTRADICTED
    assert verdict(contrast()) == NOT_TESTED


def test_every_claim_names_rows_that_have_the_budget():
    for claim in claims.load_claims().claims:
        for one in claim.contrasts:
            rows = [get_row(one.of), get_row(one.than)]
            assert all("fast" in row.recipes for row in rows), one
            assert rows[0].recipes["fast"].heldout == rows[1].recipes["fast"].heldout == 5000
            assert rows[0].data == rows[1].data == "cifar10"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("claims: 3", "expected a mapping from names to claims"),
        ("claims: {a: {text: x}}", "claims.yaml, a: expected text, source and contrasts"),
        ("claims: {a: {text: x, source: y, contrasts: [3]}}", "a contrast is 3; expected of, than and perhaps within"),
        ("claims: {a: {text: x, source: y, contrasts: [{of: p/q/r, than: p/q/s}]}}", "unknown row 'p/q/r'"),
    ],
)
def test_a_mistake_in_the_claims_is_named(text, words):
    with pytest.raises(InputError, match=words):
        claims.load_claims(text=text)


def write(folder, row, seed, last, weights="", **metrics):
    row = get_row(row)
    path = folder / "results" / row.id / f"fast-seed{seed}-{row.key('fast')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = {"top1_last": last, "top1_selected": last, "top1_test_best": last + 0.25, "flops": 20_275_520, **metrics}
    record = {
        "status": "finished", "budget": "fast", "seed": seed, "key": row.key("fast"), "row": row.id,
        "metrics": metrics, "curves": {}, "networks": {"last": {"sha256": weights}} if weights else {},
        "provenance": {}, "found": {"criterion_seconds": 2.0},
    }  # fmt: skip
    path.write_text(json.dumps(record), encoding="utf-8")


def test_records_become_verdicts_a_league_and_what_test_selection_is_worth(project):
    for seed, (l1, chance) in enumerate([(90.0, 88.0), (90.2, 88.1), (89.9, 88.0)]):
        write(project, "arena/uniform50/l1", seed, l1, top1_before=40.0, top1_recalibrated=60.0)
        write(project, "arena/uniform50/random", seed, chance, top1_before=10.0, top1_recalibrated=20.0)
    write(project, "arena/uniform50/cdp", 7, 91.0)  # a seed that no other has
    found = {claim.id: claim for claim in claims.load_claims().claims}
    tested = [c for c in found["criteria_matter"].contrasts if c.verdict != NOT_TESTED]
    assert [(c.of, c.verdict) for c in tested] == [("arena/uniform50/l1", SUPPORTED)]
    assert tested[0].differences == pytest.approx((2.0, 2.1, 1.9))
    assert found["cdp_criterion"].verdict == NOT_TESTED
    league = leagues.league("arena/uniform50")
    assert [place.row.id.rsplit("/", 1)[1] for place in league] == ["cdp", "l1", "random"]
    assert (league[1].before, league[1].recalibrated, league[1].seconds) == (40.0, 60.0, 2.0)
    text = str(leagues.league_grid("arena/uniform50"))
    assert "better" in text
    assert "+2.00 ± 0.25" in text
    assert league[1].macs == pytest.approx([0.5] * 3)
    write(project, "arena/uniform50/l1", 2, 89.9, macs_slim=40_551_040)  # masks that cannot be removed
    assert "  50.0–100.0  " in str(leagues.league_grid("arena/uniform50"))
    worth = str(leagues.worth_of_test_selection())
    assert worth.count("0.250") == 2
    assert worth.count("  7") == 2


def test_a_change_that_changes_no_weight_is_no_gain(project):
    """Equal accuracies may be chance, the same weights are not: judged from three seeds on, like any contrast."""
    rows = "arena/scratch50/dcff_paper", "arena/scratch50/dcff"

    def judged():
        (contrast,) = next(c for c in claims.load_claims().claims if c.id == "dynamic_coding").contrasts
        return contrast.verdict, contrast.same, contrast.words()

    for seed in range(3):
        assert judged()[0] == NOT_TESTED
        for row in rows:
            write(project, row, seed, 87.0 + seed, f"weights-{seed}")
    assert judged() == (CONTRADICTED, True, "contradicted here (the same weights, bit for bit)")
    (line,) = [line for line in claims.verdicts() if "formula" in line[0]]
    assert " ".join(line[2].split()) == "from scratch:<br>DCFF, by its formula − DCFF **the same weights**"
    write(project, rows[0], 2, 89.0, "others")
    assert judged() == (CANNOT_TELL, False, "cannot tell (±0.00)")


def test_a_claim_s_contrasts_stand_below_each_other_and_what_is_told_is_bold(project):
    for seed in range(3):
        for row, top1 in (("uniform50/css", 91.0), ("own50/css", 90.0 - seed), ("own50/cdp", 88.0 + seed % 2)):
            write(project, f"arena/{row}", seed, top1 + seed / 100)
        write(project, "arena/uniform50/random", seed, 89.0)
        write(project, "arena/own50/l1", seed, 88.5)
    measured = {line[1]: line[2].replace("\N{NO-BREAK SPACE}", " ") for line in claims.verdicts()}
    assert measured["CHEX, section 3.2 and table 6"] == "uniform widths:<br>CSS (CHEX) − random **+2.01 ± 0.02**"
    assert measured["CDP, section 4"] == "own widths:<br>CDP − L1 −0.16 ± 1.43"
    assert measured["CDP, section 3; CHEX, section 3.1"] == (
        "CSS (CHEX) (own widths) − CSS (CHEX) (uniform widths) −2.00 ± 2.48"
    )


def test_a_league_s_baseline_is_no_contrast_to_correct_for(project):
    for seed in range(3):
        write(project, "arena/uniform50/l1", seed, 90.0 + seed / 10)
        write(project, "arena/uniform50/random", seed, 89.9)
    l1, base = leagues.league("arena/uniform50")
    assert base.against.p == base.against.holm == 1.0
    assert l1.against.holm == l1.against.p == pytest.approx(2 * contrasts.tail(0.2 / (0.1 / 3**0.5), 2))


@pytest.mark.parametrize("table", leagues.LEAGUES)
def test_every_league_stands_whichever_rows_have_records(project, table):
    rows = [row for row in table_rows(table) if "fast" in row.recipes]
    assert len(leagues.league_grid(table).cells) == 1
    for number, row in enumerate(rows):
        for seed in range(3):
            write(project, row.id, seed, 80.0 + number + seed / 10)
        places = leagues.league(table)
        assert [place.row.id for place in places] == [row.id for row in reversed(rows[: number + 1])]
        assert len(leagues.league_grid(table).cells) == number + 2
    base = leagues.baseline(table)
    assert base.id == (f"{table}/random" if any(row.id.endswith("/random") for row in rows) else rows[0].id)
    assert f"Against {base.title}" in leagues.league_grid(table).cells[0]


def test_without_scipy_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(InputError, match="it comes with the extra book"):
        contrasts.tail(1.0, 2)
