import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_lib.nets import ARCHS, read_spec
from prune_lib.nets.spec import MAX_RATES, ROUNDINGS, Layout, SpecError, parse, to_widths, width
from prune_lib.papers.rows import get_row

MALFORMED = [
    "", " ", "[]", "[", "]", "[0.5", "0.5", "[0.5]*", "[0.5]+", "+[0.5]", "[0.5][0.5]", "[0.5]*0", "[0.5]*-1",
    "[0.5]*2.5", "[0.5]*1e2", "[0.5]**2", "[0.5]*[2]", "2*[0.5]", "[[0.5]]", "[0.5,[0.5]]", "[0.5,]", "[,0.5]",
    "[0.5 0.5]", "[1]", "[1.0]", "[1.5]", "[-0.1]", "[nan]", "[inf]", "[1e309]", "[0x1]", "[0_5]", "[٠.٥]", "(0.5)",
    "([0.5]", "[0.5])", "()", "(" * 60 + "[0.5]" + ")" * 60, "[0.5]*999999999999", "[0.5]*4097", "([0.5]*64)*65",
    "[0.5]*2;", "__import__('os').system('true')", "[x for x in (1,)]", "lambda: 0", "[0.5]*2 # rates", "[0.5]*'2'",
    "[0.5]*999999999", "[0.5]*+2", "[+0.1]", "[0.5]\n[0.5]", "[0.5]*²", "[½]", "(" * 30000, "{0.5}",
    "[0.5]*2\x00", "[0.5]-[0.1]",
    "[0.1]+" * 20000 + "[0.1]",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_spec_is_refused_in_one_line(text):
    with pytest.raises(SpecError) as refusal:
        parse(text)
    assert "expected" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", [None, 3, [0.5], b"[0.5]"])
def test_a_spec_that_is_no_text_is_refused(text):
    with pytest.raises(SpecError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("[0.5]", [0.5]),
        ("[0.]+[.5]*2", [0.0, 0.5, 0.5]),
        (" [ 0.1 , 0.2 ] * 2 + [0] ", [0.1, 0.2, 0.1, 0.2, 0.0]),
        ("([0.1]+[0.2])*2+[3e-1]", [0.1, 0.2, 0.1, 0.2, 0.3]),
        ("[0.1]*2*3", [0.1] * 6),
        (f"[0.1]*{MAX_RATES}", [0.1] * MAX_RATES),
    ],
)
def test_the_grammar(text, rates):
    assert parse(text) == rates


@st.composite
def _specs(draw, depth=2):
    """A valid spec and the rates that it means, built up together."""
    texts, rates = [], []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            text, part = draw(_specs(depth - 1))
            text = f"({text})"
        else:
            part = draw(st.lists(st.integers(0, 999).map(lambda n: n / 1000), min_size=1, max_size=3))
            text = str(part)
        times = draw(st.integers(1, 3))
        texts.append(f"{text} * {times}" if times > 1 else text)
        rates += part * times
    return "+".join(texts), rates


@given(_specs())
def test_a_valid_spec_means_what_it_was_built_from(pair):
    text, rates = pair
    assert parse(text) == rates


@given(st.text(alphabet="[]()*+,.0123456789e- x", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        rates = parse(text)
    except SpecError:
        return
    assert rates
    assert all(0 <= rate < 1 for rate in rates)


def test_widths_truncate_ieee_doubles():
    assert (width(160, 0.9), width(320, 0.9), width(64, 0.0), width(10, 0.3)) == (15, 31, 64, 7)


def test_widths_need_one_rate_a_group_and_a_filter_each():
    layout, filters = Layout((("a", "b"), ("c",))), {"a": 10, "b": 20, "c": 4, "d": 7}
    assert to_widths([0.5, 0.25], layout, filters) == {"a": 5, "b": 10, "c": 3, "d": 7}
    with pytest.raises(SpecError, match=r"1 rates; expected 2"):
        to_widths([0.5], layout, filters)
    with pytest.raises(SpecError, match=r"leaves no filter of c, which has 4"):
        to_widths([0.5, 0.9], layout, filters)


LENGTHS = {
    ("vgg16", "dcff"): 13, ("vgg16_hrank", "hrank"): 12, ("resnet20", "dcff"): 12, ("resnet56", "dcff"): 30,
    ("resnet110", "dcff"): 57, ("googlenet", "dcff"): 64, ("resnet56", "hrank"): 30, ("googlenet", "hrank"): 10,
    ("resnet50", "dcff"): 37, ("resnet50", "hrank"): 20, ("resnet50", "eagleeye"): 37, ("resnet50", "abcpruner"): 16,
    ("resnet50", "mmrazor"): 49, ("resnet50_v1c", "mmrazor"): 51, ("resnet101", "dcff"): 71, ("resnet18", "dcff"): 12,
    ("mobilenet_v2", "dcff"): 35,
}  # fmt: skip


@pytest.mark.parametrize(("arch", "name"), LENGTHS)
def test_layouts_have_the_papers_lengths(arch, name):
    assert len(ARCHS[arch].layouts[name].groups) == LENGTHS[arch, name]


@pytest.mark.parametrize("arch", ARCHS)
def test_layouts_name_convs_of_the_network_each_once(arch):
    for name, layout in ARCHS[arch].layouts.items():
        convs = [conv for group in layout.groups for conv in group]
        assert len(set(convs)) == len(convs), name
        assert set(convs) <= set(ARCHS[arch].filters), name
    for whole in ("dcff", "units", "mmrazor"):
        groups = ARCHS[arch].layouts[whole].groups if whole in ARCHS[arch].layouts else ARCHS[arch].units.values()
        assert sorted(conv for group in groups for conv in group) == sorted(ARCHS[arch].filters)


@pytest.mark.parametrize(
    ("rounding", "filters", "entry", "kept"),
    [("rate", 160, 0.9, 15), ("fraction", 64, 0.1939672, 52), ("fraction", 10, 0.99, 1), ("tenths", 64, 3, 19)],
)
def test_each_paper_rounds_in_its_own_way(rounding, filters, entry, kept):
    assert ROUNDINGS[rounding](filters, entry) == kept


def test_a_honey_is_whole_tenths():
    spec = "[2,3]+[1]*14"
    assert read_spec("resnet50", spec, "abcpruner")[1]["layer1.0.conv2"] == 12
    for wrong in ("[0.5]+[1]*15", "[0]+[1]*15", "[11]+[1]*15"):
        with pytest.raises(SpecError, match="expected a whole number from 1 to 10"):
            parse(wrong, "tenths")


@pytest.mark.parametrize("layout", ["mmrazor", "units"])
def test_convs_of_one_unit_keep_the_same_number(layout):
    rates = ["0.0"] * len(ARCHS["resnet50"].layouts[layout].groups)
    if layout == "mmrazor":
        rates[6] = "0.5"  # layer1.1.conv3 alone
        with pytest.raises(ValueError, match=r"layer1\.0\.conv3 keeps 256 filters and layer1\.1\.conv3 128; expected"):
            read_spec("resnet50", f"[{','.join(rates)}]", layout)
    else:
        rates[3] = "0.5"
        widths = read_spec("resnet50", f"[{','.join(rates)}]", layout)[1]
        halved = {conv for conv, n in widths.items() if n != ARCHS["resnet50"].filters[conv]}
        assert halved == set(list(ARCHS["resnet50"].units.values())[3])


PUBLISHED = {  # filters of each conv in module order, as the authors' networks have them
    "vgg16": [
        32, 32, 76, 76, 166, 166, 166, 76, 76, 76, 76, 76, 76,
    ],
    "resnet56": [
        16, 4, 16, 4, 16, 8, 16, 8, 16, 8, 16, 11, 16, 11, 16, 9, 16, 3, 16, 9, 32, 9, 32, 6, 32, 6, 32, 6, 32, 6, 32,
        19, 32, 25, 32, 25, 32, 19, 64, 44, 64, 12, 64, 38, 64, 38, 64, 19, 64, 44, 64, 38, 64, 12, 64,
    ],
    "resnet110": [
        6, 12, 6, 16, 6, 12, 6, 11, 6, 4, 6, 4, 6, 14, 6, 11, 6, 11, 6, 9, 6, 4, 6, 4, 6, 8, 6, 14, 6, 11, 6, 16, 6,
        6, 6, 16, 6, 25, 25, 16, 25, 32, 25, 9, 25, 9, 25, 16, 25, 9, 25, 9, 25, 19, 25, 19, 25, 32, 25, 22, 25, 28,
        25, 16, 25, 28, 25, 28, 25, 28, 25, 9, 25, 57, 32, 57, 32, 44, 32, 44, 32, 44, 32, 44, 32, 44, 32, 32, 32, 19,
        32, 51, 32, 38, 32, 19, 32, 19, 32, 19, 32, 19, 32, 19, 32, 32, 32, 57, 32,
    ],
    "googlenet": [
        192, 64, 19, 128, 3, 6, 32, 32, 128, 12, 192, 3, 9, 96, 64, 192, 9, 208, 1, 4, 48, 64, 160, 11, 224, 2, 6, 64,
        64, 128, 25, 256, 4, 12, 64, 64, 112, 28, 288, 6, 12, 64, 64, 256, 31, 320, 6, 25, 128, 128, 256, 15, 320, 3,
        12, 128, 128, 384, 19, 384, 4, 12, 128, 128,
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", PUBLISHED)
def test_the_published_rates_give_the_published_widths(row):
    assert list(get_row(f"dcff/cifar10/{row}").widths.values()) == PUBLISHED[row]


@pytest.mark.parametrize(
    ("arch", "rates", "words"),
    [
        ("vgg16", "[0.5]*12", "the spec has 12 rates; expected 13"),
        ("vgg16", "[0.5]*14", "the spec has 14 rates; expected 13"),
        ("vgg16", "[0.5]*12+[0.999]", "rate 0.999 leaves no filter of conv13, which has 512"),
        ("resnet56", "[0.5]*29+[0.99]", "leaves no filter of layer3.0.conv2, which has 64"),
        ("resnet56", "[0.95]*30", "rate 0.95 leaves no filter of layer1.0.conv1, which has 16"),
    ],
)
def test_rates_that_do_not_fit_the_network_are_refused(arch, rates, words):
    with pytest.raises(SpecError, match=words) as refusal:
        read_spec(arch, rates)
    assert "\n" not in str(refusal.value)


def test_an_unknown_layout_or_arch_is_named():
    with pytest.raises(ValueError, match=r"unknown architecture 'vgg17'; expected one of: vgg16"):
        read_spec("vgg17", None)
    with pytest.raises(ValueError, match=r"vgg16 has no layout 'x'; expected one of: dcff"):
        read_spec("vgg16", None, "x")
