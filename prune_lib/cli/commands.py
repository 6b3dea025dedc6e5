"""What each command of ``prune`` does, given its parsed words."""

import json
import os
import pathlib
import sys
from dataclasses import asdict
from pathlib import Path

from ..nets import ARCHS, Arch, Widths, arch_of, read_spec
from ..system.errors import InputError, short


def cost(args) -> None:
    from ..cost.comparing import compared
    from ..cost.counters import COUNTERS
    from ..cost.counting import RULES, layers_of, rule_called
    from ..cost.counting import cost as recount

    if sum(bool(given) for given in (args.rates, args.units, args.weights)) > 1:
        raise InputError("more than one of --rates, --units and --weights; expected one of them")
    rates: list[float] | None = None
    known: dict = {}  # of the network's weights
    if args.weights:
        arch, widths, known = _of_weights(args.weights, arch_of(args.arch) if args.arch else None)
    elif args.arch is None:
        raise InputError("which network? expected its name, or --weights FILE")
    elif args.rule == "all" and args.arch not in ARCHS:
        return _compare(args)
    else:
        arch = arch_of(args.arch)
        rates, widths = read_spec(arch, args.rates, args.layout)
        if args.units:
            from ..nets.units import read_units

            widths = read_units(args.units, arch.name)
    pruned = widths if args.rates or args.units or widths != arch.filters else None
    names = [*RULES, *COUNTERS] if args.rule == "all" else [args.rule]
    costs = [recount(arch, pruned, name, args.layout, **known) for name in names]
    if args.json:
        found = [{**item.to_json(), "spec": args.rates, "rates": rates} for item in costs]
        print(json.dumps(found if args.rule == "all" else found[0]))
        return
    given = [f"{name} {value}" for name in ("rates", "units", "weights") if (value := getattr(args, name))]
    print(f"{arch.name}, {given[0] if given else 'full'}")
    print(f"{'rule':14} {'FLOPs':>15} {'of':>15} {'cut':>7}   {'params':>12} {'of':>12} {'cut':>7}")
    for item in costs:
        print(
            f"{item.rule:14} {item.flops:15,} {item.base_flops:15,} {item.flops_cut:6.2f}%   "
            f"{item.params:12,} {item.base_params:12,} {item.params_cut:6.2f}%"
        )
    why = {(line.counter, line.figure): line.why() for line in compared(layers_of(arch, pruned)).lines}
    for item in costs:
        difference = why.get((item.rule, item.flops))
        print(f"\n{item.rule}: {rule_called(item.rule).text}.", end=f" {difference}." if difference else "")
    print()


def _compare(args) -> None:
    """One of torchvision's networks under every counter."""
    from ..cost import zoo
    from ..cost.comparing import compare

    if args.rates or args.units or args.layout:
        raise InputError(f"{short(args.arch)} is not one of this library's; expected no --rates, --units or --layout")
    model, inputs = zoo.built(args.arch)
    found = compare(model, inputs)
    print(json.dumps(found.to_json()) if args.json else found)


def check(args) -> int:
    from ..cost.checking import check as trace
    from ..papers.rows import printed_networks

    known = [] if args.rates else printed_networks(args.arch)
    options = {name: getattr(args, name) for name in ("layout", "params", "base", "cut", "classes")}
    found = trace(args.figure, args.arch, args.rates, image=_sides(args.image), known=known, **options)
    print(json.dumps(found.to_json()) if args.json else found)
    return 0 if found.found else 1


def inspect(args) -> None:
    from ..runs.inspection import inspect as look

    found = look(args.file)
    print(json.dumps(found.to_json()) if args.json else found)


def _sides(text: str | None) -> tuple[int, int] | None:
    """Height and width from ``224`` or ``512x1024``."""
    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 6 for side in sides):
        raise InputError(f"--image {short(text)}; expected pixels such as 224 or 512x1024")
    return int(sides[0]), int(sides[-1])


def _of_weights(path: str, arch: Arch | None) -> tuple[Arch, Widths, dict]:
    """``(arch, widths, what else cost() is to know)`` of a compact network's file, without torch where it can."""
    from ..nets.headers import read_header

    if header := read_header(path, arch):
        arch, widths, classes, nonzero = header
        return arch, widths, {"classes": classes, "nonzero": nonzero}

    from ..nets.weights import read_compact

    name, widths, model = read_compact(path, arch.name if arch else None)
    arch = arch_of(name)
    return arch, widths, {"classes": len(model.state_dict()[f"{arch.head}.weight"]), "model": model}


def units(args) -> None:
    from ..nets.units import to_yaml
    from ..nets.units import units as listed

    print(json.dumps(listed(args.arch)) if args.json else to_yaml(args.arch), end="\n" if args.json else "")


def rows(args) -> None:
    from ..papers.rows import all_rows

    if args.json:
        print(json.dumps([row.to_json() for row in all_rows().values()]))
        return
    print(f"{'row':32} {'FLOPs':>9} {'params':>8} {'top-1':>7}  source")
    for row in all_rows().values():
        printed = (row.reported.get(figure, "–") for figure in ("flops", "params", "top1"))
        print("{:32} {:>9} {:>8} {:>7}  {}".format(row.id, *printed, row.source))


def show(args) -> None:
    from ..book.tables.table import recount
    from ..papers.recipe import meanings
    from ..papers.rows import get_row
    from ..runs.settings import listing, published, settings_of

    row, explained = get_row(args.row), meanings()
    counted, settings = recount(row), settings_of(row)
    if args.json:
        listed = {name: asdict(setting) for name, setting in settings.items()}
        print(json.dumps({**row.to_json(), "recounted": counted, "fields": explained, "settings": listed}))
        return
    method = " ".join(f"{name}={value}" for name, value in row.method.items())
    facts = {
        "row": row.id, "title": f"{row.title}, {row.dataset}", "network": row.arch or "not in this library",
        "rates": row.rates or row.unknown or "nothing is pruned", "layout": row.layout, "rule": row.rule,
        "method": method or "not trained here", "starts from": row.start, "source": row.source, "note": row.note,
    }  # fmt: skip
    print("\n".join(f"{name + ':':12} {value}" for name, value in facts.items() if value))
    print(f"\n{'figure':12} {'reported':>14} {'recounted':>16}")
    for figure in dict.fromkeys([*row.reported, *counted]):
        value = counted.get(figure)
        exact = "–" if value is None else f"{value:.2f}%" if figure.endswith("_cut") else f"{value:,}"
        print(f"{figure:12} {row.reported.get(figure, '–'):>14} {exact:>16}")
    if row.recipes:
        given = {budget: asdict(recipe) for budget, recipe in row.recipes.items()}
        print(f"\n{'recipe':16}{''.join(f'{budget:>12}' for budget in given)}{'default':>12}  meaning")
        for name, about in explained.items():
            values = [str(recipe[name]) for recipe in given.values()] + [str(about["default"])]
            allowed = f" ({settings[name].allowed})" if settings[name].allowed else ""
            print(f"{name:16}{''.join(f'{value:>12}' for value in values)}  {about['meaning']}{allowed}")
        print(f"\n{'method, machine':16}{'this row':>24}  meaning")
        for name, value, kind, meaning in listing(row):
            print(f"{name:16}{value if len(value) < 24 else 'as above':>24}  {meaning} ({kind})")
        print(f"\n{'published':22} here")
        for theirs, ours, says in published(row):
            print(f"{theirs:22} {ours}{f', {says}' if says else ''}")
        print(f"\nEach of these can be set: prune run {row.id} --set epochs=1 lr=0.05")


def claims(args) -> None:
    from ..book.tables.claims import load_claims

    judged = load_claims()
    print(json.dumps(judged.to_json()) if args.json else judged)


def errata(args) -> None:
    from ..book.tables.errata import errata as find

    found = find()
    print(json.dumps(found.to_json()) if args.json else found)


def results(args) -> None:
    from ..book.tables.results import load_results

    found = load_results(args.paper or "")
    if args.paper and not len(found):
        raise InputError(f"no rows of a paper called {short(args.paper)}; expected such as dcff ('prune rows')")
    print(json.dumps(found.to_json()) if args.json else found)


def review(args) -> None:
    from ..book.review import review as sheet
    from ..book.review import to_html, to_markdown

    formats = {"markdown": to_markdown, "html": to_html}
    if args.format not in formats:
        raise InputError(f"--format {short(args.format)}; expected one of: {' '.join(formats)}")
    found = sheet(args.paper)
    text = f"{json.dumps(found.to_json())}\n" if args.json else formats[args.format](found)
    if args.out:
        from ..system.files import write_text

        write_text(Path(args.out), text)
    else:
        print(text, end="")


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
        write_bytes(pathlib.Path(args.out), to_yaml(found.arch, found.widths).encode())
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


def plan(args) -> None:
    from ..runs.estimate import as_text, estimate
    from ..runs.queue import planned

    _check_price(args)
    runs = [estimate(row, args.budget, args.device, args.seconds) for row in planned(args.rows, args.budget)]
    print(json.dumps([run.to_json() for run in runs]) if args.json else as_text(runs, args.price))


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


def table(args) -> None:
    from ..book.tables.table import load_table

    found = load_table(args.table)
    print(json.dumps(found.to_json()) if args.json else found)
    _say_without_records(args.table)


def _say_without_records(table: str) -> None:
    """On stderr, where the records of a table were looked for, if there are none: another folder may be meant."""
    from ..papers.rows import all_rows
    from ..runs.records import records
    from ..system.paths import home

    rows = [row for row in all_rows().values() if row.table == table]
    if not any(next(records(row), None) for row in rows):
        where = home() / "results"
        there = "" if where.is_dir() else ", which is not there"
        print(
            f"no records of {table} in {where}{there}: 'prune run' makes them; another project's are found by running "
            f"this in it, or by $PRUNE_HOME",
            file=sys.stderr,
        )


def export(args) -> None:
    from ..nets.export import export_file

    found = export_file(args.file, args.out, args.to)
    text = "{file}: {bytes:,} bytes, checked with {checked_with}: outputs differ by {difference:.1e}, batch {batch}"
    print(json.dumps(found) if args.json else text.format(**found))


def latency(args) -> None:
    from ..cost.latency import as_text
    from ..cost.latency import latency as measure

    options = {name: getattr(args, name) for name in ("layout", "threads", "device", "seconds")}
    found = measure(args.arch, args.rates, batches=args.batch, **options)
    print(json.dumps(found) if args.json else as_text(found))


def data(args) -> None:
    from ..tasks import registry

    folder = registry.find_data(args.data_dir)
    if args.download:
        from ..tasks.images import download

        download(args.name, folder)
    if args.decode:
        if args.name not in registry.FOLDERS:
            raise InputError(f"{args.name} is no folder of images; --decode is for: {' '.join(registry.FOLDERS)}")
        from ..tasks.imagenet import check

        splits = ("val",) if args.name == "imagenet-sample" else ("train", "val")
        problems = check(folder / args.name, decode=True, splits=splits)
        if problems:
            print("\n".join(problems))
            raise InputError(f"{args.name}: {len(problems)} problems, listed above")
    found = registry.load(args.name, args.data_dir, heldout=0)
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
    from ..book.site.build import build

    loudness = {"quiet": args.quiet or args.json, "verbose": args.verbose}
    page = build(args.budget, args.seed, args.device, args.data_dir or "", **loudness)
    if args.json:
        print(json.dumps({"page": str(page), "budget": args.budget, "seed": args.seed}))
    else:
        print(f"The book is at {page}")


def metadata(args) -> int:
    from ..book.machines import COMMITTED, stale, write

    names = stale() if args.check else write()
    if args.json:
        print(json.dumps({"files": list(COMMITTED), "stale" if args.check else "written": names}))
    elif names:
        print(f"{'not as they would be written now' if args.check else 'written'}: {' '.join(names)}")
    else:
        print(f"{' '.join(COMMITTED)}: as they should be")
    return 1 if args.check and names else 0


def editions(args) -> None:
    from ..book.machines.editions import compare, find_edition, listed, newest, site_folder

    site = Path(args.site) if args.site else site_folder()
    if args.action is None:
        names = listed(site)
        if args.json:
            print(json.dumps({"editions": names, "latest": newest(names) if names else None}))
        else:
            print("\n".join(names) or f"no editions in {site}; 'make publish' makes one")
        return
    if len(args.names) != 2:
        raise InputError(f"compare {short(' '.join(args.names))}; expected two editions, such as v0.1.0 now")
    found = compare(*(find_edition(name, site) for name in args.names))
    print(json.dumps(found.to_json()) if args.json else found)


def doctor(args) -> int:
    from dataclasses import asdict

    from .doctor import examine

    found = examine(args.data_dir)
    healthy = all(finding.ok for finding in found if finding.needed)
    if args.json:
        print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in found]}))
    else:
        print("\n".join(map(str, found)))
        print("'prune run' works here" if healthy else "'prune run' does not work here: see what is WRONG above")
    return 0 if healthy else 1


def completion(parser, shell: str) -> None:
    from .completion import script

    print(script(parser, shell), end="")
