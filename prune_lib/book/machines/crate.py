"""RO-Crates 1.2: what is in the repository, and what is in a published edition, as JSON-LD.

The repository's crate names folders and documents, so a new record does not change it. An edition's names every record,
with its checksum and the run that made it. Specification: https://w3id.org/ro/crate/1.2
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...papers.rows import Row, table_title
from .citing import article, as_json
from .project import Project

DESCRIPTOR = "ro-crate-metadata.json"
VERSION = "https://w3id.org/ro/crate/1.2"
DOCUMENTS = {  # files at the root -> what they are
    "README.md": "What this is, and how to use it",
    "CHANGELOG.md": "What changed, version by version",
    "CONTRIBUTING.md": "Where things live, and how to add some",
    "LICENSE": "The licence",
    "CITATION.cff": "How to cite it",
    "codemeta.json": "The software's metadata in CodeMeta's terms",
    "pyproject.toml": "The package, and what these metadata are made from",
    "requirements.lock": "The versions of all packages that it is tested with",
    "environment.yml": "The same versions for conda",
}
FOLDERS = {
    "book/": ("The book's own pages", "Text of the book that is no notebook, as Markdown."),
    "notebooks/": ("The book's notebooks", "One chapter each, as Python text that Jupytext opens as a notebook."),
    "results/": ("Records", "What each run measured: one JSON file a run, never changed, and some trained networks."),
    "benchmarks/": ("Benchmarks", "How fast the library is, and what other people's counters print."),
    "tests/": ("Tests", "What holds the library and the book to what they say."),
}
TYPES = {
    ".md": "text/markdown", ".json": "application/json", ".toml": "application/toml", ".yml": "application/yaml",
    ".yaml": "application/yaml", ".cff": "application/yaml", ".html": "text/html", ".csv": "text/csv",
    ".safetensors": "application/octet-stream", ".py": "text/x-python", ".xml": "application/xml",
}  # fmt: skip


def ref(name: str) -> dict:
    return {"@id": name}


def _refs(names: Iterable[str]) -> list[dict] | dict:
    """References; a single one stands by itself, as compact JSON-LD has it."""
    found = [ref(name) for name in names]
    return found[0] if len(found) == 1 else found


def repository_crate(project: Project) -> str:
    """``ro-crate-metadata.json`` of the repository."""
    code = {
        "@id": "prune_lib/", "@type": "Dataset", "name": project.name,
        "description": project.description, "version": project.version,
        "hasPart": [ref(f"prune_lib/papers/{paper.id}.yaml") for paper in project.papers],
    }  # fmt: skip
    rows = [
        _file(f"prune_lib/papers/{paper.id}.yaml", f"Rows of {paper.title}",
              "Every figure of the paper's tables as printed, and how its networks are rebuilt and trained.",
              isBasedOn=ref(paper.link))
        for paper in project.papers
    ]  # fmt: skip
    documents = [_file(name, name, what) for name, what in DOCUMENTS.items()]
    folders = [{"@id": name, "@type": "Dataset", "name": title, "description": what}
               for name, (title, what) in FOLDERS.items()]  # fmt: skip
    root = _root(project, project.title, [*DOCUMENTS, "prune_lib/", *FOLDERS])
    return _crate(project, root, [code, *documents, *folders, *rows])


def edition_crate(project: Project, folder: Path, records: Mapping[str, dict], rows: Mapping[str, Row]) -> str:
    """``ro-crate-metadata.json`` of a published edition.

    Args:
        folder: where it is.
        records: ``{path below results/: record}``, as they lie in ``folder/results``.
        rows: the rows by their ids.
    """
    tables: dict[str, list[dict]] = {}
    actions: list[dict] = []
    engines: dict[str, str] = {}
    for path, record in records.items():
        row = rows.get(record.get("row", ""))
        table = "/".join(path.split("/")[:-2])
        name = f"{row.title if row else path}, {record['budget']}, seed {record['seed']}"
        action = _action(path, record, name)
        tables.setdefault(table, []).append(_measured(folder, path, record, name, row))
        if action:
            actions.append(action)
            engines[action["instrument"]["@id"]] = record["provenance"]["code"]
    folders: list[dict] = [
        {
            "@id": f"results/{table}/", "@type": "Dataset", "name": _title(table),
            "description": f"Records of the runs of {table}.", "hasPart": _refs(file["@id"] for file in files),
        }
        for table, files in tables.items()
    ]  # fmt: skip
    every = {
        "@id": "results/", "@type": "Dataset", "name": FOLDERS["results/"][0], "description": FOLDERS["results/"][1],
        "hasPart": _refs(one["@id"] for one in folders),
    }  # fmt: skip
    said = {
        "index.html": "The book's first page", "changelog.html": "What changed, version by version",
        "edition.json": "Verdicts, rows and records of this edition, to compare it with others",
        "croissant.json": "Rows and records as a data set, in Croissant's terms",
        "records.csv": "One line for each record", "rows.csv": "One line for each row of the papers' tables",
    }  # fmt: skip
    there = {name: what for name, what in said.items() if (folder / name).is_file()}
    documents = [_file(name, name, what) | _size(folder / name) for name, what in there.items()]
    code = [
        {"@id": name, "@type": "SoftwareApplication" if _place(project) else "CreativeWork", "version": version,
         "name": f"{project.name} {version}", **_place(project)}
        for name, version in engines.items()
    ]  # fmt: skip
    ends = {action["actionStatus"]["@id"] for action in actions}
    code += [{"@id": end, "@type": "ActionStatusType", "name": end.rpartition("/")[2]} for end in sorted(ends)]
    root = _root(project, f"{project.title}, {project.edition}", [*there, "results/"])
    root |= {"mentions": _refs(action["@id"] for action in actions)} if actions else {}
    files = [file for table in tables.values() for file in table]
    return _crate(project, root, [every, *folders, *files, *documents, *actions, *code])


def _title(table: str) -> str:
    try:
        return table_title(table)
    except (KeyError, ValueError):
        return table


def _measured(folder: Path, path: str, record: dict, name: str, row: Row | None) -> dict:
    """The entity of a record: what it is of, and its figures."""
    file = _file(f"results/{path}", f"Record of {name}", f"What the run measured, or how it ended: {record['status']}.")
    figures = {key: value for key, value in record.get("metrics", {}).items() if type(value) in (int, float)}
    about = {"isBasedOn": ref("#rows")} if row is None else {"identifier": row.id}
    return file | _size(folder / "results" / path) | about | ({"variableMeasured": sorted(figures)} if figures else {})


def _action(path: str, record: dict, name: str) -> dict | None:
    """The run behind a record, if that says when it was."""
    origin = record.get("provenance") or {}
    if not origin.get("ended") or not origin.get("code"):
        return None
    return {
        "@id": f"#run-{path.removesuffix('.json')}", "@type": "CreateAction", "name": f"Run of {name}",
        "instrument": ref(f"#code-{origin['code']}"), "agent": ref("#authors"), "result": ref(f"results/{path}"),
        **({"startTime": origin["started"]} if origin.get("started") else {}), "endTime": origin["ended"],
        "actionStatus": ref("http://schema.org/CompletedActionStatus" if record["status"] == "finished"
                            else "http://schema.org/FailedActionStatus"),
    }  # fmt: skip


def _file(name: str, title: str, description: str, **more) -> dict:
    kind = TYPES.get(Path(name).suffix)
    kind = kind or ("text/plain" if name in DOCUMENTS else "application/octet-stream")
    return {"@id": name, "@type": "File", "name": title, "description": description, "encodingFormat": kind, **more}


def _size(path: Path) -> dict:
    data = path.read_bytes()
    return {"contentSize": str(len(data)), "sha256": hashlib.sha256(data).hexdigest()}


def _root(project: Project, name: str, parts: Iterable[str]) -> dict:
    place = project.address and {"url": project.at()}
    return {
        "@id": "./", "@type": "Dataset", "name": name, "description": project.abstract,
        "datePublished": project.published.isoformat(), "dateCreated": project.begun.isoformat(),
        "version": project.version, "creativeWorkStatus": "Published" if project.released else "Draft",
        "license": ref(project.license_address), "author": ref("#authors"), "publisher": ref("#authors"),
        "keywords": list(project.keywords), **(place or {}), "hasPart": [ref(part) for part in parts],
        "citation": [ref(paper.link) for paper in project.papers],
    }  # fmt: skip


def _crate(project: Project, root: dict, entities: Iterable[dict]) -> str:
    """The whole document: descriptor, root, entities, and what these mention."""
    descriptor = {"@id": DESCRIPTOR, "@type": "CreativeWork", "name": "RO-Crate metadata", "about": ref("./"),
                  "conformsTo": ref(VERSION)}  # fmt: skip
    context = [
        {"@id": "#authors", "@type": "Organization", "name": ", ".join(project.authors), **_place(project)},
        {"@id": project.license_address, "@type": "CreativeWork", "name": project.license,
         "description": "Apache License 2.0", "url": project.license_address},
        *_papers(project),
    ]  # fmt: skip
    return as_json({"@context": f"{VERSION}/context", "@graph": [descriptor, root, *entities, *context]})


def _place(project: Project) -> dict:
    """Where the code is, or else the book, if either is anywhere."""
    place = project.repository or project.address
    return {"url": place} if place else {}


def _papers(project: Project) -> Iterable[dict]:
    for paper in project.papers:
        entity = article(paper)
        authors = [{"@id": f"#{paper.id}-{n}", **author} for n, author in enumerate(entity["author"], 1)]
        yield entity | {"author": _refs(author["@id"] for author in authors)}
        yield from authors
