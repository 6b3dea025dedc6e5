"""Malformed specs, parameters, YAML and records: refused in one line with exit code 2, and nothing is written."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_lib.book.site import notebook
from prune_lib.cli import parser
from prune_lib.cost.printed import Printed
from prune_lib.nets import check_widths, spec
from prune_lib.nets.units import read_units, to_yaml
from prune_lib.papers.recipe import Recipe
from prune_lib.papers.rows import get_row, read_claims, read_tables
from prune_lib.runs import records
from prune_lib.system.errors import InputError
from prune_lib.system.reading import from_json, from_yaml

GENERATED, SOAK = 10_000, 200_000
ODD = [  # values that a field may be given and that hardly any field can take
    None, True, [], {}, "", " ", "x", "1e-3", "NaN", -1, 0.5, 1e309, float("nan"), 10**30, [None], ["a"], {"a": 1},
    [[0.5]], "a\nb", "\x1b[2J", "\u202e", "../x", "~", 2**63, -0.0, "0" * 5000,
]  # fmt: skip


def refused(function, *args):
    """Call it; the one line in which it was refused."""
    with pytest.raises(InputError) as refusal:
        function(*args)
    said = str(refusal.value)
    assert said
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    assert len(said) < 9000
    return said


def _specs():
    """70 malformed rate strings: whole ones with something broken in them by a seeded choice."""
    chance, found = random.Random(8), []
    while len(found) < 70:
        text = list("([0.5]*2+[0.4,0.3]*3)*2+[0.1]")
        place = chance.randrange(len(text))
        change = chance.choice("[](),*+;xe-\x00\n'\"{}_%$@!²½٠")
        broken = "".join([*text[:place], change, *text[place + chance.randrange(2) :]])
        try:
            spec.parse(broken)
        except InputError:
            found.append(broken)
    return found


def _recipes():
    """78 recipes, each with one field that is not what it should be."""
    found = []
    for name, good in {**Recipe().__dict__, "milestones": [0.5]}.items():
        wrong = [odd for odd in ODD if type(odd) is not type(good) and not (type(good) is float and type(odd) is int)]
        wrong = [odd for odd in wrong if not (name == "train_images" and (odd is None or type(odd) is int))]
        found += [{name: odd} for odd in random.Random(name).sample(wrong, 3)]
    return [*found, {"lr": -1.0}, {"lr": float("inf")}, {"gamma": 2.0}, {"milestones": [0.5, "a"]}, {1: 2}, {None: 1}]


TABLE = """
paper: {title: A paper}
tables:
  t:
    title: T
    dataset: CIFAR-10
    source: S
    rule: macs
    arch: resnet20
    layout: dcff
    method: {name: dcff}
    tolerance: 0.3
    budgets: {smoke: {epochs: 1}}
    recipe: {lr: 0.1}
    rows:
      r: {title: R, rates: "[0.5]*12", reported: {top1: 90.0%}}
"""


def _yamls():
    """76 papers' YAML: each field in turn is what it should not be, and what is not YAML at all."""
    good = from_yaml(TABLE, "x")
    assert read_tables("p", TABLE)
    found = []

    def put(value, *path):
        document = json.loads(json.dumps(good))
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        found.append(json.dumps(document))

    table, row = ("tables", "t"), ("tables", "t", "rows", "r")
    for name in ("title", "dataset", "source", "rule", "arch", "layout"):
        for odd in ([], {"a": 1}, 3):
            put(odd, *table, name)
    for name in ("method", "budgets", "recipe", "rows"):
        for odd in ([], "x", None, 3):
            put(odd, *table, name)
    for odd in ("x", None, float("inf"), -1, True, [1]):
        put(odd, *table, "tolerance")
    for odd in (3, ["[0.5]*12"], "[0.5]*11", "[1.5]*12", {}):
        put(odd, *row, "rates")
    for odd in ([], "x", {"top1": 90}, {"top1": "ninety"}, {"x": "1%"}, {"top1": ["90%"]}):
        put(odd, *row, "reported")
    for path, key in ((table, "x"), (row, "x"), (("tables",), "../x"), (("tables", "t", "rows"), "a/b"),
                      (("tables", "t", "rows"), "."), (("tables", "t", "rows"), "a\x00"),
                      (("tables", "t", "rows"), "x" * 200), (("tables", "t", "rows"), "–")):  # fmt: skip
        put({}, *path, key)
    for name in ("nonsense", 3, ["dcff"]):
        put({"name": name}, *table, "method")
    not_yaml = ["", "[", "a: b: c", "a: 2001-13-45", "a: !!int x", "a: !!timestamp x", "&a [*a]", "[" * 5000, "\x00",
                "a: !!binary '*'", "- " * 200_000, "{a: " * 101, "<<: 3", "tables: 3\npaper: 1", "- 1",
                "paper: {}\ntables: {t: }"]  # fmt: skip
    return found + not_yaml


def _records():
    """76 records: each field in turn is what it should not be, and what is no JSON."""
    good = {
        "status": "finished", "budget": "smoke", "key": "k", "seed": 0, "metrics": {"top1_last": 50.0},
        "curves": {"loss": [1.0]}, "networks": {}, "provenance": {},
    }  # fmt: skip
    assert records.wrong_with(good) == ""
    found = []
    for name, value in good.items():
        wrong = [odd for odd in ODD[:20] if type(odd) is not type(value)]
        found += [json.dumps(good | {name: odd}) for odd in wrong[:7]]
        found.append(json.dumps({key: value for key, value in good.items() if key != name}))
    for odd in ("90", [1], {}, -0.1, 100.1, True):
        found.append(json.dumps(good | {"metrics": {"top1_last": odd}}))
    found += [json.dumps(good | {"found": odd}) for odd in (3, [], {"start": "x"})]
    found += [json.dumps(good | {"curves": {"loss": 3}}), json.dumps(good)[:-1], "[" * 100_000, "\x00", "nul"]
    return [text for text in found if text]


def _parameters():
    """Parameters of a notebook that it does not have or cannot take, and words of the command line."""
    wrong = [{"budget": odd} for odd in ODD] + [{"seed": odd} for odd in ODD if type(odd) is not int]
    return [*wrong, {"x": 1}, {"import os": 1}, {"device": 3}, {"seed": True}]


CASES = [
    *[("spec", case) for case in _specs()], *[("recipe", case) for case in _recipes()],
    *[("yaml", case) for case in _yamls()], *[("record", case) for case in _records()],
    *[("parameters", case) for case in _parameters()],
]  # fmt: skip


@pytest.fixture
def empty(project):
    """A project in which nothing may appear."""
    before = sorted(project.rglob("*"))
    yield project
    assert sorted(project.rglob("*")) == before


def _check(kind, case, project):
    if kind == "spec":
        refused(spec.parse, case)
    elif kind == "recipe":
        refused(Recipe.from_dict, case)
    elif kind == "yaml":
        refused(read_tables, "p", case)
    elif kind == "parameters":
        expected = {"budget": ("smoke", "short", "paper"), "seed": int, "device": str}
        refused(lambda: notebook.check_parameters(case, **expected))
    else:
        path = project / "results" / "record.json"
        path.write_text(case)
        assert str(path) in refused(lambda: list(records.records()))
        path.unlink()


def test_three_hundred_malformed_inputs_are_each_one_line(empty, injected):
    seen = 0
    for kind, case in CASES:
        try:
            _check(kind, case, empty)
        except BaseException as error:
            raise AssertionError((kind, case)) from error
        seen += 1
    assert seen == len(CASES)
    assert seen >= 300
    injected("malformed inputs", seen)
    assert {kind: sum(k == kind for k, _ in CASES) >= 40 for kind, _ in CASES} == dict.fromkeys(dict(CASES), True)


@pytest.mark.parametrize(
    "words",
    [
        *(["cost", "resnet20", "--rates", case] for case in _specs()[::7]),
        *(["run", "dcff/cifar10/resnet56", *words] for words in (
            ["--seed", "-1"], ["--seed", "9" * 5000], ["--seed", "1.5"], ["--budget", "../x"], ["--save-every", "nan"],
            ["--save-every", "-1"], ["--device", "x\ny"], ["--units", "/nowhere/x.yaml"], ["--engine", "x"],
        )),
        ["queue", "--seeds", "1000000000000", "--list"], ["queue", "--seeds", "0", "--list"],
        ["queue", "--rows", "../*", "--list"], ["queue", "--jobs", "0", "--rows", "dcff/cifar10/resnet56"],
        ["table", "dcff/../x"], ["table", "\x1b[2J"], ["data", "../x"], ["data", "cifar10", "--data-dir", "~nobody-x"],
        ["eval", "dcff/cifar10/resnet56", "--weights", "x" * 5000], ["cost", "resnet20", "--units", "x\x00y"],
        ["cost", "--weights", "\x00"], ["export", "x" * 5000, "--to", "onnx", "--out", "x.onnx"],
    ],
    ids=lambda words: " ".join(words)[:60].encode("unicode_escape").decode(),
)  # fmt: skip
def test_the_command_line_ends_with_two(words, empty, capsys, monkeypatch, injected):
    monkeypatch.chdir(empty)
    if words[0] == "run":
        monkeypatch.setenv("PRUNE_DATA", str(empty / "nothing"))
    assert parser.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("prune: ")
    assert said.err[:-1].isprintable()
    injected("malformed inputs", 1)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from([*Recipe().__dict__, "x"])
KEYS = st.sampled_from(["title", "rates", "reported", "method", "recipe", "smoke", "arch", "layout", "rule", "start"])
FIELDS = st.sampled_from(["status", "budget", "key", "seed", "metrics", "curves", "networks", "provenance", "x"])


def _tables(changed):
    document = from_yaml(TABLE, "x")
    document["tables"]["t"]["rows"]["r"] |= changed
    return json.dumps(document)


GENERATORS = {  # what reads it, and what it is given; each is called with a tenth of all
    "spec": (spec.parse, st.text(max_size=30) | st.text("[]()*+,.0123456789e- x", max_size=30)),
    "recipe": (Recipe.from_dict, st.dictionaries(NAMES, TREES, max_size=3)),
    "row": (lambda changed: read_tables("p", _tables(changed)), st.dictionaries(KEYS, TREES, max_size=2)),
    "yaml": (lambda text: read_tables("p", text), st.text(max_size=40) | TREES.map(json.dumps)),
    "claims": (lambda tree: read_claims("p", json.dumps({"paper": 1, "tables": {}, "claims": tree})), TREES),
    "json": (lambda text: from_json(text, "x"), st.text('[]{}",:0123456789.eE+-ntfu\\ ', max_size=30)),
    "record": (records.wrong_with, st.dictionaries(FIELDS, TREES, max_size=8) | TREES),
    "printed": (Printed.read, st.text(max_size=10) | SCALARS),
    "parameters": (
        lambda given: notebook.check_parameters(given, seed=int, budget=("smoke",)),
        st.dictionaries(st.sampled_from(["seed", "budget", "x", "_y"]), TREES, max_size=2),
    ),
    "widths": (lambda given: check_widths("resnet20", given), st.dictionaries(
        st.sampled_from(["conv1", "layer1.0.conv1", "x"]), TREES, max_size=2)),
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATORS)
def test_whatever_is_generated_is_read_or_refused_in_one_line(name, soak, injected):
    read, strategy = GENERATORS[name]
    count, seen = (SOAK if soak else GENERATED) // len(GENERATORS), 0

    @settings(
        max_examples=count, database=None, derandomize=not soak, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def check(value):
        nonlocal seen
        seen += 1
        try:
            read(value)
        except InputError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            assert str(error).isprintable()  # noqa: PT017

    check()
    assert seen >= count
    injected("generated inputs", seen)
    assert len(GENERATORS) * (GENERATED // len(GENERATORS)) == 10_000


def test_units_files_of_any_kind_are_read_or_refused(tmp_path):
    path, seen = tmp_path / "units.yaml", 0
    good = to_yaml("resnet20")
    for number in range(150):
        chance = random.Random(number)
        text = list(good)
        for _ in range(chance.choice((1, 3, 30))):
            text[chance.randrange(len(text))] = chance.choice("[]{}:,-&*!#|>'\"%@` \n\t0x")
        path.write_text("".join(text))
        try:
            assert sum(read_units(path, "resnet20").values())
        except InputError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            seen += 1
    assert seen > 100


def test_a_row_of_the_papers_is_still_read():
    assert get_row("dcff/cifar10/resnet56").widths
