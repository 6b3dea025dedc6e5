"""What machines read: citations, crates, the data set, model cards, page heads, Binder; by the formats' own validators
where these are installed (`make validate`), and by checks of ours everywhere."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from prune_lib.book.machines import COMMITTED, stale, write
from prune_lib.book.machines.cards import model_folders
from prune_lib.book.machines.citing import bibtex, citation, zenodo
from prune_lib.book.machines.crate import DESCRIPTOR
from prune_lib.book.machines.croissant import RECORDS, ROWS, croissant, records_csv, rows_csv
from prune_lib.book.machines.editions import committed
from prune_lib.book.machines.head import OTHER, described, robots, sitemap, with_tags
from prune_lib.book.machines.project import read_project, released
from prune_lib.book.tables.results import load_results
from prune_lib.book.tables.table import load_line
from prune_lib.cli.parser import main
from prune_lib.papers.rows import all_rows, get_row, papers
from prune_lib.system.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
VALIDATORS = Path(__file__).resolve().parent / "validators"


def validator(command):
    """The path of a validator's command, in ``$PRUNE_VALIDATORS`` or beside this Python; else the test is skipped."""
    for folder in filter(None, (os.environ.get("PRUNE_VALIDATORS"), str(Path(sys.executable).parent))):
        if (Path(folder) / command).exists():
            return str((Path(folder) / command).absolute())
    pytest.skip(f"{command} is not installed: make validate")


def judged(needs, script, *words, cwd=ROOT):
    """What a script of ``tests/validators`` prints last, run by the Python beside the validator that it ``needs``."""
    python = Path(validator(needs)).with_name("python")
    command = [str(python), str(VALIDATORS / script), *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


@pytest.fixture(scope="module")
def project():
    return read_project(ROOT)


@pytest.fixture
def elsewhere(project):
    """The project as it will be once it was released and has an address."""
    return replace(project, version="1.3.0", released=date(2027, 1, 31), address="https://example.org/book")


@pytest.fixture
def copy(tmp_path):
    """As much of the checkout as the metadata are made from."""
    for name in ("pyproject.toml", "CHANGELOG.md", "book/references.bib", *COMMITTED):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_what_is_committed_is_what_would_be_written():
    assert stale(ROOT) == [], "run 'prune metadata' and commit what it writes"


def test_a_new_version_makes_all_of_it_stale_until_it_is_written(copy, project, monkeypatch, capsys):
    assert stale(copy) == []
    for name in ("pyproject.toml", "CHANGELOG.md"):
        text = (copy / name).read_text(encoding="utf-8")
        text = text.replace(f'version = "{project.version}"', 'version = "9.9"')
        text = re.sub(r"^## \[.*$", "## [9.9] - 2030-01-02", text, count=1, flags=re.MULTILINE)
        (copy / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PRUNE_HOME", str(copy))
    assert main(["metadata", "--check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["stale"] == list(COMMITTED) == stale(copy)
    assert main(["metadata"]) == 0
    assert main(["metadata", "--check"]) == 0
    cited = yaml.safe_load((copy / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["date-released"]) == ("9.9", "2030-01-02")
    assert write(copy) == []


def test_the_book_and_the_package_say_the_same(project):
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    assert (config["title"], config["author"]) == (project.title, ", ".join(project.authors))
    assert {paper.id for paper in project.papers} >= {"dcff", "cdp", "cfdp", "hrank", "filterexpo"}


@pytest.mark.parametrize(
    ("heading", "found"),
    [("unreleased", None), ("2026-12-31", date(2026, 12, 31)), ("soon", "is of 'soon'"), (None, "is of None")],
)
def test_a_version_was_released_when_the_changelog_says(heading, found):
    changelog = f"# Changelog\n\n## [1.0] - 2020-01-01\n\n## [2.0] - {heading}\n" if heading else "# Changelog\n"
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            released(changelog, "2.0")
    else:
        assert released(changelog, "2.0") == found


@pytest.mark.parametrize(
    ("line", "other", "words"),
    [
        ('address = ""', 'address = "example.org"', "expected an address such as https://example.org/pruning"),
        ('address = ""', 'address = "https://example.org/?a=1"', "expected an address"),
        ('address = ""', "address = 3", "address is 3; expected str"),
        ("begun = 20", "begun = 'x' # 20", "begun is 'x'; expected date"),
        ("\n[tool.prune-book]\n", "\n[tool.other]\n", "title is None; expected str"),
        ("\n[project]\n", "\n[project\n", "not TOML"),
    ],
)
def test_a_wrong_field_is_one_line(copy, line, other, words):
    text = (copy / "pyproject.toml").read_text(encoding="utf-8")
    assert text.count(line) == 1
    (copy / "pyproject.toml").write_text(text.replace(line, other), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_project(copy)
    assert "\n" not in str(caught.value)


def test_outside_a_checkout_it_says_so(tmp_path):
    with pytest.raises(InputError, match="expected a checkout of the project"):
        read_project(tmp_path)


def test_a_paper_without_its_entry_is_refused(copy):
    path = copy / "book" / "references.bib"
    path.write_text(path.read_text(encoding="utf-8").replace("{xu2021cdp,", "{other,"), encoding="utf-8")
    with pytest.raises(InputError, match="no entry xu2021cdp with author and year"):
        read_project(copy)


def test_the_authors_of_a_paper_are_those_of_its_entry():
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    cited = {paper["cite"]: paper["authors"] for each in papers().values() if (paper := each["paper"])["cite"]}
    assert len(cited) >= 6
    for key, authors in cited.items():
        entry = bibliography.partition(f"{{{key},")[2]
        found = entry.partition("author = {")[2].partition("},\n")[0]
        assert ", ".join(name.partition(",")[0].strip("{}") for name in found.split(" and ")) == authors


def test_a_released_book_says_when_and_where(elsewhere):
    cited = yaml.safe_load(citation(elsewhere))
    assert (cited["date-released"], cited["url"]) == ("2027-01-31", "https://example.org/book")
    deposit = json.loads(zenodo(elsewhere))
    assert deposit["publication_date"] == "2027-01-31"
    assert deposit["related_identifiers"][-1]["identifier"] == "https://example.org/book/v1.3.0/"
    assert {"title", "description", "upload_type", "creators", "license", "access_right"} <= set(deposit)
    assert "url     = {https://example.org/book/v1.3.0/}" in bibtex(elsewhere)
    assert r"prune\_lib" in bibtex(elsewhere)


def test_citation_is_valid_cff():
    done = subprocess.run(
        [validator("cffconvert"), "--validate", "-i", str(ROOT / "CITATION.cff")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# What a crate should say and ours cannot: identifiers and affiliations of people whom we only cite, an address and a
# contact of the project, which has none, and of the repository each file's size, which changes with each commit.
UNKNOWN = ("affiliation", "ORCID", "ROR identifier", "organization SHOULD have a URL", "contactPoint")
CHANGING = ("contentSize", "list their contents")


def hold(folder, allowed):
    """Nothing that RO-Crate 1.2 requires is missing, and of what it recommends only what is ``allowed`` to be."""
    issues = judged("rocrate-validator", "crate.py", folder, "RECOMMENDED")["issues"]
    assert [one for one in issues if one.startswith("REQUIRED") or not any(word in one for word in allowed)] == []


def test_the_repository_is_a_valid_crate():
    hold(ROOT, (*UNKNOWN, *CHANGING))


def test_a_wrong_crate_is_not_valid(tmp_path):
    crate = json.loads((ROOT / DESCRIPTOR).read_text(encoding="utf-8"))
    del crate["@graph"][1]["license"]
    crate["@graph"][1]["hasPart"] = []
    crate["@graph"] = [entity for entity in crate["@graph"] if entity["@type"] not in ("File", "Dataset")] + [
        crate["@graph"][1]
    ]
    (tmp_path / DESCRIPTOR).write_text(json.dumps(crate), encoding="utf-8")
    found = judged("rocrate-validator", "crate.py", tmp_path, "REQUIRED")
    assert not found["passed"]
    assert any("license" in issue for issue in found["issues"]), found


def wrong_with_crate(folder):
    """What our own checks find: a reference to nothing, a file that is not there or not of its checksum."""
    graph = json.loads((folder / DESCRIPTOR).read_text(encoding="utf-8"))["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph), "one entity for each @id"
    found = []
    for entity in graph:
        for name, value in entity.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and one["@id"] not in entities and name != "conformsTo":
                    found.append(f"{entity['@id']}, {name}: {one['@id']} is nothing here")
        if entity["@type"] in ("File", "Dataset"):
            path = folder / entity["@id"]
            if not path.exists() or path.is_dir() != (entity["@type"] == "Dataset"):
                found.append(f"{entity['@id']} is not there")
            elif "sha256" in entity and hashlib.sha256(path.read_bytes()).hexdigest() != entity["sha256"]:
                found.append(f"{entity['@id']} has another checksum")
    return found


def test_the_crate_names_what_is_there():
    assert wrong_with_crate(ROOT) == []


def test_codemeta_asks_for_what_the_package_asks_for(project):
    document = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    toml = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [f"{one['name']}{one.get('version', '')}" for one in document["softwareRequirements"]]
    assert asked == toml["dependencies"]
    assert document["@context"] == "https://w3id.org/codemeta/3.0"
    assert {"name", "description", "version", "license", "author", "programmingLanguage"} <= set(document)


@pytest.fixture(scope="module")
def tables():
    rows = all_rows()
    return {
        "rows.csv": rows_csv(load_results().to_json(), rows),
        "records.csv": records_csv(committed(), ROOT / "results", rows),
    }


def test_the_tables_hold_every_row_and_record(tables):
    lines = {name: list(csv.DictReader(io.StringIO(text))) for name, text in tables.items()}
    assert {line["row"] for line in lines["rows.csv"]} == set(all_rows())
    assert [line["file"] for line in lines["records.csv"]] == list(committed())
    assert {line["row"] for line in lines["records.csv"]} <= set(all_rows())
    vgg = next(line for line in lines["rows.csv"] if line["row"] == "dcff/cifar10/vgg16")
    assert (vgg["reported_flops"], vgg["recounted_flops"]) == ("72.77M", "72771956")
    assert vgg["verdict"] == load_line(get_row(vgg["row"])).accuracy.verdict
    for columns, name in ((ROWS, "rows.csv"), (RECORDS, "records.csv")):
        for column in columns:  # a number that may be missing is a float, and a whole one never is
            values = [line[column.name] for line in lines[name]]
            if column.kind == "sc:Integer":
                assert all(value.isdigit() for value in values), column
            if column.kind == "sc:Float":
                assert any(values), column
                assert all(float(value) >= 0 for value in values if value), column


def test_croissant_describes_the_tables(tables, project):
    document = json.loads(croissant(project, tables))
    for file in document["distribution"]:
        assert file["sha256"] == hashlib.sha256(tables[file["contentUrl"]].encode()).hexdigest()
    for records in document["recordSet"]:
        heads = tables[f"{records['name']}.csv"].partition("\n")[0].split(",")
        assert [field["source"]["extract"]["column"] for field in records["field"]] == heads
        assert records["key"]["@id"] in {field["@id"] for field in records["field"]}


def test_croissant_is_valid_and_loads(tables, project, tmp_path):
    for name, text in (*tables.items(), ("croissant.json", croissant(project, tables))):
        (tmp_path / name).write_text(text, encoding="utf-8")
    loaded = judged("mlcroissant", "croissant.py", tmp_path / "croissant.json")
    assert loaded == {
        "rows": [len(all_rows()), sorted(f"rows/{column.name}" for column in ROWS)],
        "records": [len(committed()), sorted(f"records/{column.name}" for column in RECORDS)],
    }


def test_each_kept_network_is_a_folder_for_the_hub(elsewhere):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    found = model_folders(elsewhere, ROOT / "results")
    weights = [path for path in found.values() if isinstance(path, Path) and path.suffix == ".safetensors"]
    assert len(weights) == len(list((ROOT / "results").rglob("*.safetensors"))) > 3
    cards = {name: text for name, text in found.items() if name.endswith("/README.md")}
    assert len(cards) == len(weights)
    for name, text in cards.items():
        card = hub.ModelCard(text, ignore_metadata_errors=False)
        (result,) = card.data.eval_results
        entries = yaml.safe_load(found[f"{name.partition('/')[0]}/.eval_results/cifar10.yaml"])
        (entry,) = hub.parse_eval_result_entries(entries)
        assert (entry.dataset_id, entry.value) == (result.dataset_type, result.metric_value)
        assert hub.eval_result_entries_to_yaml([entry]) == entries
        assert entry.source_url.startswith("https://example.org/book/v1.3.0/results/")
        assert (ROOT / entry.source_url.partition("v1.3.0/")[2]).is_file()
        record = json.loads((ROOT / entry.source_url.partition("v1.3.0/")[2]).read_text(encoding="utf-8"))
        protocol = name.partition("/")[0].rpartition("--")[2]
        assert entry.value == record["metrics"][f"top1_{protocol}"]
        assert ("not the paper's recipe" in entry.notes) == (record["budget"] != "paper")


def test_weights_without_their_record_are_refused(project, tmp_path):
    (tmp_path / "x.last.safetensors").write_bytes(b"")
    (tmp_path / "x.json").write_text('{"status": "failed"}', encoding="utf-8")
    with pytest.raises(InputError, match="expected STEM"):
        model_folders(project, tmp_path)


class Head(HTMLParser):
    """``{rel, property or name: (href or content)}`` of a page's links and meta tags, and its JSON-LD."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.script, self._in = {}, "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._in = tag == "script" and given.get("type") == "application/ld+json"
        if tag in ("link", "meta"):
            key = given.get("rel") or given.get("property") or given.get("name") or given.get("http-equiv")
            assert key not in self.tags, f"{key} twice"
            self.tags[key] = given.get("href") or given.get("content")

    def handle_data(self, data):
        self.script += data if self._in else ""


PAGE = """<html><head><title>A &amp; "B" — Book</title></head><body>
<nav><p>No text of the page, but six words.</p></nav>
<main><p>Short.</p><p>What the page is about,
in &lt;one&gt; sentence.</p></main><footer>f</footer></body></html>"""


def test_a_page_says_its_address_and_what_it_is_about(elsewhere):
    made = with_tags(PAGE, "notebooks/a.html", elsewhere, picture=True)
    tags = Head(made).tags
    assert tags["canonical"] == tags["og:url"] == "https://example.org/book/v1.3.0/notebooks/a.html"
    assert tags["og:title"] == 'A & "B" — Book'
    assert tags["og:description"] == tags["description"] == "What the page is about, in <one> sentence."
    assert tags["og:image"] == "https://example.org/book/v1.3.0/_static/table.png"
    assert tags["describedby"] == "../ro-crate-metadata.json"
    assert '<a href="../changelog.html">' in made.partition("<footer>")[2].partition("</footer>")[0]
    two = PAGE.replace("</main>", "<footer>text</footer></main>")  # the text's footer before the page's
    assert "<footer>text<p" in with_tags(two, "a.html", elsewhere)
    assert "<footer><p" in with_tags(PAGE.replace("<footer>f</footer>", ""), "a.html", elsewhere)
    assert with_tags(made, "notebooks/a.html", elsewhere).count('rel="canonical"') == 1


def test_binder_is_linked_where_it_can_read_the_repository(elsewhere):
    here = replace(elsewhere, repository="https://github.com/owner/book")
    place = "https://mybinder.org/v2/gh/owner/book/v1.3.0?urlpath=lab%2Ftree%2Fnotebooks%2Fexplorer.py"
    assert f'<a href="{place}">' in with_tags(PAGE, "a.html", here)
    assert "/gh/owner/book/HEAD?" in replace(here, released=None).binder
    for other in ("", "https://example.org/owner/book", "https://github.com/owner"):
        assert "mybinder" not in with_tags(PAGE, "a.html", replace(here, repository=other))


def test_without_an_address_links_are_relative_and_none_is_made_up(project):
    tags = Head(with_tags(PAGE, "notebooks/deep/a.html", project)).tags
    assert tags["canonical"] == f"../../../{project.edition}/notebooks/deep/a.html"
    assert not {"og:url", "og:image"} & set(tags)
    assert not any("example" in value for value in tags.values())


def test_the_first_page_is_a_data_set_for_search_engines(elsewhere):
    hostile = replace(elsewhere, title="</script><script>alert(1)</script>")
    made = with_tags(PAGE, "index.html", hostile)
    assert "<script>alert" not in made
    document = json.loads(Head(made).script)
    assert (document["@type"], document["url"]) == ("Dataset", "https://example.org/book/v1.3.0/")
    assert document["distribution"][0]["contentUrl"].endswith("/v1.3.0/rows.csv")
    assert not Head(with_tags(PAGE, "a.html", elsewhere)).script


def test_a_long_description_ends_with_a_word():
    title, about = described(f"<title>t</title><main><p>{'word ' * 100}</p></main>", "other")
    assert (title, about) == ("t", " ".join(["word"] * 40) + " …")
    assert described("<title>t</title><p>outside of the text, that is no description</p>", "other") == ("t", "other")


def test_the_sitemap_lists_the_pages_of_one_edition(elsewhere):
    tree = ElementTree.fromstring(sitemap(elsewhere, "v1.2.0", ["index.html", "a&b.html", *OTHER]))
    names = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}
    assert [loc.text for loc in tree.findall("s:url/s:loc", names)] == [
        "https://example.org/book/editions.html", "https://example.org/book/v1.2.0/index.html",
        "https://example.org/book/v1.2.0/a&b.html",
    ]  # fmt: skip
    assert "Sitemap: https://example.org/book/sitemap.xml" in robots(elsewhere)


def test_binder_installs_what_the_lock_pins():
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if not line.startswith("#")]
    assert asked == ["--constraint ../requirements.lock", "--editable .[lab]", "grad-cam"]
    assert (ROOT / "binder" / "../requirements.lock").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "lab" in project["optional-dependencies"]
    version = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
    assert tuple(map(int, version.split("."))) >= (3, 11)
    script = ROOT / "binder" / "postBuild"
    assert script.read_text(encoding="utf-8").startswith("#!/bin/bash\n")
    assert "\nset -e\n" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", str(script)], check=True)


def test_binder_does_what_is_meant():
    found = judged("jupyter-repo2docker", "binder.py")
    assert (found["pack"], found["python"]) == ("PythonBuildPack", "3.11")
    install, *rest = found["steps"]
    assert install.endswith('pip install --no-cache-dir -r "binder/requirements.txt"')
    assert rest == ["chmod +x binder/postBuild", "./binder/postBuild"]
