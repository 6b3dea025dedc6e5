"""Commands about a network and its figures: ``cost check inspect units export latency``, given their parsed words."""

import json

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


def check(args) -> int:
    from ..cost.checking import check as trace
    from ..papers.rows import printed_networks

    known = [] if args.rates else printed_networks(args.arch)
    options = {name: getattr(args, name) for name in ("layout", "params", "base", "cut", "classes")}
    found = trace(args.figure, args.arch, args.rates, image=_sides(args.image), known=known, **options)
    print(json.dumps(found.to_json()) if args.json else found)
    return 0 if found.found else 1


def _sides(text: str | None) -> tuple[int, int] | None:
    """Height and width from ``224`` or ``512x1024``."""
    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 6 for side in sides):
        raise InputError(f"--image {short(text)}; expected pixels such as 224 or 512x1024")
    return int(sides[0]), int(sides[-1])


def inspect(args) -> None:
    from ..runs.inspection import inspect as look

    found = look(args.file)
    print(json.dumps(found.to_json()) if args.json else found)


def units(args) -> None:
    from ..nets.units import to_yaml
    from ..nets.units import units as listed

    print(json.dumps(listed(args.arch)) if args.json else to_yaml(args.arch), end="\n" if args.json else "")


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
