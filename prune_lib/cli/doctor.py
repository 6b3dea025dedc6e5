"""``prune doctor``: what this machine can do, and what to mend, in about ten seconds. It leaves nothing behind."""

import dataclasses
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from ..system.errors import InputError
from ..system.paths import check_writable, cores, home

SAME_FILES = ("coco-masks", "coco-300", "coco-keypoints")  # as coco
STEPS, KILLED = 10, 7  # of the training; the step after which it is killed


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, whether it is well, and what to do where it is not."""

    name: str
    ok: bool
    says: str
    mend: str = ""
    needed: bool = False  # for 'prune run' to work at all

    def __str__(self) -> str:
        mark = "ok" if self.ok else "WRONG" if self.needed else "-"
        return f"{mark:5} {self.name:16} {self.says}{f'; {self.mend}' if self.mend else ''}"


def examine(data_dir: str | None = None) -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown."""
    return [*_machine(), *_folders(), _locks(), _training(), *_extras(), *_data(data_dir)]


def _machine() -> list[Finding]:
    import torch

    from ..system.device import pick_precision

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    found = [Finding("machine", True, f"{cores()} cores, {memory:.1f} GiB of memory, {versions}")]
    cpu = pick_precision(torch.device("cpu"))
    found.append(Finding("cpu", True, f"trains in {cpu}{'' if cpu == 'bf16' else ': it has no bf16 of its own'}"))
    for number in range(torch.cuda.device_count()):
        about, device = torch.cuda.get_device_properties(number), torch.device("cuda", number)
        kinds = f"fp16{', tf32' if about.major >= 8 else ''}"
        says = f"{about.name}, {about.total_memory / 2**30:.0f} GiB; trains in {pick_precision(device)}; can {kinds}"
        found.append(Finding(str(device), True, says))
    if not torch.cuda.is_available():
        mend = (
            "a torch built for CUDA and a driver are needed" if torch.version.cuda is None else "is its driver there?"
        )
        found.append(Finding("cuda", False, "no card that torch can use", mend))
    return found


def _folders() -> list[Finding]:
    found = []
    for name, what in (("results", "records"), ("runs", "states"), ("data", "downloads")):
        folder = home() / name
        try:
            check_writable(folder, what)
            found.append(Finding(f"{name}/", True, f"{folder} can be written", needed=name != "data"))
        except InputError as error:
            found.append(Finding(f"{name}/", False, str(error), needed=name != "data"))
    return found


def _locks() -> Finding:
    from ..system import lock

    there = home() / "runs"
    while not there.is_dir():
        there = there.parent
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".doctor") as folder:
            path = Path(folder)
            with lock.only_one(path / "a"):
                held = lock.status(path / "a")
                soft = (path / "a" / f"lock{lock.SOFT}").exists()
            after = lock.status(path / "a")
    except (OSError, InputError) as error:
        return Finding("locks", False, f"{there}: {error}", "name another project folder by $PRUNE_HOME", needed=True)
    if (held, after) != ("running", ""):
        says = f"{there}: a lock that is held is not seen ({held or 'nothing'}, then {after or 'nothing'})"
        return Finding("locks", False, says, "name a project folder elsewhere by $PRUNE_HOME", needed=True)
    return Finding("locks", True, "files stand for locks: no flock there" if soft else "held, seen and given back")


def _training() -> Finding:
    """Ten steps on drawn images, killed after seven and resumed: bit for bit those that were not interrupted."""
    import torch

    from ..system.checkpoint import digest

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process that is killed: with other threads, other last digits
    try:
        with tempfile.TemporaryDirectory(prefix="prune-doctor-") as folder:
            state = Path(folder) / "state.safetensors"
            script = "import sys; from prune_lib.cli.doctor import train_and_die; train_and_die(sys.argv[1])"
            root = str(Path(__file__).resolve().parent.parent.parent)
            paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            child = subprocess.Popen(
                [sys.executable, "-c", script, str(state)], env={**os.environ, "PYTHONPATH": paths},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
            try:
                whole = _train(None)
                said = child.communicate(timeout=120)[1].strip().splitlines()
            finally:
                child.kill()
                child.wait()
            if child.returncode != -signal.SIGKILL or not state.exists():
                return Finding("training", False, f"it stopped: {said[-1] if said else child.returncode}", needed=True)
            again = _train(state)
    except Exception as error:  # whatever it is, it is what 'prune run' would end in
        return Finding("training", False, f"{type(error).__name__}: {error}", needed=True)
    finally:
        torch.set_num_threads(threads)
    if not again.resumed or digest(whole.weights["last"]) != digest(again.weights["last"]):
        return Finding("training", False, "killed and resumed, it ended in other weights", needed=True)
    where = again.resumed[0]
    return Finding("training", True, f"{STEPS} steps; killed, resumed at step {where['step']}, bit for bit the same")


def train_and_die(state: str) -> None:
    """The training that is killed, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    _train(Path(state), KILLED)


def _train(state: Path | None, steps: int | None = None):
    """Train ResNet-20 for ten steps on images drawn at random; after so many ``steps``, die without a word."""
    import torch

    from ..nets import build
    from ..papers.method import Method
    from ..papers.recipe import Recipe
    from ..runs.training import train
    from ..tasks.images import ImageSet, Split

    class Dies(Method):
        left = -1 if steps is None else steps

        def after_step(self, model):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (16 * STEPS + 20, 3, 32, 32), generator=draw, dtype=torch.uint8)
    parts = Split(images, torch.arange(len(images)) % 10)
    train_on, heldout, test = (parts.take(i) for i in torch.arange(len(images)).split([16 * STEPS, 10, 10]))
    half = (0.5, 0.5, 0.5)
    data = ImageSet("drawn", tuple("0123456789"), half, half, train_on, heldout, test, "drawn")
    recipe = Recipe(data="drawn", epochs=1, batch_size=16, lr=0.05)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build("resnet20", None)
        return train(
            model, data, recipe, Dies(), device=torch.device("cpu"), state=state, identity="doctor", progress=False,
            save_every=0.0,
        )  # fmt: skip


def _extras() -> list[Finding]:
    """What each extra of ``pyproject.toml`` asks for, and how to install what is missing."""
    try:
        lines = metadata.requires("prune_lib") or []
    except metadata.PackageNotFoundError:
        return [Finding("extras", False, "prune_lib is not installed here", "pip install -e . in the checkout")]
    wanted: dict[str, list[str]] = {}
    for line in lines:
        needs, _, mark = line.partition(";")
        if named := re.search(r"""extra == ["'](\w+)["']""", mark):
            wanted.setdefault(named[1], []).append(needs.strip())
    found = []
    for extra, packages in wanted.items():
        missing = [need for need in packages if not _installed(_name(need))]
        command = f"{sys.executable} -m pip install {' '.join(repr(need) for need in missing)}"
        says = f"missing: {' '.join(map(_name, missing))}" if missing else "installed"
        found.append(Finding(f"extra {extra}", not missing, says, command if missing else ""))
    return found


def _name(need: str) -> str:
    """The package of a requirement such as ``onnx>=1.17``."""
    return re.split(r"[^\w.-]", need)[0]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
        return True
    except metadata.PackageNotFoundError:
        return False


def _data(data_dir: str | None) -> list[Finding]:
    from ..tasks import SETS, find_data

    folder, found = find_data(data_dir), []
    for name, marks in {name: entry.marks for name, entry in SETS.items()}.items():
        if not marks or name in SAME_FILES:
            continue
        there = [folder / mark for mark in marks if (folder / mark).exists()]
        looked = f"not there: looked for {' and '.join(str(folder / mark) for mark in marks)}"
        mend = f"'prune data {name}' checks it" if there else "another folder: --data-dir or $PRUNE_DATA"
        found.append(Finding(f"data {name}", bool(there), str(there[0]) if there else looked, mend))
    return found
