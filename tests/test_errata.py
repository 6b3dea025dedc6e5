"""Errata: each kind where the papers really have it, each planted in a made-up table, and none in a consistent one."""

import json

import pytest
from brought import brought

from prune_lib.book.tables import table
from prune_lib.book.tables.errata import Errata, Erratum, errata
from prune_lib.papers.rows import read_claims, read_tables
from prune_lib.system.errors import InputError

COUNT, CUT = "A count that its spec does not give", "A cut that its own figures do not give"
RULES, NETWORK = "Two counting rules in one table", "One network, two sets of figures"
CLAIM, READ = "A claim that its table does not bear out", "Read, not computed"
BROUGHT = brought("DIFFER")


@pytest.fixture(scope="module")
def found():
    """The errata of all papers: the recounts take a while, so once for all."""
    return errata()


def _of(found, kind, place):
    """What is said of one place, as (printed, found, why)."""
    return [(e.printed, e.found, e.why) for e in found.entries if e.kind == kind and place in e.where]


COUNTS = {  # row -> printed figure, what it recounts to, words of the explanation
    "dcff/cifar10/vgg16": [
        ("params 1.06M", "1,071,248", "conv weights"), ("params cut 92.80%", "92.73%", "1.06 / 14.73"),
    ],
    "cfdp/cifar10/vgg16": [
        ("FLOPs cut 58.1%", "58.26%", "131.17 / 313.46 (under macs), truncated"),
        ("params 2.76M", "2,766,541", "truncated"),
        ("params cut 81.6%", "81.55%", "2.76 / 14.99"),
    ],
    "cfdp/cifar10/resnet56": [("FLOPs cut 50.0%", "28.61%", "28.0%"), ("params cut 22.3%", "22.61%", "")],
    "cfdp/cifar10/googlenet": [
        ("FLOPs cut 57.2%", "57.55%", "0.65 / 1.52 (under macs)"), ("params cut 53.5%", "53.65%", ""),
    ],
    "mmrazor/detection/faster_rcnn": [
        ("FLOPs 168320M", "168,223,602,100", "1,000 proposals"), ("params 33.31M", "31,465,831", "see above"),
    ],
    "cdp/imagenet/resnet18": [("full network's FLOPs 1820M", "1,814,073,344", "thop-0.0.31")],
}  # fmt: skip


@pytest.mark.parametrize("row", COUNTS)
def test_counts_that_do_not_follow(row, found):
    said = _of(found, COUNT, row)
    assert len(said) == len(COUNTS[row])
    for (printed, recount, why), (figure, value, words) in zip(said, COUNTS[row], strict=True):
        assert printed == figure
        assert value in recount
        assert words in why


def test_no_other_count_is_complained_of(found):
    assert {e.where for e in found.entries if e.kind == COUNT} - set(BROUGHT) == set(COUNTS)


def test_what_a_paper_brings_of_its_own_is_complained_of(found):
    named: dict[str, list[str]] = {}
    for entry in found.entries:
        if entry.kind in (COUNT, CUT) and entry.where in BROUGHT:
            named.setdefault(entry.where, []).append(entry.printed)
    assert {where: len(printed) for where, printed in named.items()} == {k: len(of) for k, of in BROUGHT.items()}


def test_a_cut_that_no_values_printing_so_can_give(found):
    assert {e.where for e in found.entries if e.kind == CUT} - set(BROUGHT) == {"filterexpo/imagenet/resnet101_3.4g"}
    ((printed, implied, why),) = _of(found, CUT, "filterexpo")
    assert (printed, implied) == ("FLOPs cut 55%", "55.8 to 57.1%")
    assert "7,801,406,440" in why


def test_rows_counted_by_another_rule_than_their_neighbours(found):
    mixed = [e for e in found.entries if e.kind == RULES]
    assert [e.where for e in mixed] == [
        "dcff/imagenet/mobilenet_v2", *(f"dcff/structures/p{pair}_abcpruner" for pair in range(1, 6))
    ]  # fmt: skip
    ((printed, other, own),) = _of(found, RULES, "p1_abcpruner")
    assert printed == "FLOPs 945M (thop-0.0.30)"
    assert "925,938,776" in other
    assert "944,847,390" in own


def test_one_network_with_two_sets_of_figures(found):
    ((first, second, why),) = _of(found, NETWORK, "mmrazor")
    assert first == "FLOPs 2.25B, top-1 75.18%, top-5 92.56%"
    assert second == "FLOPs 2260M, top-1 73.96%, top-5 91.66%"
    assert "thop-0.0.31 and mmrazor" in why


CLAIMS = {  # words of the claim -> words of what was found
    "63.8% FLOPs and 58.6%": ("FLOPs cut: ResNet-50, 1.49B", "top-1: ResNet-50, 1.52B"),
    "FLOPs_PR=66.7% Params_PR=53.8%": ("not 66.7% but 66.41%", "params cut: ResNet-50, 1.38B"),
    "by almost 50% in parameters": ("not 50% but 40.95%",),
    "reaches 69.4%": ("not 69.4% but 69.6%",),
    "reaches 77.9%": ("not 77.9% but 78.0%",),
    "reaches 74.4%": ("not 74.4% but 74.9%",),
    **brought("CLAIMS"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_that_no_row_bears_out(claim, found):
    (said,) = [e.found for e in found.entries if e.kind == CLAIM and claim in e.printed]
    for words in CLAIMS[claim]:
        assert words in said


def test_claims_that_hold_are_not_listed(found):
    claimed = [e for e in found.entries if e.kind == CLAIM]
    assert len(claimed) == len(CLAIMS)


@pytest.mark.parametrize("words", ["can vary along", "--epochs 30", "--T_max 0.72", "--stop_batch 200", "3D vision"])
def test_what_was_read_is_marked_as_read(words, found):
    assert [e.kind for e in found.entries if words in e.printed] == [READ]


def test_errata_are_text_html_and_json(found):
    kinds = {COUNT, CUT, RULES, NETWORK, CLAIM, READ}
    assert {e.kind for e in found.entries} == kinds
    assert all(kind in str(found) and kind in found._repr_html_() for kind in kinds)
    listed = json.loads(json.dumps(found.to_json()))
    assert len(listed) == len(found) == len(found.entries)
    page = Errata([Erratum("k", "<script>", "p", "f")])._repr_html_()
    assert "<script>" not in page


MADE_UP = """
paper: {title: T, short: S, authors: A, link: L, cite: c}
tables:
  one:
    title: T
    dataset: D
    source: S
    rule: macs
    rows:
      half: {title: half, arch: resnet20, rates: "[0.5]*12", reported: {flops: 10.35M, params: 0.07M, top1: 90.0%}}
      most: {title: most, arch: resnet20, rates: "[0.3]*12", reported: {flops: 19.09M, params: 0.13M, top1: 91.0%}}
      hidden: {title: hidden, arch: resnet20, unknown: not published, reported: {flops: 20.3M, flops_cut: 50.0%}}
  two:
    title: T
    dataset: D
    source: S
    rule: macs
    rows:
      again: {title: again, arch: resnet20, rates: "[0.5]*12", reported: {flops: 10.4M, top1: 90.0%}}
claims:
  - {text: half, where: abstract, table: p/one, figures: {flops: 10M, top1: 90%}}
  - {text: half, where: abstract, row: p/one/half, figures: {flops_cut: 75%}}
"""


def _made_up(*changes):
    text = MADE_UP
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return errata(read_tables("p", text), read_claims("p", text))


@pytest.fixture
def counts(monkeypatch):
    """Counts to make a table of, so that the made-up figures can be read off this page."""
    full = {"base_flops": 40_600_000, "base_params": 270_000}

    def count(row, rule=None):
        if row.unknown:
            return full
        rule = rule or row.rule
        flops, params = (10_350_000, 70_000) if row.title in ("half", "again") else (19_090_000, 130_400)
        flops += {"macs": 0, "cdp": 0, "chex": 10}.get(rule, 500_000)
        cuts = {"flops_cut": 100 * (1 - flops / 40_600_000), "params_cut": 100 * (1 - params / 270_000)}
        return {"flops": flops, "params": params, **cuts, **full}

    monkeypatch.setattr(table, "recount", count)
    monkeypatch.setattr("prune_lib.book.tables.errata.recount", count)


def test_a_consistent_table_has_no_errata(counts):
    assert len(_made_up()) == 0


PLANTED = {
    "another count": (("params: 0.13M", "params: 0.14M"), COUNT, "p/one/most", "130,400"),
    "fewer digits, which is no error": (("flops: 19.09M", "flops: 19M"), None, "", ""),
    "a count by another rule": (("flops: 19.09M", "flops: 19.59M"), COUNT, "p/one/most", "19,090,000"),
    "a cut that cannot be": (("flops_cut: 50.0%", "flops_cut: 52.0%"), CUT, "p/one/hidden", "49.9 to 50.1%"),
    "another rule": (
        ('title: most, arch: resnet20, rates: "[0.3]*12", reported: {flops: 19.09M',
         'title: most, arch: resnet20, rule: mmrazor, rates: "[0.3]*12", reported: {flops: 19.59M'),
        RULES, "p/one/most", "19,090,000",
    ),
    "another accuracy for the same network": (
        ("10.4M, top1: 90.0%", "10.4M, top1: 90.1%"), NETWORK, "p/one/half and p/two/again", "top-1 90.1%",
    ),
    "a claim of two rows": (("{flops: 10M, top1: 90%}", "{flops: 10M, top1: 91%}"), CLAIM, "abstract", "most"),
    "a claim of no row": (("{flops: 10M, top1: 90%}", "{flops: 10M, top1: 95%}"), CLAIM, "abstract", "in no row"),
    "a claim that its row denies": (("{flops_cut: 75%}", "{flops_cut: 70%}"), CLAIM, "abstract", "not 70% but 74.51%"),
    "a finding": (
        ("row: p/one/half, figures: {flops_cut: 75%}", "finding: it does not run"), READ, "abstract", "does not hold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_found_and_nothing_else(planted, counts):
    change, kind, where, words = PLANTED[planted]
    entries = _made_up(change).entries
    if kind is None:
        assert not entries
        return
    assert [(e.kind, e.where) for e in entries] == [(kind, where)]
    assert words in entries[0].found


def test_what_would_explain_a_figure_is_computed(counts):
    why = {
        ("flops: 19.09M", "flops: 19.59M"): "prints so under thop-0.0.31",
        ("params: 0.13M", "params: 0.13M, params_cut: 51.9%"): "0.13 / 0.27",
        ("flops: 19.09M", "flops: 19.08M"): "",
    }
    for change, words in why.items():
        (entry,) = _made_up(change).entries
        assert words in entry.why
        assert bool(entry.why) == bool(words)


def test_a_claim_about_nothing_is_refused(counts):
    with pytest.raises(InputError, match="no row or table 'p/three'"):
        _made_up(("table: p/one", "table: p/three"))
