"""Commands that run rows: ``run queue reproduce plan keep eval score select``, given their parsed words."""

import json
import os
import sys
from pathlib import Path

from ..system.errors import InputError


def run(args) -> int:
    _settle(args)
    from ..papers.rows import get_row
    from ..runs.records import Run, find_file
    from ..runs.runner import run as run_row
    from ..runs.settings import changed

    row = get_row(args.row)
    if args.units:
        from ..nets.units import read_units

        row = row.with_widths(read_units(args.units, row.arch))
    paper, row = row, changed(row, args.budget, args.set)
    if args.set and row is paper and not args.quiet and os.environ.get("RANK", "0") == "0":
        print(f"--set changes nothing: {row.called} has it so at {args.budget}", file=sys.stderr)
    first = os.environ.get("RANK", "0") == "0"
    if args.verbose and first:
        _say_before(row, args.budget, args.seed)
    made = None if args.again or args.budget not in row.recipes else find_file(Run(row, args.budget, args.seed))
    record = run_row(
        row, args.budget, args.seed, device=args.device, data_dir=args.data_dir, save_every=args.save_every,
        weights=args.weights, scores=args.scores, progress=not args.quiet, again=args.again, **_execution(args),
    )  # fmt: skip
    if not first:
        return 0
    if made and not args.quiet:
        path, origin = made[0], made[1]["provenance"]
        print(
            f"nothing was run: {path} is of {str(origin.get('ended'))[:10]}, code {origin.get('code')}; "
            "--again runs it once more",
            file=sys.stderr,
        )
    if args.verbose:
        _say_epochs(record)
    if args.json:
        print(json.dumps(record))
    elif args.quiet and record["status"] == "finished":
        pass
    elif record["status"] != "finished":
        print(f"{row.called}, {record['budget']}, seed {record['seed']}: {record['status']}, {record['error']}")
    else:
        metrics = record["metrics"]
        named = {"test_best": "the epoch best on test", "selected": "the selected one", "last": "the last"}
        by_epoch = {text: metrics[f"{row.metric}_{protocol}"] for protocol, text in named.items()}
        figures = ", ".join(f"{figure:.2f} % at {text}" for text, figure in by_epoch.items() if figure is not None)
        name = row.metric.replace("top1", "top-1")
        print(
            f"{row.called}, {record['budget']}, seed {record['seed']}: {name} {figures}; "
            f"{metrics['flops']:,} FLOPs ({metrics['rule']}), {metrics['params']:,} params"
        )
    return 0 if record["status"] == "finished" else 1


def _settle(args) -> None:
    """What mmrazor's options say that is not of the row: who started this, where results go, and in what precision."""
    from ..system import paths, slurm

    slurm.settle(args.launcher)
    if args.amp:
        if args.precision not in (None, "fp16"):
            raise InputError(f"both --amp and --precision {args.precision}; expected one of them")
        args.precision = "fp16"
    if args.work_dir:
        os.environ.setdefault("PRUNE_DATA", str(paths.home() / "data"))
        os.environ["PRUNE_HOME"] = paths.absolute(args.work_dir)


def _execution(args) -> dict:
    """How to train, as ``prune_lib.runs.execution.Execution`` takes it."""
    return {name: getattr(args, name) for name in ("engine", "precision", "micro_batch", "loss_scale", "deterministic")}


def _say_before(row, budget: str, seed: int) -> None:
    """What is about to be run, on stderr."""
    from ..runs.records import Run

    if budget in row.recipes:
        about = {
            "row": row.called, "network": f"{row.arch}, {row.rates or 'full'}", "method": dict(row.method),
            "recipe": {"data": row.recipes[budget].data, **row.recipes[budget].not_default()},
            "state": Run(row, budget, seed).folder,
        }  # fmt: skip
        print("\n".join(f"{name}: {value}" for name, value in about.items()), file=sys.stderr, flush=True)


def _say_epochs(record: dict) -> None:
    """One line for each epoch, on stderr."""
    curves = record.get("curves", {})
    for number, epoch in enumerate(curves.get("epoch", [])):
        figures = (f"{name} {values[number]}" for name, values in curves.items() if name != "epoch")
        print(f"epoch {epoch + 1}: {', '.join(figures)}", file=sys.stderr)


def queue(args) -> int:
    from ..runs.execution import Execution
    from ..runs.queue import jobs, work

    Execution(**_execution(args))  # refused here, and not by each of its runs
    todo = jobs(args.rows, args.budget, _seeds(args), args.weights, args.set)
    named = {"--device": _device(args), "--data-dir": args.data_dir, "--weights": args.weights, "--engine": args.engine}
    named |= {"--precision": args.precision, "--micro-batch": args.micro_batch, "--loss-scale": args.loss_scale}
    options = [str(word) for name, value in named.items() if value for word in (name, value)]
    options += [] if args.deterministic else ["--no-deterministic"]
    if not args.list:
        tell = (lambda jobs: None) if args.quiet else _progress_lines()
        work(todo, args.jobs, devices=args.devices, options=options, tell=tell)
        if args.verbose:
            print("\n".join(f"{j.status:9} {j.name}  {j.log}" for j in todo), file=sys.stderr)
    if args.json:
        print(json.dumps([{
            "row": j.row.id, "budget": j.budget, "seed": j.seed, "status": j.status,
            **({"of": j.row.of, "set": dict(j.row.settings)} if j.row.of else {}),
        } for j in todo]))  # fmt: skip
    elif args.list:
        words = {job.name: f"{job.name}  ({job.so_far})" if job.so_far else job.name for job in todo}
        print("\n".join(words.values()) or "every one of them has a record")
    return 1 if any(job.status == "failed" for job in todo) else 0


def _progress_lines():
    """Shows one line for each run: redrawn on a terminal, elsewhere printed when its status changes."""
    shown: dict = {"lines": 0, "status": {}}

    def tell(jobs) -> None:
        if sys.stderr.isatty():
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            lines = [
                f"{job.status:9} {job.name}  {job.last_words() if job.status != 'waiting' else ''}" for job in jobs
            ]
            lines = [line for line, job in zip(lines, jobs, strict=True) if job.status != "waiting"]
            lines.append(f"{sum(job.status == 'waiting' for job in jobs)} more are waiting")
            up = f"\x1b[{shown['lines']}A" if shown["lines"] else ""
            print(up + "".join(f"\x1b[2K{line[: width - 1]}\n" for line in lines), end="", file=sys.stderr, flush=True)
            shown["lines"] = len(lines)
            return
        for job in jobs:
            if job.status not in ("waiting", shown["status"].get(job.name)):
                shown["status"][job.name] = job.status
                print(f"{job.status:9} {job.name}  {job.last_words()}", file=sys.stderr, flush=True)

    return tell


def reproduce(args) -> int:
    from ..book.reproduce import plan as planned
    from ..book.site.build import build
    from ..book.site.notebook import BUDGETS
    from ..runs.estimate import as_text
    from ..runs.queue import work

    _check_price(args)
    given = {"--device": _device(args), "--data-dir": args.data_dir}
    todo = planned(args.papers, args.budget, _seeds(args), args.data_dir)
    print(todo, file=sys.stderr)
    if args.dry_run:
        runs, unknown = todo.estimates(args.device, args.seconds)
        if args.json:
            facts = {"runs": [run.to_json() for run in runs], "unknown": unknown, "without_data": todo.without_data}
            print(json.dumps(facts))
            return 0
        print(as_text(runs, args.price) if runs else "nothing would be run")
        if unknown:
            print(f"and {len(unknown)} rows whose time is not known: {', '.join(unknown)}")
        return 0
    options = [word for name, value in given.items() if value for word in (name, value)]
    tell = (lambda jobs: None) if args.quiet else _progress_lines()
    done = work(todo.jobs, args.jobs, devices=args.devices, options=options, tell=tell)
    failed = [job for job in done if job.status == "failed"]
    for job in failed:
        print(f"failed: {job.name}: {job.last_words()}", file=sys.stderr)
    page = None
    if not args.no_book:
        shown = args.budget if args.budget in BUDGETS else "smoke"  # notebooks have no fast, and show its records
        device = args.devices[0] if args.devices else args.device
        quiet = args.quiet or args.json
        page = build(shown, args.seed, device, args.data_dir or "", quiet=quiet, verbose=args.verbose)
    if args.json:
        listed = [{"row": job.row.id, "budget": job.budget, "seed": job.seed, "status": job.status} for job in done]
        print(json.dumps({"runs": listed, "without_data": todo.without_data, "page": str(page) if page else None}))
    elif page:
        print(f"The book is at {page}")
    return 1 if failed else 0


def plan(args) -> None:
    from ..runs.estimate import as_text, estimate
    from ..runs.queue import planned

    _check_price(args)
    runs = [estimate(row, args.budget, args.device, args.seconds) for row in planned(args.rows, args.budget)]
    print(json.dumps([run.to_json() for run in runs]) if args.json else as_text(runs, args.price))


def _seeds(args) -> range:
    """So many seeds as are asked for, from the first one on."""
    if not 1 <= args.seeds <= 1000 or not 0 <= args.seed < 2**31:
        raise InputError(f"{args.seeds} seeds from {args.seed} on; expected 1 to 1000, from 0 on")
    return range(args.seed, args.seed + args.seeds)


def _device(args) -> str:
    """The one device of all runs; empty where each has one of several."""
    if args.devices and args.device != "auto":
        raise InputError("both --device and --devices; expected one of them")
    return "" if args.devices else args.device


def _check_price(args) -> None:
    if not 0 <= args.price <= 1e6 or not 0 < args.seconds <= 3600:
        raise InputError("expected a price from 0 to 1,000,000 for an hour, and 0 to 3600 seconds")


def keep(args) -> None:
    from ..runs.kept import publish

    path = publish(args.row, args.budget, args.seed, args.protocol)
    print(json.dumps({"file": str(path), "card": str(path.with_suffix(".md"))}) if args.json else path)


def evaluate(args) -> None:
    from ..system.slurm import settle

    settle(args.launcher)
    from ..runs.given import evaluate_weights

    found = evaluate_weights(
        args.row,
        args.weights,
        device=args.device,
        data=args.data,
        data_dir=args.data_dir,
        mean=args.mean,
        std=args.std,
        precision=args.precision or "fp32",
    )
    if os.environ.get("RANK", "0") != "0":
        return
    if args.json:
        print(json.dumps(found))
        return
    scores = ", ".join(f"{name} {found[name]:.2f} %" for name in ("top1", "top5", "AP", "mIoU") if name in found)
    print(f"{found['row']}: {scores} on {found['images']:,} test images of {found['data']}")
    print(f"{found['params']:,} params, {found['flops']:,} FLOPs ({found['rule']}); weights fitted {found['fitted']}")


def score(args) -> None:
    from ..runs.scoring import score as score_row

    found = score_row(
        args.row, args.out, args.budget, args.seed, device=args.device, data_dir=args.data_dir, weights=args.weights,
        precision=args.precision,
    )  # fmt: skip
    if args.json:
        print(json.dumps({"file": args.out, **found.about, "filters": {n: len(t) for n, t in found.tensors.items()}}))
        return
    facts = ", ".join(f"{name} {value}" for name, value in found.about["facts"].items() if name != "dense")
    count = sum(map(len, found.tensors.values()))
    print(f"{args.out}: scores of {count:,} filters of {found.about['arch']} ({facts})")


def select(args) -> None:
    from ..nets.units import to_yaml
    from ..runs.scores import read_scores
    from ..runs.scores import select as choose
    from ..system.files import write_bytes

    budgets = {name: getattr(args, name) for name in ("sparsity", "flops", "macs", "rates", "layout")}
    found = choose(read_scores(args.file), **budgets)
    if args.out:
        write_bytes(Path(args.out), to_yaml(found.arch, found.widths).encode())
    if args.json:
        print(json.dumps(found.to_json()))
        return
    print(f"{'conv':24} {'filters':>8} {'stay':>6}")
    for conv, keep in found.keep.items():
        print(f"{conv:24} {len(keep):>8} {found.kept[conv]:>6}")
    print(f"{found.sparsity:.2%} of the filters go")
    share = found.masked_flops / found.full_flops
    print(f"masked:  {found.masked_flops:,} of {found.full_flops:,} FLOPs (cdp), {share:.2%}")
    print(f"removed: {found.macs:,} of {found.full_macs:,} multiply-accumulates, {found.macs / found.full_macs:.2%}")
    if args.out:
        print(f"{args.out}: the widths, for 'prune run ROW --units {args.out}'")
