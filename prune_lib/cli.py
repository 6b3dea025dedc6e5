"""``prune``: recount a spec, run a row, show a table, build the book."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from . import __version__
from .errors import InputError
from .nets import ARCHS

EXAMPLES = {
    "cost": "prune cost vgg16 --rates '[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6'",
    "units": "prune units resnet50 > units.yaml",
    "rows": "prune rows --json",
    "run": "prune run dcff/cifar10/resnet56 --budget short --seed 1",
    "eval": "prune eval dcff/imagenet/r50_1.49b --weights model_best_compact.pt",
    "table": "prune table dcff/cifar10",
    "data": "prune data cifar10 --data-dir ~/data",
    "book": "prune book --budget smoke",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 for a run that failed, 2 for bad input, 130 when interrupted."""
    try:
        args = _parser().parse_args(argv)
        return args.command(args) or 0
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print(f"prune: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nprune: interrupted; the same command goes on from the last whole epoch", file=sys.stderr)
        return 130
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
    parser = _Parser(prog="prune", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"prune_lib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=f"example: {EXAMPLES[name]}", allow_abbrev=False
        )
        sub.set_defaults(command=function)
        return sub

    sub = command("cost", cost, "Recount params and FLOPs of a network pruned by a rate string.")
    sub.add_argument("arch", help=" ".join(ARCHS))
    sub.add_argument("--rates", metavar="SPEC", help="pruning rates as the papers write them (default: nothing pruned)")
    sub.add_argument("--units", metavar="FILE", help="an edited file from 'prune units' instead of rates")
    sub.add_argument("--layout", help="whose list it is: dcff, hrank, … (default: the network's own first)")
    sub.add_argument("--rule", default="thop-0.0.31", help="counting rule, or 'all' (default: %(default)s)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("units", units, "List the groups of convs that must keep the same channels, as a file to edit.")
    sub.add_argument("arch", help=" ".join(ARCHS))
    sub.add_argument("--json", action="store_true", help="print JSON instead of YAML")

    sub = command("rows", rows, "List the rows that the papers report.")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("run", run, "Train, evaluate and record a row. A finished run is not run again.")
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    _common(sub)
    sub.add_argument(
        "--save-every", type=float, default=300.0, metavar="S", help="seconds between states within an epoch (300)"
    )
    sub.add_argument("--weights", metavar="FILE", help="the trained network to prune, where the method prunes one")
    sub.add_argument("--units", metavar="FILE", help="train these widths by the row's method and recipe instead")
    sub.add_argument("--json", action="store_true", help="print the record")

    sub = command("eval", evaluate, "Evaluate given weights as a row's compact network, on the row's test images.")
    sub.add_argument("row", help="paper/table/row, as 'prune rows' lists them")
    sub.add_argument("--weights", required=True, metavar="FILE", help="safetensors, or a torch state dict")
    for name in ("mean", "std"):
        sub.add_argument(f"--{name}", type=float, nargs=3, metavar="X", help=f"{name} of red, green, blue in [0, 1]")
    sub.add_argument("--data", help="another image set than the row's: cifar10, imagenet, imagenet-sample …")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    sub.add_argument("--data-dir", help="where the data is (default: $PRUNE_DATA, else ./data)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("table", table, "Show a table: reported, recounted, measured, verdict.")
    sub.add_argument("table", help="paper/table")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("data", data, "Check that a data set is there and whole.")
    sub.add_argument("name", help="cifar10, digits, imagenet, imagenet-sample, coco, cityscapes, shapes …")
    sub.add_argument("--decode", action="store_true", help="of a folder of images, decode every file")
    sub.add_argument("--data-dir", help="where to look (default: $PRUNE_DATA, else ./data)")
    sub.add_argument("--download", action="store_true", help="fetch it first, through torchvision")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("book", book, "Execute the notebooks through papermill and build the HTML book.")
    _common(sub)
    return parser


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--budget", default="smoke", help="smoke, short or paper (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="whole number from 0 (default: %(default)s)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    sub.add_argument("--data-dir", help="where the data is (default: $PRUNE_DATA, else ./data)")


def cost(args) -> None:
    from .nets import layout_of, read_spec

    layout = layout_of(args.arch, args.layout)
    if args.units and args.rates:
        raise InputError("--rates and --units together; expected one of them")
    rates, widths = read_spec(args.arch, args.rates, layout)  # refuse a bad spec before anything heavy is loaded
    if args.units:
        from .units import read_units

        widths = read_units(args.units, args.arch)

    from .cost import RULES
    from .cost import cost as recount

    names = list(RULES) if args.rule == "all" else [args.rule]
    costs = [recount(args.arch, widths if args.rates or args.units else None, name, layout) for name in names]
    if args.json:
        found = [{**item.to_json(), "spec": args.rates, "rates": rates} for item in costs]
        print(json.dumps(found if args.rule == "all" else found[0]))
        return
    print(f"{args.arch}, {f'units {args.units}' if args.units else f'rates {args.rates}' if args.rates else 'full'}")
    print(f"{'rule':14} {'FLOPs':>15} {'of':>15} {'cut':>7}   {'params':>12} {'of':>12} {'cut':>7}")
    for item in costs:
        print(
            f"{item.rule:14} {item.flops:15,} {item.base_flops:15,} {item.flops_cut:6.2f}%   "
            f"{item.params:12,} {item.base_params:12,} {item.params_cut:6.2f}%"
        )
    for item in costs:
        print(f"\n{item.rule}: {RULES[item.rule].text}.", end="")
    print()


def units(args) -> None:
    from .units import to_yaml
    from .units import units as listed

    print(json.dumps(listed(args.arch)) if args.json else to_yaml(args.arch), end="\n" if args.json else "")


def rows(args) -> None:
    from .rows import all_rows

    if args.json:
        print(json.dumps([row.to_json() for row in all_rows().values()]))
        return
    print(f"{'row':32} {'FLOPs':>9} {'params':>8} {'top-1':>7}  source")
    for row in all_rows().values():
        printed = (row.reported.get(figure, "–") for figure in ("flops", "params", "top1"))
        print("{:32} {:>9} {:>8} {:>7}  {}".format(row.id, *printed, row.source))


def run(args) -> int:
    from .records import run as run_row
    from .rows import get_row

    row = get_row(args.row)
    if args.units:
        from .units import read_units

        row = row.with_widths(read_units(args.units, row.arch))
    record = run_row(
        row, args.budget, args.seed, device=args.device, data_dir=args.data_dir, save_every=args.save_every,
        weights=args.weights,
    )  # fmt: skip
    if os.environ.get("RANK", "0") != "0":
        return 0
    if args.json:
        print(json.dumps(record))
    elif record["status"] != "finished":
        print(f"{record['row']}, {record['budget']}, seed {record['seed']}: {record['status']}, {record['error']}")
    else:
        metrics = record["metrics"]
        named = {"test_best": "the epoch best on test", "selected": "the selected one", "last": "the last"}
        scores = {text: metrics[f"{row.score}_{protocol}"] for protocol, text in named.items()}
        found = ", ".join(f"{score:.2f} % at {text}" for text, score in scores.items() if score is not None)
        score = row.score.replace("top1", "top-1")
        print(
            f"{record['row']}, {record['budget']}, seed {record['seed']}: {score} {found}; "
            f"{metrics['flops']:,} FLOPs ({metrics['rule']}), {metrics['params']:,} params"
        )
    return 0 if record["status"] == "finished" else 1


def evaluate(args) -> None:
    from .evaluate import evaluate_weights

    found = evaluate_weights(
        args.row, args.weights, device=args.device, data=args.data, data_dir=args.data_dir, mean=args.mean, std=args.std
    )
    if args.json:
        print(json.dumps(found))
        return
    scores = ", ".join(f"{name} {found[name]:.2f} %" for name in ("top1", "top5", "AP", "mIoU") if name in found)
    print(f"{found['row']}: {scores} on {found['images']:,} test images of {found['data']}")
    print(f"{found['params']:,} params, {found['flops']:,} FLOPs ({found['rule']}); weights fitted {found['fitted']}")


def table(args) -> None:
    from .tables import load_table

    found = load_table(args.table)
    print(json.dumps(found.to_json()) if args.json else found)


def data(args) -> None:
    from .tasks import images

    if args.download:
        images.download(args.name, args.data_dir)
    if args.decode:
        if args.name not in images.FOLDERS:
            raise InputError(f"{args.name} is no folder of images; --decode is for: {' '.join(images.FOLDERS)}")
        from .tasks.imagenet import check

        splits = ("val",) if args.name == "imagenet-sample" else ("train", "val")
        problems = check(images.find_data(args.data_dir) / args.name, decode=True, splits=splits)
        if problems:
            print("\n".join(problems))
            raise InputError(f"{args.name}: {len(problems)} problems, listed above")
    found = images.load(args.name, args.data_dir, heldout=0)
    facts = {
        "name": found.name, "train": len(found.train) + len(found.heldout), "test": len(found.test),
        "classes": list(found.classes), "sha256": found.fingerprint,
    }  # fmt: skip
    if args.json:
        print(json.dumps(facts))
        return
    few = list(found.classes[:10]) + (["…"] if len(found.classes) > 10 else [])
    print(
        "\n".join(
            f"{key}: {value}" for key, value in {**facts, "classes": f"{len(found.classes)}: {' '.join(few)}"}.items()
        )
    )


def book(args) -> None:
    from .book import build

    page = build(budget=args.budget, seed=args.seed, device=args.device, data_dir=args.data_dir or "")
    print(f"The book is at {page}")
