"""``prune``: recount a spec, run a row, show a table, build the book."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from .. import __version__
from ..nets import ARCHS
from ..system.ending import by_signals
from ..system.errors import InputError
from ..system.paths import settle_environment
from . import networks, project, running, showing
from .output import never_refuse

EXAMPLES = {
    "cost": "prune cost vgg16 --rates '[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6'",
    "check": "prune check 55.84M --arch resnet56 --base 125.49M --cut 55.5%",
    "inspect": "prune inspect model_best.pth.tar",
    "units": "prune units resnet50 > units.yaml",
    "rows": "prune rows --json",
    "show": "prune show dcff/cifar10/resnet56",
    "errata": "prune errata --json",
    "claims": "prune claims",
    "results": "prune results dcff",
    "review": "prune review dcff --format html --out dcff.html",
    "run": "prune run dcff/cifar10/resnet56 --budget short --seed 1",
    "queue": "prune queue --budget paper --rows 'dcff/cifar10/*' --devices cuda:0 cuda:1 --jobs 4",
    "reproduce": "prune reproduce dcff --budget paper --devices cuda:0 cuda:1",
    "plan": "prune plan 'dcff/cifar10/*' --device H100 --price 2.5",
    "keep": "prune keep filterexpo/resnet20-study/explore --budget short",
    "score": "prune score cfdp/imagenet/resnet50 --weights torchvision --out scores.safetensors",
    "select": "prune select scores.safetensors --flops 0.5 --out units.yaml",
    "eval": "prune eval dcff/imagenet/r50_1.49b --weights model_best_compact.pt",
    "table": "prune table dcff/cifar10",
    "export": "prune export runs/…/last.safetensors --to onnx --out resnet56.onnx",
    "latency": "prune latency resnet56 --rates '[0.5]*30' --batch 1 256",
    "data": "prune data cifar10 --data-dir ~/data",
    "book": "prune book --budget smoke",
    "metadata": "prune metadata --check",
    "editions": "prune editions compare v0.1.0 now",
    "doctor": "prune doctor --data-dir ~/data",
    "completion": "source <(prune completion bash)",
}
TOUR = """\
a first quarter of an hour:
  prune doctor                                 what this machine can do, and what to mend
  prune rows                                   what the papers report
  prune cost vgg16 --rates '[0.5]*13'          what a spec costs
  prune check 4.1G --arch resnet50             which ways of counting print a figure
  prune run dcff/cifar10/vgg16                 train, evaluate and record a row, small and on digits
  prune table dcff/cifar10                     reported, recounted, measured
  prune COMMAND --help                         what a command takes, with an example
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 for a run that failed, 2 for bad input, 130 when interrupted.

    Told to end by another signal it returns 128 and the signal's number, as shells do: 143 for SIGTERM.
    """
    never_refuse()
    settle_environment()
    try:
        with by_signals():
            args = _parser().parse_args(argv)
            return args.command(args) or 0
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print(f"prune: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        with suppress(OSError):  # a terminal that was closed
            print("\nprune: interrupted; the same command goes on from the last whole epoch", file=sys.stderr)
        return 128 + getattr(error, "number", signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full or failing disk, a folder that may not be written
        print(f"prune: {error}; what was there before is as it was", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    """Wrong words on the command line are bad input like any other: one line."""

    def error(self, message: str):
        raise InputError(f"{message} (see '{self.prog} --help')")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="prune", description=__doc__, epilog=TOUR, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"prune_lib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=f"example: {EXAMPLES[name]}", allow_abbrev=False
        )
        sub.set_defaults(command=function)
        return sub

    sub = command(
        "cost", networks.cost, "Recount params and FLOPs of a network pruned by a rate string, or of given weights."
    )
    sub.add_argument("arch", nargs="?", help=f"{' '.join(ARCHS)}; not needed with --weights that name it")
    sub.add_argument("--rates", metavar="SPEC", help="pruning rates as the papers write them (default: nothing pruned)")
    sub.add_argument("--units", metavar="FILE", help="an edited file from 'prune units' instead of rates")
    sub.add_argument("--weights", metavar="FILE", help="a compact network's weights instead: the widths are theirs")
    sub.add_argument("--layout", help="whose list it is: dcff, hrank, … (default: the network's own first)")
    sub.add_argument("--rule", default="thop-0.0.31", help="counting rule, or 'all' (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "check", networks.check, "Say which ways of counting a network print a figure; exit code 1 if none does."
    )
    sub.add_argument("figure", help="as printed: 55.84M, '4.1 GFLOPs', '0.85M params', or a cut such as 76.8%%")
    sub.add_argument("--arch", required=True, help=f"{' '.join(ARCHS)}; or torchvision's, as resnet152")
    sub.add_argument("--rates", metavar="SPEC", help="as the paper writes them (default: full, or a row of the papers)")
    sub.add_argument("--layout", help="whose list it is (default: every layout with so many rates)")
    sub.add_argument("--params", metavar="FIGURE", help="the params printed beside it")
    sub.add_argument("--base", metavar="FIGURE", help="the full network's, as printed")
    sub.add_argument("--cut", metavar="PERCENT", help="how much was cut, as printed: 55.5%% or 2.2x")
    sub.add_argument("--image", metavar="HxW", help="pixels that were counted at (default: the usual sizes)")
    sub.add_argument("--classes", type=int, metavar="N", help="of the network (default: its own; CIFAR's also 100)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "inspect", networks.inspect, "Say what somebody's checkpoint is: network, widths, zeros, costs, claims."
    )
    sub.add_argument("file", help=".pth .pth.tar .pt .bin .safetensors …; read as data, nothing in it is run")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "units", networks.units, "List the groups of convs that must keep the same channels, as a file to edit."
    )
    sub.add_argument("arch", help=" ".join(ARCHS))
    sub.add_argument("--json", action="store_true", help="print JSON instead of YAML")

    sub = command("rows", showing.rows, "List the rows that the papers report.")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "show", showing.show, "Show what a row is: its spec, recipes field by field, reported and recounted figures."
    )
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("claims", showing.claims, "Judge the papers' comparative claims by the records at equal recipe.")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("errata", showing.errata, "List what contradicts itself in the papers, computed from their rows.")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "results", showing.results, "Show every row, of all papers or of one: reported, recounted, measured, judged."
    )
    sub.add_argument("paper", nargs="?", help="one paper: dcff, cdp, cfdp, hrank, filterexpo, mmrazor … (default: all)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("review", showing.review, "Write a paper's review sheet: claims, rows, recounts, errata, records.")
    sub.add_argument("paper", help="one paper: dcff, cdp, cfdp, hrank, filterexpo, mmrazor …")
    sub.add_argument("--format", default="markdown", help="markdown or html, one page that needs nothing beside it")
    sub.add_argument("--out", metavar="FILE", help="the file to write (default: print it)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("run", running.run, "Train, evaluate and record a row. A finished run is not run again.")
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    _common(sub)
    sub.add_argument(
        "--save-every", type=float, default=300.0, metavar="S", help="seconds between states within an epoch (300)"
    )
    sub.add_argument("--weights", metavar="FILE", help="the trained network to prune: a file, torchvision or timm:NAME")
    sub.add_argument(
        "--engine",
        default="eager",
        help="eager; graph: a step as one CUDA graph; compile: that, of fused kernels, also on a CPU (eager)",
    )
    sub.add_argument("--again", action="store_true", help="also if it has a record: a new one stands beside it")
    _execution(sub)
    sub.add_argument("--units", metavar="FILE", help="train these widths by the row's method and recipe instead")
    _set(sub)
    sub.add_argument("--scores", metavar="FILE", help="of that network's filters, from 'prune score'")
    _launch(sub)
    sub.add_argument("--work-dir", metavar="DIR", help="where results/ and runs/ are (default: the project)")
    sub.add_argument("--resume", action="store_true", help="nothing: a run always goes on from its last state")
    sub.add_argument("--amp", action="store_true", help="--precision fp16, its loss scaled as it needs")
    sub.add_argument("--json", action="store_true", help="print the record")
    _loudness(sub, "no progress, and no last line", "also what is about to be run, and each epoch afterwards")

    sub = command("score", running.score, "Score the filters of the trained network that a row prunes, into a file.")
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    sub.add_argument("--out", required=True, metavar="OUT", help="the safetensors file to write")
    _common(sub)
    sub.add_argument("--weights", metavar="FILE", help="the trained network: a file, torchvision or timm:NAME")
    _precision(sub, "bf16 where the device multiplies it natively, else fp32")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("select", running.select, "Say which filters stay by scores, and what the network then costs.")
    sub.add_argument("file", help="from 'prune score'")
    sub.add_argument("--sparsity", type=float, metavar="X", help="share of all filters that goes, by one threshold")
    sub.add_argument("--flops", type=float, metavar="X", help="share of the FLOPs (CDP's counter) that stays, by one")
    sub.add_argument("--macs", type=float, metavar="X", help="share of the multiply-accumulates that stays, by units")
    sub.add_argument("--rates", metavar="SPEC", help="how many stay in each layer, as the papers write it")
    sub.add_argument("--layout", help="whose list the rates are (default: the network's own first)")
    sub.add_argument("--out", metavar="OUT", help="write the widths there, as 'prune run --units' takes them")
    sub.add_argument("--json", action="store_true", help="print JSON, with every filter that stays")

    sub = command(
        "queue", running.queue, "Run what has no record yet, best first, several rows at a time on each device."
    )
    sub.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="names, * for any (default: all of CIFAR-10)")
    sub.add_argument("--jobs", type=int, default=1, help="runs at a time on each device (default: %(default)s)")
    sub.add_argument("--devices", nargs="+", default=[], metavar="D", help="cuda:0 cuda:1 …, instead of --device")
    sub.add_argument("--seeds", type=int, default=1, help="so many seeds, from --seed on (default: %(default)s)")
    sub.add_argument("--weights", metavar="FILE", help="the same instead of what the rows' dense ones leave: a file …")
    sub.add_argument("--engine", default="eager", help="as for 'prune run' (default: %(default)s)")
    _execution(sub)
    _set(sub)
    sub.add_argument("--list", action="store_true", help="only say what would be run")
    sub.add_argument("--json", action="store_true", help="print what became of each run as JSON")
    _loudness(sub, "no line for each run", "also where each run's log is")
    _common(sub)

    sub = command("reproduce", running.reproduce, "Run all that papers have no record of yet, then build the book.")
    sub.add_argument("papers", nargs="*", metavar="PAPER", help="dcff, cdp, cfdp, filterexpo, mmrazor … (default: all)")
    _common(sub)
    sub.add_argument("--devices", nargs="+", default=[], metavar="D", help="cuda:0 cuda:1 …, instead of --device")
    sub.add_argument("--jobs", type=int, default=1, help="runs at a time on each device (default: %(default)s)")
    sub.add_argument("--seeds", type=int, default=1, help="so many seeds, from --seed on (default: %(default)s)")
    sub.add_argument("--dry-run", action="store_true", help="only say what would be run and what that takes")
    sub.add_argument("--price", type=float, default=0.0, metavar="X", help="of an hour, in whatever money (--dry-run)")
    sub.add_argument("--seconds", type=float, default=2.0, metavar="S", help="to try each row (--dry-run; %(default)s)")
    sub.add_argument("--no-book", action="store_true", help="do not build the book afterwards")
    sub.add_argument("--json", action="store_true", help="print what became of each run as JSON, or what it would take")
    _loudness(sub, "no line for each run", "also all that Sphinx says")

    sub = command(
        "plan", running.plan, "What runs will take, and the dense networks that they prune: hours, memory, money."
    )
    sub.add_argument("rows", nargs="+", metavar="ROW", help="names, * for any")
    sub.add_argument("--budget", default="paper", help="smoke, tiny, short, fast or paper (default: %(default)s)")
    sub.add_argument(
        "--device", default="auto", help="H100, A100, V100 …, or one of this machine, which is tried: cpu, cuda"
    )
    sub.add_argument("--price", type=float, default=0.0, metavar="X", help="of an hour, in whatever money")
    sub.add_argument("--seconds", type=float, default=10.0, metavar="S", help="to try each row here (%(default)s)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("keep", running.keep, "Put a finished run's network beside its record, with a card, to be committed.")
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    sub.add_argument("--budget", default="smoke", help="smoke, tiny, short, fast or paper (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="whole number from 0 (default: %(default)s)")
    sub.add_argument("--protocol", default="last", help="last, selected or test_best (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "eval", running.evaluate, "Evaluate given weights as a row's compact network, on the row's test images."
    )
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    sub.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="safetensors, a torch state dict, or of a dense row torchvision",
    )
    for name in ("mean", "std"):
        sub.add_argument(f"--{name}", type=float, nargs=3, metavar="X", help=f"{name} of red, green, blue in [0, 1]")
    _precision(sub, "fp32")
    _launch(sub)
    sub.add_argument("--data", help="another image set than the row's: cifar10, imagenet, imagenet-sample …")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    sub.add_argument("--data-dir", help="where the data is (default: $PRUNE_DATA, else ./data)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("table", showing.table, "Show a table: reported, recounted, measured, verdict.")
    sub.add_argument("table", help="paper/table")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("export", networks.export, "Export a compact network to another format, read back and compared.")
    sub.add_argument("file", help="safetensors that a run left, or 'prune export' wrote")
    sub.add_argument("--to", required=True, metavar="FORMAT", help="onnx, pt2 (torch.export) or safetensors")
    sub.add_argument("--out", required=True, metavar="OUT", help="the file to write")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("latency", networks.latency, "Measure a full and a compact network in turn, beside their FLOPs.")
    sub.add_argument("arch", help=" ".join(ARCHS))
    sub.add_argument("--rates", metavar="SPEC", help="pruning rates as the papers write them (default: nothing pruned)")
    sub.add_argument("--layout", help="whose list it is (default: the network's own first)")
    sub.add_argument("--batch", type=int, nargs="+", default=[], metavar="N", help="images at once (1 and 256, or 16)")
    sub.add_argument("--threads", type=int, default=1, metavar="N", help="of torch on the CPU (default: %(default)s)")
    sub.add_argument("--seconds", type=float, default=10.0, metavar="S", help="for each batch size (%(default)s)")
    sub.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("data", project.data, "Check that a data set is there and whole.")
    sub.add_argument("name", help="cifar10, digits, imagenet, imagenet-sample, coco, cityscapes, shapes …")
    sub.add_argument("--decode", action="store_true", help="of a folder of images, decode every file")
    sub.add_argument("--data-dir", help="where to look (default: $PRUNE_DATA, else ./data)")
    sub.add_argument("--download", action="store_true", help="fetch it first, through torchvision")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("book", project.book, "Execute the notebooks through papermill and build the HTML book.")
    _common(sub)
    sub.add_argument("--json", action="store_true", help="print where the book is as JSON, and nothing else")
    _loudness(sub, "neither progress nor what Sphinx says, unless it fails", "also all that Sphinx says")

    sub = command(
        "metadata",
        project.metadata,
        "Write CITATION.cff, codemeta.json, .zenodo.json and the RO-Crate from their one source.",
    )
    sub.add_argument("--check", action="store_true", help="write nothing; exit code 1 if one is not as it would be")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("editions", project.editions, "List the published editions, or what changed from one to another.")
    sub.add_argument("action", nargs="?", choices=("compare",), help="compare two: verdicts, rows, records")
    sub.add_argument(
        "names", nargs="*", metavar="EDITION", help="a name, latest, now (this checkout), a folder or file"
    )
    sub.add_argument("--site", metavar="FOLDER", help="where editions are (default: site/)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("doctor", project.doctor, "Say what this machine can do and what to mend; exit code 0 if runs work.")
    sub.add_argument("--data-dir", help="where to look for data (default: $PRUNE_DATA, else ./data)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "completion", lambda args: project.completion(parser, args.shell), "Write completion for a shell to read."
    )
    sub.add_argument("shell", choices=("bash", "zsh"), help="bash or zsh; the line goes into ~/.bashrc or ~/.zshrc")
    return parser


def _loudness(sub: argparse.ArgumentParser, less: str, more: str) -> None:
    either = sub.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help=less)
    either.add_argument("-v", "--verbose", action="store_true", help=more)


def _precision(sub: argparse.ArgumentParser, default: str) -> None:
    sub.add_argument("--precision", metavar="P", help=f"fp32, tf32, bf16 or fp16 (default: {default})")


def _execution(sub: argparse.ArgumentParser) -> None:
    """What ``prune_lib.runs.execution.Execution`` holds besides the engine."""
    _precision(sub, "bf16 where the device multiplies it natively, else fp32")
    sub.add_argument("--micro-batch", type=int, default=0, metavar="N", help="pass N images at once, add up gradients")
    sub.add_argument("--loss-scale", type=float, default=0.0, metavar="X", help="of fp16: a fixed one (dynamic)")
    sub.add_argument(
        "--deterministic", action=argparse.BooleanOptionalAction, default=True, help="cudnn's algorithms (yes)"
    )


def _set(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--set", "--cfg-options", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="otherwise than the row has it, recorded apart: epochs=30 lr=0.05 rates='[0.5]*13' ('prune show ROW')",
    )  # fmt: skip


def _launch(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--launcher", default="", choices=("none", "pytorch", "slurm"), metavar="L",
        help="who started these processes: none, pytorch (torchrun) or slurm (srun) (default: as torchrun says)",
    )  # fmt: skip


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--budget", default="smoke", help="smoke, tiny, short, fast or paper (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="whole number from 0 (default: %(default)s)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    sub.add_argument("--data-dir", help="where the data is (default: $PRUNE_DATA, else ./data)")
