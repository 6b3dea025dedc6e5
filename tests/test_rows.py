"""The papers' tables as data: every row that can be rebuilt, to the integer, and every mistake named by its place."""

from pathlib import Path

import pytest
import yaml
from brought import brought

from prune_lib.book.tables.table import Line, recount
from prune_lib.book.tables.verdict import Accuracy
from prune_lib.cost.printed import Printed
from prune_lib.papers import rows
from prune_lib.papers.rows import all_claims, all_rows, get_row, read_claims, read_tables
from prune_lib.system.errors import InputError

EXACT = {  # row -> params and FLOPs, counted once with the papers' own code
    "dcff/cifar10/vgg16": (1_071_248, 72_771_956),
    "dcff/cifar10/resnet56": (384_316, 55_835_840),
    "dcff/cifar10/resnet110": (555_368, 85_297_568),
    "dcff/cifar10/googlenet": (2_079_250, 457_215_424),
    "dcff/imagenet/r50_0.96b": (7_403_402, 958_066_431),
    "dcff/imagenet/r50_1.49b": (10_581_581, 1_490_505_520),
    "dcff/imagenet/r50_2.25b": (15_163_623, 2_248_778_112),
    "dcff/imagenet/r50_1.52b_cos": (11_047_336, 1_522_959_872),
    "dcff/imagenet/r50_1.38b_cos": (11_813_898, 1_380_916_957),
    "dcff/imagenet/r50_1.02b_cos": (6_560_781, 1_023_260_224),
    "dcff/structures/p1_manual": (7_403_402, 958_066_431),
    "dcff/structures/p1_abcpruner": (7_349_362, 944_847_390),
    "dcff/structures/p2_manual": (10_581_581, 1_490_505_520),
    "dcff/structures/p3_manual": (10_581_581, 1_490_505_520),
    "dcff/structures/p4_manual": (15_163_623, 2_248_778_112),
    "dcff/structures/p5_manual": (15_163_623, 2_248_778_112),
    "dcff/structures/p6_manual": (7_403_402, 958_066_431),
    "dcff/structures/p6_eagleeye": (6_988_499, 1_044_184_932),
    "dcff/structures/p7_manual": (15_163_623, 2_248_778_112),
    "dcff/structures/p7_eagleeye": (14_409_532, 2_072_685_762),
    "mmrazor/classification/resnet50": (15_163_623, 2_257_523_259),
    "mmrazor/detection/faster_rcnn": (31_465_831, 168_223_602_100),
    "mmrazor/segmentation/pointrend": (18_427_894, 74_412_381_152),
    "mmrazor/pose/topdown_heatmap": (26_953_955, 4_293_531_888),
    "cfdp/cifar10/vgg16": (2_766_541, 131_173_888),
    "cfdp/cifar10/resnet56": (660_157, 90_349_760),
    "cfdp/cifar10/googlenet": (2_857_760, 649_193_408),
    "cfdp/imagenet/resnet50": (15_091_575, 2_259_031_992),
    **brought("EXACT"),
}
FULL = {  # row whose network is not public -> params and FLOPs of the full one
    "cdp/cifar10/vgg16": (14_986_698, 313_463_808),
    "cdp/cifar10/resnet20": (269_722, 40_551_040),
    "cdp/cifar10/resnet56_a": (853_018, 125_485_696),
    "cdp/imagenet/resnet18": (11_689_512, 1_814_073_344),
    "cdp/imagenet/resnet50": (25_557_032, 4_089_184_256),
    "dcff/imagenet/mobilenet_v2": (3_504_872, 300_774_272),
    "filterexpo/imagenet/resnet50_2g": (25_557_032, 4_089_185_256),
    "filterexpo/detection/mask_rcnn_bbox": (44_396_593, 254_200_705_640),
    "filterexpo/detection/ssd_75": (22_894_902, 20_150_906_112),
}
DIFFER = {  # rows whose printed counts do not follow from what they print beside them, and those counts
    "dcff/cifar10/vgg16": ["params", "params_cut"],
    "cfdp/cifar10/vgg16": ["flops_cut", "params", "params_cut"],
    "cfdp/cifar10/resnet56": ["flops_cut", "params_cut"],
    "cfdp/cifar10/googlenet": ["flops_cut", "params_cut"],
    "cdp/imagenet/resnet18": ["base_flops"],
    "filterexpo/imagenet/resnet101_3.4g": ["flops_cut"],
    "mmrazor/detection/faster_rcnn": ["flops", "params"],
    **brought("DIFFER"),
}


@pytest.fixture(scope="module")
def counted():
    """Every row's recount: ResNet-50 takes a while, so once for all."""
    return {row.id: recount(row) for row in all_rows().values() if row.arch}


@pytest.mark.parametrize("name", EXACT)
def test_a_row_recounts_to_the_integer(name, counted):
    assert (counted[name]["params"], counted[name]["flops"]) == EXACT[name]


@pytest.mark.parametrize("name", FULL)
def test_of_a_row_that_is_not_public_the_full_network_recounts(name, counted):
    assert counted[name] == dict(zip(("base_params", "base_flops"), FULL[name], strict=True))


def test_no_other_row_can_be_rebuilt():
    known = {row.id for row in all_rows().values() if row.pruned and row.arch and not row.unknown and row.reported}
    assert known == set(EXACT)
    for name in set(all_rows()) - known:
        row = get_row(name)
        if row.unknown:
            with pytest.raises(InputError, match=f"{name} cannot be rebuilt"):
                _ = row.widths


def test_which_printed_counts_do_not_follow(counted):
    lines = [Line(row, counted.get(row.id, {}), Accuracy("", None)) for row in all_rows().values()]
    assert {line.row.id: sorted(line.disagreements) for line in lines if line.disagreements} == DIFFER


WIDTHS = {
    "dcff/cifar10/googlenet": {"a3.b2_reduce.conv": 19, "a5.b2_reduce.conv": 15, "b5.b3_a.conv": 12},  # 160, 0.9: 15
    "dcff/structures/p1_abcpruner": {"conv1": 64, "layer1.0.conv1": 12, "layer2.0.conv2": 12, "layer4.1.conv1": 51},
    "dcff/structures/p6_eagleeye": {"conv1": 52, "layer1.0.conv1": 51, "layer1.0.conv2": 35, "layer4.2.conv3": 944},
    "dcff/structures/p7_eagleeye": {"conv1": 58, "layer1.0.downsample.0": 200, "layer4.2.conv2": 440},
    "cfdp/cifar10/vgg16": {"conv1": 50, "conv8": 128, "conv12": 128, "conv13": 512},
    "cfdp/imagenet/resnet50": {"conv1": 64, "layer1.0.conv3": 230, "layer3.0.conv1": 166, "layer4.0.conv3": 2048},
}


@pytest.mark.parametrize("name", WIDTHS)
def test_some_widths(name):
    widths = get_row(name).widths
    assert {conv: widths[conv] for conv in WIDTHS[name]} == WIDTHS[name]


def test_two_papers_lists_are_one_network():
    assert get_row("mmrazor/classification/resnet50").widths == get_row("dcff/imagenet/r50_2.25b").widths


def test_a_row_set_by_hand_repeats_one_of_the_table_before():
    names = ("r50_0.96b", "r50_1.49b", "r50_1.49b", "r50_2.25b", "r50_2.25b", "r50_0.96b", "r50_2.25b")
    for number, name in enumerate(names, 1):
        again, first = get_row(f"dcff/structures/p{number}_manual"), get_row(f"dcff/imagenet/{name}")
        assert again.widths == first.widths
        assert again.reported["top1"] == first.reported["top1"]


def test_every_printed_figure_is_text_and_can_be_read():
    for row in all_rows().values():
        for figure, printed in row.reported.items():
            assert isinstance(printed, str), f"{row.id}, {figure}"
            read = Printed.read(printed)
            assert read.like(sum(read.range) / 2) == printed, f"{row.id}, {figure}"


def test_every_paper_is_named_and_cited():
    folder = Path(rows.__file__).parent
    bibliography = (folder.parent.parent / "book" / "references.bib").read_text(encoding="utf-8")
    for path in sorted(folder / f"{paper}.yaml" for paper in rows.papers()):
        paper = yaml.safe_load(path.read_text(encoding="utf-8"))["paper"]
        assert set(paper) - {"says"} == {"title", "short", "authors", "link", "cite"}, path.name
        if path.stem != "arena":  # our own
            assert f"{{{paper['cite']},\n" in bibliography, path.name


def test_claims_name_rows_and_tables_that_exist():
    tables = {row.table for row in all_rows().values()}
    for claim in all_claims():
        assert claim.get("row") in {None, *all_rows()}, claim["text"]
        assert claim.get("table") in {None, *tables}, claim["text"]
        for printed in claim.get("figures", {}).values():
            assert Printed.read(printed)


GOOD = """
paper: {title: T, short: S, authors: A, link: L, cite: c}
tables:
  t:
    title: T
    dataset: D
    source: S
    rule: macs
    rows:
      r: {title: R, arch: vgg16, rates: "[0.5]*13", reported: {top1: 90.0%}}
      s: {title: S, arch: vgg16, unknown: not published, reported: {flops: 1.5M}}
claims:
  - {text: words, where: abstract, row: p/t/r, figures: {top1: 90%}}
"""
MISTAKES = {
    "p/t: unknown key 'rule_'": ("rule: macs", "rule: macs\n    rule_: 1"),
    "p/t: rule is missing": ("rule: macs", ""),
    "p/t: dataset is missing": ("dataset: D", ""),
    "p/t/r: unknown key 'rate'": ('rates: "[0.5]*13"', 'rate: "[0.5]*13"'),
    "p/t/r: rates is missing": (', rates: "[0.5]*13"', ""),
    "p/t/r: arch is missing": (' arch: vgg16, rates: "[0.5]*13",', ""),
    "p/t/r: title is missing": ("r: {title: R, ", "r: {"),
    "p/t/r, reported: unknown key 'accuracy'": ("reported: {top1: 90.0%}", "reported: {accuracy: 90.0%}"),
    "p/t/r, reported: found list": ("reported: {top1: 90.0%}", "reported: [1]"),
    "p/t/r: unknown architecture 'vgg17'": ("R, arch: vgg16", "R, arch: vgg17"),
    "p/t/r: vgg16 has no layout 'hrank'": ("R, arch: vgg16", "R, arch: vgg16, layout: hrank"),
    "p/t/r: the spec has 12 rates; expected 13": ("*13", "*12"),
    "p/t/r: spec, character 2": ("[0.5]*13", "[1.5]*13"),
    "p/t/u: found str; expected a mapping": ("    rows:\n", "    rows:\n      u: x\n"),
    "p/t/r, paper: recipe: unknown field 'rate'": ('rates: "', "method: {name: dcff}, paper: {rate: 1}, rates: \""),
    "p/t/s: unknown key 'why'": ("unknown: not", "why: not"),
    "p/t/s: rates is missing": ("unknown: not published", "unknown: ''"),
    "p.yaml: paper is missing": ("paper: {title: T, short: S, authors: A, link: L, cite: c}", ""),
    "p.yaml: unknown key 'table'": ("claims:", "table: {}\nclaims:"),
}  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_in_a_table_is_named_with_its_place(words):
    text = GOOD.replace(*MISTAKES[words])
    assert text != GOOD
    with pytest.raises(InputError) as refusal:
        read_tables("p", text)
    assert str(refusal.value).startswith(words)
    assert "\n" not in str(refusal.value)


def test_the_table_without_mistakes_is_read():
    assert list(read_tables("p", GOOD)) == ["p/t/r", "p/t/s"]
    assert len(read_claims("p", GOOD)) == 1


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        ("unknown key 'figure'", "figures:", "figure:"),
        ("figures: unknown key 'top2'", "top1: 90%", "top2: 90%"),
        ("where is missing", "where: abstract, ", ""),
        ("expected a finding", "row: p/t/r, ", ""),
        ("expected a finding", "row: p/t/r", "row: p/t/r, finding: x"),
    ],
)
def test_a_mistake_in_a_claim_is_named_with_its_place(words, old, new):
    with pytest.raises(InputError, match="p, claim 1") as refusal:
        read_claims("p", GOOD.replace(old, new))
    assert words in str(refusal.value)


def test_each_paper_is_parsed_once_whatever_is_asked_of_it(monkeypatch):
    parsed = []
    monkeypatch.setattr(
        rows, "read_document", lambda paper, text, read=rows.read_document: parsed.append(paper) or read(paper, text)
    )
    cached = (rows.papers, rows.all_rows, rows.all_claims)
    for function in cached:
        function.cache_clear()
    names = {rows.paper_name(name) + rows.table_title(row.table) for name, row in all_rows().items()}
    assert len(names) > 20
    assert len(all_claims()) > 10
    yamls = sorted(file.stem for file in Path(rows.__file__).parent.glob("*.yaml"))
    assert parsed == [name for name in yamls if name != "claims"]
