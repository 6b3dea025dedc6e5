"""Notebooks as py:percent text, run by papermill: their parameters checked, their failures found."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...papers.rows import papers
from ...system.errors import InputError, needs
from ...system.paths import project


class TextHandler:
    """Lets papermill read text notebooks: ``papermill text:notebooks/x.py out.ipynb -p budget short``.

    Registered under papermill's entry point ``papermill.io``; it only reads.
    """

    SCHEME = "text:"

    @classmethod
    def read(cls, path: str) -> str:
        with needs("book"):
            import jupytext
            import nbformat

        file = Path(path.removeprefix(cls.SCHEME))
        if not file.is_file():
            raise InputError(f"no notebook {file}")
        _belong(file)
        notebook = jupytext.read(file)
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook.metadata.setdefault("kernelspec", kernel)
        return nbformat.writes(notebook)

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        return [f"{cls.SCHEME}{file}" for file in sorted(Path(path.removeprefix(cls.SCHEME)).iterdir())]

    @classmethod
    def write(cls, buf: str, path: str) -> None:
        raise InputError(f"{path}: a text notebook is only read; name the output without '{cls.SCHEME}'")

    @classmethod
    def pretty_path(cls, path: str) -> str:
        return path.removeprefix(cls.SCHEME)


def _belong(file: Path) -> None:
    """Have the kernel that papermill is about to start find the records of the notebook's own project.

    A kernel works in the folder that papermill was called from; where that is in no project, a page without a single
    measured figure would be the result, and no word of it.
    """
    folder = project(file.resolve().parent)
    if folder is not None and project() is None and not os.environ.get("PRUNE_HOME"):
        os.environ["PRUNE_HOME"] = str(folder)


CHECKED = "_parameters_checked"  # what a notebook whose parameters were found right has among its names


def check_parameters(namespace: dict[str, object], **expected: type | Sequence | str) -> None:
    """Refuse parameters that a notebook does not have, or that have a wrong type or value.

    Called with ``globals()`` in the cell after the parameters: every public name that exists by then comes from the
    parameters cell or from papermill. When all cells are run once more in the same kernel, as in JupyterLab, names of
    later cells exist too, and only those expected are looked at. ``expected`` maps each name to its type, to several
    types, or to the values it may take; ``"paper"`` stands for the papers of the library, or none.

    Raises:
        InputError: an unknown name, a wrong type, or a value that is not among those allowed.
    """
    ours = {"In", "Out", "exit", "quit", "open", "get_ipython", "check_parameters", "check_training"}
    given = {name: value for name, value in namespace.items() if not name.startswith("_") and name not in ours}
    for name, value in given.items():
        if name not in expected:
            if CHECKED in namespace:
                continue
            raise InputError(f"unknown parameter {name!r}; expected one of: {' '.join(expected)}")
        allowed = expected[name]
        if allowed == "paper":
            allowed = ("", *papers())
        kinds = [allowed] if isinstance(allowed, type) else list(allowed)
        if all(isinstance(kind, type) for kind in kinds):
            if type(value) not in kinds:
                hint = f" (papermill's -r {name} {value} keeps text as it is)" if str in kinds else ""
                named = " or ".join(kind.__name__ for kind in kinds)
                raise InputError(f"parameter {name} is {value!r}, {type(value).__name__}; expected {named}{hint}")
        elif value not in kinds:
            raise InputError(f"parameter {name} is {value!r}; expected one of: {' '.join(map(str, kinds))}")
    namespace[CHECKED] = True


BUDGETS = ("smoke", "tiny", "short", "paper")  # that notebooks train at


def check_training(namespace: dict[str, object], needed: bool = True, **others: type | Sequence) -> None:
    """``check_parameters`` of a notebook that trains: what all of these take, and ``others`` of its own.

    Args:
        needed: whether it cannot do without training; if it can, ``budget`` may be empty.
    """
    budgets = BUDGETS if needed else ("", *BUDGETS)
    common: dict[str, type | Sequence] = {"budget": budgets, "seed": int, "device": str, "data_dir": str}
    common |= {"set": (str, dict), "weights": str, "rows": str}
    check_parameters(namespace, **common, **others)


def execute(source: Path, output: Path, parameters: Mapping[str, object], progress: bool = True) -> None:
    """Execute one text notebook by papermill. ``output`` appears only when every cell has run.

    Raises:
        InputError: the notebook has no such parameter, or its kernel died.
        papermill.PapermillExecutionError: a cell failed; the notebook up to there is beside it as ``*.failed.ipynb``.
    """
    with needs("book"):
        import papermill
        from nbclient.exceptions import DeadKernelError
        from traitlets.config import Config

    known = parameters_of(source)
    for name in parameters:
        if name not in known:
            raise InputError(f"{source.name}: unknown parameter {name!r}; expected one of: {' '.join(known)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    running = output.with_suffix(".failed.ipynb")
    encrypted = Config(KernelManager={"transport_encryption": "auto"})  # else each kernel warns that it is not
    try:
        with _quiet():
            papermill.execute_notebook(
                f"{TextHandler.SCHEME}{source}", str(running), parameters=dict(parameters), kernel_name="python3",
                cwd=str(source.parent), progress_bar=progress, config=encrypted,
            )  # fmt: skip
    except DeadKernelError:
        number = _last_begun(running)
        raise InputError(
            f"{source.name}: its kernel died in cell {number} (killed, or out of memory); nothing of it is published; "
            f"run again, and what it was training goes on from its last state"
        ) from None
    _tidy(running)
    running.replace(output)


def _last_begun(path: Path) -> str:
    """The number of the last cell that papermill started in this notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        states = [cell["metadata"].get("papermill", {}).get("status") for cell in cells]
        return str(max(n for n, state in enumerate(states, 1) if state in ("running", "failed", "completed")))
    except (OSError, ValueError, KeyError):
        return "?"


def _tidy(path: Path) -> None:
    """Fold the cell that papermill injected, as the parameters cell is, and remove this machine's paths."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for name in ("input_path", "output_path"):
        notebook["metadata"].get("papermill", {}).pop(name, None)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if "injected-parameters" in tags:
            cell["metadata"]["tags"] = [*tags, "hide-input"]
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")


def parameters_of(source: Path) -> dict[str, str]:
    """The parameters of a text notebook, by name, each with its default as it is written there."""
    with needs("book"):
        import papermill

    with _quiet():
        found = papermill.inspect_notebook(f"{TextHandler.SCHEME}{source}")
    return {name: str(about["default"]) for name, about in found.items()}


def parameters_for(source: Path, given: Mapping[str, object]) -> dict[str, object]:
    """Those of ``given`` that a text notebook knows.

    One that trains nothing unless it is told to, whose budget is empty, is not told ``smoke``: it shows recounts.
    """
    known = parameters_of(source)
    told = {name: value for name, value in given.items() if name in known}
    if told.get("budget") == "smoke" and known["budget"] in ('""', "''"):
        del told["budget"]
    return told


@contextmanager
def _quiet():
    """papermill warns about every name that does not end in .ipynb, even if a handler can read it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The specified file")
        yield


def missing_data(source: Path, output: Path, why: str) -> None:
    """In place of a notebook whose data are not here: a page with its text, and ``why`` it has no figures.

    So the rest of the book stands, and what links to this page finds it.
    """
    import jupytext

    notebook = jupytext.read(source)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    title, _, rest = texts[0].source.partition("\n")
    box = (
        f":::{{warning}}\nThis page was built without its data, so it shows text and no figures. {why}. "
        f"With the data: `papermill text:notebooks/{source.name} out.ipynb`, or `prune book` once more.\n:::"
    )
    texts[0].source = f"{title}\n\n{box}\n{rest}"
    notebook.cells = texts
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    output.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    jupytext.write(notebook, output)


def failure(path: Path) -> str | None:
    """Why an executed notebook must not be published, in one line; ``None`` if it ran to its end.

    Jupyter Book does not check this: with execution off it renders a failed notebook and reports success.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
    except (ValueError, KeyError, OSError) as error:
        return f"{path.name}: not a notebook ({error})"
    if notebook.get("metadata", {}).get("papermill", {}).get("exception"):
        return f"{path.name}: papermill stopped at an exception"
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"{path.name}, cell {number}: {output.get('ename')}: {output.get('evalue')}"
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip() and cell.get("execution_count") is None:
            return f"{path.name}, cell {number} was never executed"
    return None
