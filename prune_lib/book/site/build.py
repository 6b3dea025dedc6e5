"""Build the book: notebooks through papermill, then Jupyter Book. Also a small Sphinx extension, named in _config.yml.

The extension works with a plain ``jupyter-book build book/`` too: a failed notebook fails the build, and MathJax is
served from the book itself, so that a page asks nothing of the network.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from ...papers.rows import papers
from ...system.errors import DataMissing, InputError, needs
from ...system.paths import absolute, cores, home, settle_environment
from ..review import review, to_html
from ..tables.downloads import write_downloads
from ..tables.results import record_files
from .notebook import execute, failure, missing_data, parameters_for

MATHJAX = "mathjax/tex-svg.js"  # from the package sphinx-mathjax-offline (MathJax 3, Apache-2.0)

# Seconds of each notebook at smoke, as `make` says them, two at a time: the longest begin first. Others take OTHERS.
SECONDS = {
    "dcff_cifar10": 210, "own_network": 132, "filterexpo_detection": 70, "cdp_cifar10": 67, "mmrazor_detection": 49,
    "mmrazor_segmentation": 42, "dcff_imagenet": 35, "filterexpo_cifar10": 33, "mmrazor_pose": 33, "hrank_cifar10": 30,
}  # fmt: skip
OTHERS = 11
CLEAR = "\r\x1b[2K"  # the line on a terminal

_KEPT: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def build(
    budget: str = "smoke", seed: int = 0, device: str = "auto", data_dir: str = "", *, quiet: bool = False,
    verbose: bool = False,
) -> Path:  # fmt: skip
    """Execute every notebook, build the HTML book, and return its first page.

    Each notebook gets those of the parameters that it knows. A run that has a record is not run again.

    Raises:
        InputError: there is no book here, a parameter is wrong, or the build failed.
    """
    root = home()
    shown = (path for path in (root / "notebooks").glob("*.py") if not path.name.startswith("."))
    sources = sorted(shown, key=_turn)
    if not sources or not (root / "book" / "_config.yml").is_file():
        raise InputError(f"no book in {root}; expected notebooks/*.py and book/_config.yml (run it in a checkout)")
    place = absolute(data_dir) if data_dir else ""  # notebooks run in another folder than this process
    given = {"budget": budget, "seed": seed, "device": device, "data_dir": place, "interactive": "no"}
    settle_environment()
    executed = root / "book" / "notebooks"
    shutil.rmtree(executed, ignore_errors=True)  # never publish what an earlier run left
    at_once = min(2, cores())  # notebooks that need the same run wait for one another
    progress = Progress([source.stem for source in sources], at_once, quiet)
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        runs = {}
        for source in sources:
            parameters = parameters_for(source, given)
            runs[pool.submit(_execute, source, executed / f"{source.stem}.ipynb", parameters, at_once)] = source.stem
        try:
            while runs:
                for done in wait(runs, progress.every, FIRST_COMPLETED).done:
                    problem, seconds, busy = done.result()
                    if problem:
                        pool.shutdown(cancel_futures=True)
                        raise InputError(problem)
                    progress.done(runs.pop(done), seconds, busy)
                progress.show()
        except KeyboardInterrupt:  # a signal may have been for this process alone; kernels end with those who run them
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    progress.close()
    page = root / "book" / "_build" / "html" / "index.html"
    page.unlink(missing_ok=True)  # so that no page of an earlier build is taken for one of this build
    tool = Path(sys.executable).with_name("jupyter-book")
    words = [str(tool), "build", "-W", "-n", "--keep-going", *(["-v"] if verbose else []), str(root / "book")]
    built = subprocess.run(words, check=False, **(_KEPT if quiet else {}))
    if built.returncode or not page.is_file():
        if quiet:
            sys.stderr.write((built.stdout or b"").decode(errors="replace"))
        page.unlink(missing_ok=True)  # a build with warnings leaves it too; what failed is not opened nor published
        raise InputError("the book did not build; what is wrong is said above")
    return page


def _turn(source: Path) -> tuple:
    """What notebooks are sorted by: the longest first, and last the one that sums up."""
    return source.stem == "results", -SECONDS.get(source.stem, OTHERS), source


@dataclass
class Progress:
    """Says which of how many notebooks are done, and about how long the rest takes; on a terminal, what runs now."""

    names: Sequence[str]  # in the order in which they begin
    at_once: int
    quiet: bool = False
    live: bool = field(default_factory=lambda: sys.stderr.isatty())
    begun: float = field(default_factory=lambda: monotonic())
    spent: dict[str, tuple[float, float]] = field(default_factory=dict)  # seconds, and processor seconds

    @property
    def every(self) -> float | None:
        """Seconds between two looks: ``None`` where nobody sees the clock run."""
        return 1.0 if self.live and not self.quiet else None

    def left(self) -> float | None:
        """Seconds, from how long those that are done took beside ``SECONDS``; ``None`` before one is."""
        weight = {name: SECONDS.get(name, OTHERS) for name in self.names}
        if not self.spent:
            return None
        slower = sum(seconds for seconds, _ in self.spent.values()) / sum(weight[name] for name in self.spent)
        return max(0.0, slower * sum(weight.values()) / self.at_once - (monotonic() - self.begun))

    def done(self, name: str, seconds: float, busy: float) -> None:
        self.spent[name] = seconds, busy
        left = f", about {clock(self.left() or 0)} left" if len(self.spent) < len(self.names) else ""
        self._say(f"notebook {len(self.spent)} of {len(self.names)}: {name} in {clock(seconds)}{left}")

    def show(self) -> None:
        """On a terminal, the line below: what runs now."""
        now = [name for name in self.names if name not in self.spent][: self.at_once]
        if self.every and now:
            left = self.left()
            about = "" if left is None else f"; about {clock(left)} left"
            words = f"{len(self.spent)} of {len(self.names)} notebooks{about}; now {', '.join(now)}"
            width = shutil.get_terminal_size().columns - 1
            print(f"{CLEAR}{words[:width]}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Where the time went."""
        slow = sorted(self.spent, key=lambda name: -self.spent[name][0])[:5]
        longest = ", ".join(f"{name} {clock(self.spent[name][0])}" for name in slow)
        busy, took = sum(busy for _, busy in self.spent.values()), monotonic() - self.begun
        count = f"{len(self.spent)} notebooks in {clock(took)}"
        self._say(f"{count}, {clock(busy)} of processor time; the longest: {longest}")

    def _say(self, line: str) -> None:
        if self.every:
            print(CLEAR, end="", file=sys.stderr, flush=True)
        if not self.quiet:
            print(line, flush=True)


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``, and ``5`` -> ``5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _execute(source: Path, output: Path, parameters: dict, at_once: int) -> tuple[str, float, float]:
    """Execute a notebook on its part of the processors: what went wrong, if anything; seconds, processor seconds."""
    begun, before = monotonic(), os.times()
    problem = _problem(source, output, parameters, at_once)
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return problem, monotonic() - begun, busy


def hidden(message: str, data_dir: object) -> str:
    """What an error says, without this machine's paths."""
    from ...tasks import find_data

    return message.replace(str(find_data(str(data_dir) if data_dir else None)), "the data folder")


def _problem(source: Path, output: Path, parameters: dict, at_once: int) -> str:
    with needs("book"):
        import papermill

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // at_once)))
    try:
        execute(source, output, parameters, progress=False)
    except papermill.PapermillExecutionError as error:
        if error.ename == DataMissing.__name__:
            missing_data(source, output, hidden(error.evalue, parameters.get("data_dir")))
            return ""
        return f"{source.name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
    except InputError as error:
        return str(error)
    return ""


def setup(app):
    """Sphinx calls this. Registers the checks, what is served beside the pages, and how these are arranged."""
    from . import pages, reference  # which import Sphinx

    app.connect("builder-inited", _refuse_failed_notebooks)
    app.connect("builder-inited", _serve_mathjax)
    app.connect("builder-inited", _serve_records)
    app.connect("builder-inited", _write_reviews)
    app.connect("builder-inited", _write_downloads)
    pages.setup(app)
    reference.setup(app)
    app.connect("html-page-context", _leave_out_thebe, priority=900)  # after the extension has added it
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _refuse_failed_notebooks(app) -> None:
    from sphinx.errors import ExtensionError

    for path in sorted(Path(app.srcdir).rglob("*.ipynb")):
        if "_build" not in path.parts and (reason := failure(path)):
            raise ExtensionError(reason)


def _leave_out_thebe(app, page, template, context, doctree) -> None:
    """Jupyter Book adds Thebe to every page, to run code on a server elsewhere; these pages need no server."""

    def runs_thebe(script) -> bool:
        return "thebe" in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()

    context["script_files"] = [script for script in context.get("script_files", []) if not runs_thebe(script)]


def _serve_records(app) -> None:
    """Copy the records to where the pages link to them: ``../results``, which is also their place for a notebook."""
    folder = Path(app.outdir) / "results"
    shutil.rmtree(folder, ignore_errors=True)
    for record in record_files():
        copy = folder / record.relative_to(home() / "results")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record, copy)


def _write_reviews(app) -> None:
    """Write each paper's review sheet to ``reviews/``, where its chapter links to it, and back to its first chapter."""
    folder = Path(app.outdir) / "reviews"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for paper in papers():
        chapters = sorted(path.stem for path in (home() / "notebooks").glob(f"{paper}_*.py"))
        back = f"../notebooks/{chapters[0]}.html" if chapters else ""
        (folder / f"{paper}.html").write_text(to_html(review(paper), links="../", back=back), encoding="utf-8")


def _write_downloads(app) -> None:
    """Write the tables of the front pages to ``downloads/``, as CSV and JSON."""
    folder = Path(app.outdir) / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    write_downloads(folder)


def _serve_mathjax(app) -> None:
    package = find_spec("sphinx-mathjax-offline")
    if package is None or not package.submodule_search_locations:
        from sphinx.errors import ExtensionError

        raise ExtensionError("sphinx-mathjax-offline is not installed; expected it from requirements.lock")
    found = Path(package.submodule_search_locations[0]) / "static" / MATHJAX
    static = Path(app.outdir) / "_static" / MATHJAX
    static.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, static)
