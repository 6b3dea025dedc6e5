"""The folder to publish: editions that keep their addresses, what is checked before, and what changed between two."""

import copy
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from test_machines import UNKNOWN, Head, hold, wrong_with_crate

from prune_lib.book.machines.editions import FILE, compare, find_edition, listed, newest, read_edition, snapshot
from prune_lib.book.site import publish as publishing
from prune_lib.book.site.publish import MANIFEST, problems, publish
from prune_lib.cli.parser import main
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
KEPT = "filterexpo/resnet20-study/explore/short-seed0-9ea5c8daec"  # a record with its weights
RECORDS = (f"{KEPT}.json", "dcff/cifar10/vgg16/short-seed0-f6458d4acc.json")


@pytest.fixture
def home(project):
    """A project with two records, and a built book of two pages."""
    (project / "notebooks" / ".gitkeep").touch()
    for name in ("pyproject.toml", "CHANGELOG.md", "book/references.bib", *(f"results/{name}" for name in RECORDS),
                 f"results/{KEPT}.last.safetensors"):  # fmt: skip
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, project / name)
    pages = {
        "index.html": '<a href="notebooks/a.html?q=1#top">a</a> <a href="https://arxiv.org/abs/1">paper</a>',
        "notebooks/a.html": '<link href="../_static/book.css"><a href="#x">x</a><img src="data:image/png;base64,AA">',
    }
    built = project / "book" / "_build" / "html"
    for name, text in {
        **{name: f"<html><head><title>{name}</title></head><body>{text}</body></html>" for name, text in pages.items()},
        "_static/book.css": "td { color: red }",
        ".buildinfo": "for the builder",
        ".doctrees/a.txt": "for the builder",
    }.items():
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_text(text, encoding="utf-8")
    for name in RECORDS:
        (built / "results" / name).parent.mkdir(parents=True)
        shutil.copyfile(project / "results" / name, built / "results" / name)
    return project


def release(home, version, when="2027-01-31"):
    """Give the project another version, released or not."""
    for name, pattern, text in (
        ("pyproject.toml", r'^version = ".*"$', f'version = "{version}"'),
        ("CHANGELOG.md", r"^## \[.*$", f"## [{version}] - {when}"),
    ):
        path = home / name
        found, count = re.subn(pattern, text, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
        assert count == 1
        path.write_text(found, encoding="utf-8")


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_edition_is_whole_and_says_so(home):
    release(home, "1.0.0")
    site = publish(address="https://example.org/book/")
    assert site == home / "site"
    edition = site / "v1.0.0"
    assert {path.name for path in site.iterdir()} == {
        ".nojekyll", "index.html", "editions.html", "editions.json", "robots.txt", "sitemap.xml", "latest", "v1.0.0",
    }  # fmt: skip
    assert {name for name in names(edition) if "/" not in name} == {
        "index.html", "changelog.html", "CHANGELOG.md", "CITATION.cff", "codemeta.json", "croissant.json", FILE,
        "newer.js", "records.csv", "ro-crate-metadata.json", "rows.csv", MANIFEST,
    }  # fmt: skip
    assert f"results/{RECORDS[1]}" in names(edition)
    assert sum(name.startswith("models/") for name in names(edition)) == 4
    sums = dict(reversed(line.split("  ")) for line in (edition / MANIFEST).read_text().splitlines())
    assert set(sums) == names(edition) - {MANIFEST}
    assert all(hashlib.sha256((edition / name).read_bytes()).hexdigest() == sha for name, sha in sums.items())
    assert names(site / "latest") == names(edition)
    assert problems(site) == []
    assert wrong_with_crate(edition) == []
    assert not [path.name for path in home.iterdir() if path.name.startswith(".site")]
    for page in ("v1.0.0/notebooks/a.html", "latest/notebooks/a.html"):
        tags = Head((site / page).read_text(encoding="utf-8")).tags
        assert tags["canonical"] == "https://example.org/book/v1.0.0/notebooks/a.html"
    front = (site / "index.html").read_text(encoding="utf-8")
    assert 'content="0; url=latest/index.html"' in front
    assert Head(front).tags["canonical"] == "https://example.org/book/v1.0.0/index.html"
    assert "https://example.org/book/v1.0.0/notebooks/a.html" in (site / "sitemap.xml").read_text(encoding="utf-8")


def test_without_an_address_the_site_still_works_and_no_sitemap_is_made_up(home):
    site = publish()
    (edition,) = listed(site)
    assert edition.endswith("-draft")
    assert not (site / "sitemap.xml").exists()
    for page in (site / "latest" / "notebooks" / "a.html", site / edition / "notebooks" / "a.html"):
        canonical = Head(page.read_text(encoding="utf-8")).tags["canonical"]
        assert (page.parent / canonical).resolve() == site / edition / "notebooks" / "a.html"
    assert problems(site) == []


def test_the_crate_of_an_edition_is_valid(home):
    release(home, "1.0.0")
    hold(publish(address="https://example.org/book") / "v1.0.0", UNKNOWN)


def test_a_released_edition_never_changes_and_a_draft_is_replaced(home, capsys):
    release(home, "1.0.0", "unreleased")
    site = publish()
    page = home / "book" / "_build" / "html" / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("paper", "again"), encoding="utf-8")
    assert publish() == site
    assert "again" in (site / "v1.0.0-draft" / "index.html").read_text(encoding="utf-8")
    release(home, "1.0.0")
    publish()
    assert listed(site) == ["v1.0.0"], "the draft has become it"
    before = {name: (site / "v1.0.0" / name).read_bytes() for name in names(site / "v1.0.0")}
    with pytest.raises(InputError, match=re.escape("v1.0.0 is published in")):
        publish()
    assert publishing.main([]) == 2
    assert "--replace if nobody has seen it" in capsys.readouterr().err
    release(home, "1.1.0", "unreleased")
    publish()
    assert listed(site) == ["v1.0.0", "v1.1.0-draft"]
    assert {name: (site / "v1.0.0" / name).read_bytes() for name in names(site / "v1.0.0")} == before
    assert json.loads((site / "editions.json").read_text())["latest"] == "v1.0.0", "a draft is not the latest"
    assert names(site / "latest") == names(site / "v1.0.0")
    release(home, "1.0.0")
    assert publishing.main(["--replace"]) == 0
    assert "address is not known" in capsys.readouterr().out


def test_editions_say_what_changed(home, capsys):
    release(home, "1.0.0")
    site = publish()
    for folder in (home / "results", home / "book" / "_build" / "html" / "results"):
        (folder / RECORDS[1]).unlink()
    release(home, "1.1.0")
    publish()
    found = json.loads((site / "editions.json").read_text(encoding="utf-8"))
    (first, second) = found["editions"]
    assert (first["changes"], second["changes"]["before"], second["changes"]["after"]) == (None, "v1.0.0", "v1.1.0")
    removed = [change for change in second["changes"]["changes"] if change["section"] == "records"]
    assert [(change["name"], change["what"]) for change in removed] == [(RECORDS[1], "removed")]
    page = (site / "editions.html").read_text(encoding="utf-8")
    assert page.index('id="v1.1.0"') < page.index('id="v1.0.0"')
    assert RECORDS[1] in page
    assert main(["editions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"editions": ["v1.0.0", "v1.1.0"], "latest": "v1.1.0"}
    assert main(["editions", "compare", "1.0.0", "latest"]) == 0
    assert f"removed: {RECORDS[1]}" in capsys.readouterr().out
    assert main(["editions", "compare", str(site / "v1.1.0"), "now", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"before": "v1.1.0", "after": "now", "changes": []}
    for words in (["compare", "v2", "now"], ["compare", "now"], ["list"]):
        assert main(["editions", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "asks another host for https://cdn.example/x.js"),
        ('<img src="//cdn.example/x.png">', "asks another host"),
        ('<a href="/notebooks/a.html">a</a>', "has the absolute link /notebooks/a.html"),
        ('<a href="gone.html">a</a>', "links to gone.html, which is not in the book"),
        ('<a href="../../x.html">a</a>', "which is not in the book"),
        ('<link rel="canonical" href="gone.html">', "links to gone.html"),
        ("<p>{home}/notebooks</p>", "index.html names {home}"),
    ],
)
def test_what_would_not_work_elsewhere_is_not_published(home, text, words):
    page = home / "book" / "_build" / "html" / "index.html"
    page.write_text(text.replace("{home}", str(home)), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(words.replace("{home}", str(home)))):
        publish()
    assert not (home / "site").exists()


def test_nothing_is_published_before_it_is_built(home, tmp_path):
    with pytest.raises(InputError, match="run 'prune book' first"):
        publish(tmp_path / "nothing")
    (home / "book" / "_build" / "html" / "results" / RECORDS[1]).write_text("{}")
    with pytest.raises(InputError, match=re.escape(f"older than 1 records ({RECORDS[1]}")):
        publish()


def test_a_folder_of_other_things_is_left_alone(home, tmp_path):
    other = tmp_path / "www"
    other.mkdir()
    (other / "index.html").touch()
    with pytest.raises(InputError, match=re.escape("is something else (index.html); expected a folder of editions")):
        publish(site=other)
    with pytest.raises(InputError, match="is something else"):
        publish(site=other / "index.html")
    assert [path.name for path in other.iterdir()] == ["index.html"]
    (other / "index.html").unlink()
    (other / ".git").mkdir()
    (other / "CNAME").touch()
    before = {".git", "CNAME"}
    for _ in range(2):
        assert publish(site=other) == other
        assert before < {path.name for path in other.iterdir()}
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".www")]


@pytest.mark.parametrize("after", [0, 1, 2], ids=["before", "between the two renames", "before it is tidied"])
def test_a_process_that_ends_while_the_folder_is_exchanged_loses_nothing(home, monkeypatch, after):
    release(home, "1.0.0")
    site = publish()
    (site / "CNAME").touch()
    release(home, "1.1.0")
    moves, rename = [], Path.rename

    def some(self, target):
        if len(moves) == after:
            raise KeyboardInterrupt
        moves.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", some)
    with pytest.raises(KeyboardInterrupt):
        publish()
    monkeypatch.undo()
    monkeypatch.setenv("PRUNE_HOME", str(home))
    release(home, "1.1.0", "unreleased")
    publish()
    assert set(listed(site)) >= {"v1.0.0", "v1.1.0-draft"}
    assert (site / "CNAME").is_file()
    assert not [path.name for path in home.iterdir() if path.name.startswith(".site")]


def test_editions_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("v1.10.0", "v1.9.0", "v1.10.0-draft", "v2.0.0-draft", "vx", "latest"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).touch()
    assert listed(tmp_path) == ["v1.9.0", "v1.10.0-draft", "v1.10.0", "v2.0.0-draft"]
    assert newest(listed(tmp_path)) == "v1.10.0"
    assert newest(["v1-draft", "v2-draft"]) == "v2-draft"


@pytest.fixture(scope="module")
def now():
    """This checkout as an edition; what the cases below start from is set, for new records change it."""
    edition = snapshot()
    edition["rows"]["dcff/cifar10/vgg16"] |= {
        "verdict": "not attempted", "count_verdict": "source inconsistent", "seeds": [0, 1],
    }  # fmt: skip
    edition["claims"]["regrowing"]["verdict"] = "not tested yet"
    return edition


def test_nothing_has_changed_since_now(now):
    assert compare(now, copy.deepcopy(now)).changes == []
    assert str(compare(now, now)).endswith("nothing changed")


def changed(now, change):
    other = copy.deepcopy(now)
    change(other)
    return compare(now, other)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda e: e["rows"]["dcff/cifar10/vgg16"].update(verdict="reproduced"),
         "verdicts: dcff/cifar10/vgg16, accuracy: not attempted -> reproduced"),
        (lambda e: e["rows"]["dcff/cifar10/vgg16"].update(count_verdict="exact"),
         "verdicts: dcff/cifar10/vgg16, counts: source inconsistent -> exact"),
        (lambda e: e["rows"]["dcff/cifar10/vgg16"]["recounted"].update(params=1),
         "rows: dcff/cifar10/vgg16, recounted: "),
        (lambda e: e["rows"]["dcff/cifar10/vgg16"].update(seeds=[0, 1, 2]),
         "measured: dcff/cifar10/vgg16, seeds: 0, 1 -> 0, 1, 2"),
        (lambda e: e["rows"].pop("dcff/cifar10/vgg16"), "rows: removed: dcff/cifar10/vgg16"),
        (lambda e: e["rows"].update(new=e["rows"]["dcff/cifar10/vgg16"]), "rows: added: new, source inconsistent"),
        (lambda e: e["claims"]["regrowing"].update(verdict="supported here"),
         "verdicts: claim regrowing, verdict: not tested yet -> supported here"),
        (lambda e: e["claims"]["regrowing"]["contrasts"].clear(),
         "claims: regrowing, arena/scratch50/explore - arena/scratch50/prune_only: "),
        (lambda e: e["records"][RECORDS[1]].update(sha256="0"), f"records: {RECORDS[1]}, sha256: "),
        (lambda e: e["records"].pop(RECORDS[1]), f"records: removed: {RECORDS[1]}"),
        (lambda e: e["errata"].popitem(), "errata: removed: "),
    ],
)  # fmt: skip
def test_each_kind_of_change_is_told(now, change, line):
    found = changed(now, change)
    (one,) = found.changes
    assert f"{one.section}: {one}".startswith(line)
    assert str(one) in str(found)
    assert found.to_json()["changes"][0]["name"] == one.name
    assert "<td>" in found.to_html()


def test_a_change_is_escaped_on_the_page(now):
    found = changed(now, lambda e: e["rows"]["dcff/cifar10/vgg16"].update(title="<script>"))
    assert "<script>" not in found.to_html()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.update(schema=2), "expected JSON with schema 1"),
        (lambda e: e.update(edition=None), "expected JSON with schema 1"),
        (lambda e: e.update(rows=[]), "expected a mapping of mappings"),
        (lambda e: e["records"].update(x=1), "expected a mapping of mappings"),
        (lambda e: e["claims"].update(x={}), "expected text, verdict and contrasts"),
        (lambda e: e["claims"].update(x={"text": "", "verdict": "", "contrasts": {"a": 1}}), "without figures"),
        (lambda e: e["claims"].update(x={"text": "", "verdict": "", "contrasts": {"a": {"mean": "1"}}}), "without fig"),
    ],
)
def test_a_damaged_edition_is_one_line(now, tmp_path, change, words):
    other = copy.deepcopy(now)
    change(other)
    (tmp_path / FILE).write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_edition(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_edition_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no edition 'v3'"):
        find_edition("v3", tmp_path)
    with pytest.raises(InputError, match="expected a file of text"):
        find_edition(str(tmp_path), tmp_path)
