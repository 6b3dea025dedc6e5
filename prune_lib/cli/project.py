"""Commands about the project and this machine: ``data book metadata editions doctor completion``."""

import json
from dataclasses import asdict
from pathlib import Path

from ..system.errors import InputError, short


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
