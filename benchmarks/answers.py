"""How long a cold answer of the command line takes, as a process of its own, beside torch and beside other counters.

    python benchmarks/answers.py            # a table; --rounds 5, --json

Time is processor time (user and system) of the process, so that a busy machine matters less; memory is its peak. Other
counters are asked for the same network, ResNet-50, where they are installed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

WATCHED = """
import sys
from prune_lib.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass  # as --help ends
sys.stderr.write(str("torch" in sys.modules))
"""
RATES = "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6"
ANSWERS = (
    ["--help"],
    ["run", "--help"],
    ["rows"],
    ["errata"],
    ["results"],
    ["table", "dcff/cifar10"],
    ["show", "dcff/cifar10/resnet56"],
    ["units", "resnet50"],
    ["cost", "vgg16", "--rates", RATES, "--rule", "all"],
    ["cost", "resnet50", "--rule", "all"],
    ["completion", "bash"],
)
RESNET = "import torch, torchvision; m = torchvision.models.resnet50().eval(); x = torch.randn(1, 3, 224, 224); "
COUNTERS = {  # module -> a program that counts ResNet-50 by it
    "thop": f"{RESNET}from thop import profile; profile(m, (x,), verbose=False)",
    "fvcore": f"{RESNET}from fvcore.nn import FlopCountAnalysis; FlopCountAnalysis(m, x).total()",
    "ptflops": f"{RESNET}from ptflops import get_model_complexity_info as f; "
    "f(m, (3, 224, 224), print_per_layer_stat=False)",
    "torch_pruning": f"{RESNET}import torch_pruning; torch_pruning.utils.count_ops_and_params(m, x)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = {f"prune {' '.join(words)}": ["-c", WATCHED, *words] for words in ANSWERS}
        weights = Path(folder) / "resnet56.safetensors"
        _measure(["-c", _writing(weights)])
        asked["prune cost --weights FILE --rule all"] = [
            "-c",
            WATCHED,
            "cost",
            "--weights",
            str(weights),
            "--rule",
            "all",
        ]
        asked |= {"import prune_lib": ["-c", "import prune_lib"], "import torch": ["-c", "import torch"]}
        asked |= {f"ResNet-50 by {name}": ["-c", text] for name, text in COUNTERS.items() if find_spec(name)}
        found: dict[str, list[dict]] = {name: [] for name in asked}
        for _ in range(args.rounds):  # in turn, so that whatever else the machine does meets all of them
            for name, command in asked.items():
                found[name].append(_measure(command))
    rows = [_summary(name, runs) for name, runs in found.items()]
    if args.json:
        print(json.dumps(rows))
        return
    print("| process | CPU s, least | CPU s, median | peak MB | imports torch |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| `{row['name']}` | {row['least']:.2f} | {row['median']:.2f} | {row['peak']:.0f} | {row['torch']} |")
    missing = [name for name in COUNTERS if not find_spec(name)]
    print(
        f"\nnot installed: {', '.join(missing) or 'none'}; {args.rounds} rounds in turn; load {os.getloadavg()[0]:.1f}"
    )


def _writing(path: Path) -> str:
    """A program that writes a compact ResNet-56 as a run of this library leaves it."""
    return (
        "import json; from prune_lib.nets import build; from prune_lib.papers import get_row; "
        "from safetensors.torch import save_file; widths = get_row('dcff/cifar10/resnet56').widths; "
        f"save_file(build('resnet56', widths).state_dict(), {str(path)!r}, "
        "{'arch': 'resnet56', 'widths': json.dumps(widths)})"
    )


def _measure(command: list[str]) -> dict:
    """One process: its processor seconds, peak MB, and what it says of torch (the last word of its errors)."""
    with tempfile.TemporaryFile() as said:
        nothing = os.open(os.devnull, os.O_WRONLY)
        actions = [(os.POSIX_SPAWN_DUP2, nothing, 1), (os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        pid = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ, file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        os.close(nothing)
        said.seek(0)
        words = said.read().decode(errors="replace")
    if status:
        raise SystemExit(f"{command}: {words[-500:]}")
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    ends = next((word for word in ("True", "False") if words.endswith(word)), "")
    return {
        "seconds": used.ru_utime + used.ru_stime,
        "peak": peak,
        "torch": {"True": "yes", "False": "no"}.get(ends, ""),
    }


def _summary(name: str, runs: list[dict]) -> dict:
    seconds = [run["seconds"] for run in runs]
    shown = name.replace(RATES, "SPEC")
    return {
        "name": shown, "least": min(seconds), "median": statistics.median(seconds),
        "peak": max(run["peak"] for run in runs), "torch": runs[0]["torch"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
