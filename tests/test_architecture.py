"""The house keeps its shape: imports run one way, the core is light, and nothing is evaluated or unpickled."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "prune_lib"
ROOMS = ("system", "nets", "cost", "tasks", "papers", "anynet", "runs", "book", "cli")
LIGHT = {"filelock", "torch", "torchvision", "numpy", "yaml", "tqdm", "safetensors", *sys.stdlib_module_names}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]


def _dotted(path):
    """``papers.cdp``; a room's face is the room."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def _imports(path, everywhere=True):
    """(level, dotted name) of each import of a file; only those at its top unless ``everywhere``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_from_rooms_before_them(path):
    parts = path.relative_to(PACKAGE).parts
    assert parts[0] in ROOMS, f"{path} is in no room of the house"
    before = ROOMS[: ROOMS.index(parts[0])]
    if parts[0] == "runs":
        before = [room for room in before if room != "anynet"]  # neither knows of the other
    for level, name in _imports(path):
        if level == len(parts) and name != "__version__":
            assert name.split(".")[0] in before, f"{path.name} imports {name}"


NAMES = {_dotted(path) for path in PACKAGE.rglob("*.py")}


def _modules_imported(path):
    """The modules of the package that a file imports anywhere, each as its dotted name."""
    own = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*own[: len(own) - node.level], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield whole if whole in NAMES else ".".join(base)


def _circle(arrows):
    """Modules that import one another in a ring, or nothing: those that are left when all others are taken away."""
    left = {name: set(to) & set(arrows) for name, to in arrows.items()}
    while free := {name for name, to in left.items() if not to & set(left)}:
        left = {name: to for name, to in left.items() if name not in free}
    return sorted(left)


def test_no_modules_import_one_another_in_a_circle():
    arrows = {_dotted(path): set(_modules_imported(path)) - {_dotted(path)} for path in FILES}
    assert len(arrows) > 90
    assert {"papers.method", "nets.slim", "cost.counting", "tasks.imagenet"} < arrows["papers.cdp"]  # some far inside
    assert _circle(arrows) == []
    assert not [name for name, to in arrows.items() if name.startswith("tasks.") and "tasks.registry" in to]  # by name
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_core_imports_light(path):
    light = LIGHT | {"pytest"} if path.name in ("contract.py", "pytest_plugin.py") else LIGHT  # pytest loads these two
    light |= {"docutils", "sphinx"} if path.name in ("pages.py", "reference.py") else set()  # and Sphinx these
    for level, name in _imports(path, everywhere=False):
        assert level or name.split(".")[0] in light, f"{path.name} imports {name} before it is needed"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_evaluated_unpickled_or_given_to_a_shell(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "yaml.load", "pickle.load", "pickle.loads")
            assert not any(keyword.arg == "shell" for keyword in node.keywords)
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node)
            if called == "np.load":
                assert "allow_pickle=False" in ast.unparse(node)


@pytest.mark.parametrize(
    "module", ["prune_lib", "prune_lib.papers.rows", "prune_lib.cli", "prune_lib.nets.spec", "prune_lib.cost.counting"]
)
def test_torch_is_loaded_only_when_it_is_needed(module):
    script = f"import sys, {module}; getattr({module}, 'main', None); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
