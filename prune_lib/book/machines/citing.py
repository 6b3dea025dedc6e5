"""Citations of the whole: ``CITATION.cff`` for GitHub and Zotero, ``codemeta.json``, ``.zenodo.json``.

Zenodo takes ``.zenodo.json`` where there is one and then leaves ``CITATION.cff`` alone, so both say the same.
Formats: Citation File Format 1.2.0, CodeMeta 3.0, the deposit metadata of Zenodo's API.
"""

import html
import json
import re

from .project import Paper, Project

HEAD = "# Written by 'prune metadata' from pyproject.toml, CHANGELOG.md and the papers' YAML; edit those.\n"
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>.*)")


def citation(project: Project) -> str:
    """``CITATION.cff``."""
    import yaml

    fields: dict = {
        "cff-version": "1.2.0", "message": project.message, "title": project.title, "abstract": project.abstract,
        "type": "software", "authors": [{"name": name} for name in project.authors], "version": project.version,
    }  # fmt: skip
    if project.released:
        fields["date-released"] = project.released.isoformat()
    fields |= {"license": project.license, "keywords": list(project.keywords)}
    fields |= {name: text for name, text in (("url", project.address), ("repository-code", project.repository)) if text}
    fields["references"] = [_reference(paper) for paper in project.papers]
    return HEAD + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120)


def _reference(paper: Paper) -> dict:
    authors = [{"family-names": family, "given-names": given} if given else {"name": family}
               for family, given in paper.authors]  # fmt: skip
    place = {"doi": paper.doi} if paper.doi else {"url": paper.link}
    kind = "article" if paper.authors[0][1] else "software"
    return {"type": kind, "title": paper.title, "authors": authors, "year": paper.year, **place}


def codemeta(project: Project) -> str:
    """``codemeta.json``, as ``SoftwareSourceCode``."""
    document = {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "identifier": project.name,
        "name": project.title,
        "description": project.abstract,
        "version": project.version,
        "license": project.license_address,
        "author": [{"@type": "Organization", "name": name} for name in project.authors],
        "keywords": list(project.keywords),
        "dateCreated": project.begun.isoformat(),
        **({"datePublished": project.released.isoformat()} if project.released else {}),
        "developmentStatus": "active",
        "programmingLanguage": {"@type": "ComputerLanguage", "name": "Python"},
        "runtimePlatform": f"Python {project.python}",
        "softwareRequirements": [_required(line) for line in project.requires],
        "readme": "README.md",
        "releaseNotes": "CHANGELOG.md",
        "buildInstructions": "README.md",
        "isAccessibleForFree": True,
        **({"codeRepository": project.repository} if project.repository else {}),
        **({"url": project.address} if project.address else {}),
        "referencePublication": [article(paper) for paper in project.papers],
    }
    return as_json(document)


def _required(line: str) -> dict:
    match = REQUIREMENT.fullmatch(line)
    assert match is not None, line
    version = {"version": match["version"]} if match["version"] else {}
    return {"@type": "SoftwareApplication", "name": match["name"], **version}


def article(paper: Paper) -> dict:
    """A paper in the words of schema.org; what a group made is no article."""
    authors = [{"@type": "Person", "familyName": family, "givenName": given, "name": f"{given} {family}"} if given
               else {"@type": "Organization", "name": family} for family, given in paper.authors]  # fmt: skip
    return {
        "@type": "ScholarlyArticle" if paper.authors[0][1] else "CreativeWork", "@id": paper.link,
        "name": paper.title, "author": authors, "url": paper.link, "datePublished": str(paper.year),
    }  # fmt: skip


def zenodo(project: Project) -> str:
    """``.zenodo.json``. The description is HTML there."""
    related = [
        {"identifier": paper.doi or paper.link, "relation": "references", "scheme": "doi" if paper.doi else "url"}
        for paper in project.papers
    ]
    if project.address:
        related.append({"identifier": project.at(), "relation": "isIdenticalTo", "scheme": "url"})
    document = {
        "title": project.title,
        "description": f"<p>{html.escape(project.abstract)}</p><p>{html.escape(project.message)}</p>",
        "upload_type": "software",
        "access_right": "open",
        "creators": [{"name": name} for name in project.authors],
        "version": project.version,
        **({"publication_date": project.released.isoformat()} if project.released else {}),
        "license": project.license,
        "keywords": list(project.keywords),
        "related_identifiers": related,
    }
    return as_json(document)


def bibtex(project: Project) -> str:
    """How this edition is cited, as BibTeX; underscores are escaped."""
    authors = " and ".join("{" + name.replace("_", r"\_") + "}" for name in project.authors)
    fields = {"title": project.title, "author": authors, "year": str(project.published.year),
              "note": f"Version {project.version}, {project.license}", "url": project.at()}  # fmt: skip
    lines = [f"  {name:7} = {{{text}}}" for name, text in fields.items() if text]
    return f"@misc{{{project.name},\n" + ",\n".join(lines) + "\n}\n"


def as_json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
