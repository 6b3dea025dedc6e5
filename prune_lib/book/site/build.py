"""Build the book: notebooks through papermill, then Jupyter Book. Also a small Sphinx extension, named in _config.yml.

The extension works with a plain ``jupyter-book build book/`` too: a failed notebook fails the build, and MathJax is
served from the book itself, so that a page asks nothing of the network.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

from ...system.errors import InputError, needs
from ...system.paths import cores, home
from ..tables.results import record_files
from .notebook import execute, failure, parameters_of

MATHJAX = "mathjax/tex-svg.js"  # from the package sphinx-mathjax-offline (MathJax 3, Apache-2.0)

_KEPT: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def build(
    budget: str = "smoke", seed: int = 0, device: str = "auto", data_dir: str = "", *, quiet: bool = False,
    verbose: bool = False,
) -> Path:  # fmt: skip
    """Execute every notebook, build the HTML book, and return its first page.

    Notebooks take the parameters that they have among these; what has a record already is not run again.

    Raises:
        InputError: there is no book here, a parameter is wrong, or the build failed.
    """
    root = home()
    sources = sorted((root / "notebooks").glob("*.py"), key=lambda path: (path.stem == "results", path))  # it sums up
    if not sources or not (root / "book" / "_config.yml").is_file():
        raise InputError(f"no book in {root}; expected notebooks/*.py and book/_config.yml (run it in a checkout)")
    given = {"budget": budget, "seed": seed, "device": device, "data_dir": data_dir, "interactive": "no"}
    executed = root / "book" / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)  # never publish what an earlier run left
    at_once = min(2, cores())  # notebooks that need the same run wait for one another
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        runs = {}
        for source in sources:
            known = parameters_of(source)
            parameters = {name: value for name, value in given.items() if name in known}
            runs[pool.submit(_execute, source, executed / f"{source.stem}.ipynb", parameters, at_once, quiet)] = source
        for done in as_completed(runs):
            if problem := done.result():
                pool.shutdown(cancel_futures=True)
                raise InputError(problem)
            if not quiet:
                print(f"executed {runs[done].name}", flush=True)
    page = root / "book" / "_build" / "html" / "index.html"
    page.unlink(missing_ok=True)  # so that a page from an earlier build is not taken for this one's
    tool = Path(sys.executable).with_name("jupyter-book")
    words = [str(tool), "build", "-W", "-n", "--keep-going", *(["-v"] if verbose else []), str(root / "book")]
    built = subprocess.run(words, check=False, **(_KEPT if quiet else {}))
    if built.returncode or not page.is_file():
        if quiet:
            sys.stderr.write((built.stdout or b"").decode(errors="replace"))
        page.unlink(missing_ok=True)  # it is there after a warning, too; nothing that failed is looked at or published
        raise InputError("the book did not build; what is wrong is said above")
    return page


def _execute(source: Path, output: Path, parameters: dict, at_once: int, quiet: bool) -> str:
    """Execute a notebook on its part of the processors; returns what went wrong, if anything did."""
    with needs("book"):
        import papermill

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // at_once)))
    try:
        execute(source, output, parameters, progress=not quiet)
    except papermill.PapermillExecutionError as error:
        return f"{source.name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
    except InputError as error:
        return str(error)
    return ""


def setup(app):
    """Sphinx calls this. Registers the check and MathJax's static file."""
    app.connect("builder-inited", _refuse_failed_notebooks)
    app.connect("builder-inited", _serve_mathjax)
    app.connect("builder-inited", _serve_records)
    app.connect("html-page-context", _leave_out_thebe, priority=900)  # after the extension has added it
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _refuse_failed_notebooks(app) -> None:
    from sphinx.errors import ExtensionError

    for path in sorted(Path(app.srcdir).rglob("*.ipynb")):
        if "_build" not in path.parts and (reason := failure(path)):
            raise ExtensionError(reason)


def _leave_out_thebe(app, page, template, context, doctree) -> None:
    """Jupyter Book adds Thebe to every page, twice, to run code on a server elsewhere; these pages ask for none."""

    def runs_thebe(script) -> bool:
        return "thebe" in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()

    context["script_files"] = [script for script in context.get("script_files", []) if not runs_thebe(script)]


def _serve_records(app) -> None:
    """Lay the records beside the pages that link to them; ``../results`` is where a notebook finds them too."""
    folder = Path(app.outdir) / "results"
    shutil.rmtree(folder, ignore_errors=True)
    for record in record_files():
        copy = folder / record.relative_to(home() / "results")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record, copy)


def _serve_mathjax(app) -> None:
    package = find_spec("sphinx-mathjax-offline")
    if package is None or not package.submodule_search_locations:
        from sphinx.errors import ExtensionError

        raise ExtensionError("sphinx-mathjax-offline is not installed; expected it from requirements.lock")
    found = Path(package.submodule_search_locations[0]) / "static" / MATHJAX
    static = Path(app.outdir) / "_static" / MATHJAX
    static.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, static)
