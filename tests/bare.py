"""Several commands of ``prune`` in one process that has the wheel and what it depends on, and sees nothing else.

Started with the unpacked wheel in front of its path: ``python bare.py '[["cost", "vgg16"], …]'``. It prints JSON: for
each command its exit code and what it wrote. What this environment has beyond the wheel's own dependencies cannot be
imported.
"""

import contextlib
import io
import json
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(name: str) -> set[str]:
    """The distributions that ``name`` needs without any extra, itself among them."""
    known: set[str] = set()
    waiting = [(canonicalize_name(name), frozenset({""}))]
    while waiting:
        found, extras = waiting.pop()
        try:
            needed = [Requirement(text) for text in requires(found) or ()]
        except PackageNotFoundError:  # of another platform
            continue
        known.add(found)
        for each in needed:
            wanted = canonicalize_name(each.name)
            asked = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
            if asked and wanted not in known:
                waiting.append((wanted, frozenset({"", *each.extras})))
    return known


BASE = closure("prune_lib")
HIDDEN = {
    module
    for module, owners in packages_distributions().items()
    if not BASE & {canonicalize_name(owner) for owner in owners}
}


class Bare:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        return PathFinder.find_distributions(context)


if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if place != sys.path[0]]  # not this folder of tests
    for module in HIDDEN & set(sys.modules):
        del sys.modules[module]
    sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
    from prune_lib.cli import main

    done = []
    for words in json.loads(sys.argv[1]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        done.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
    import prune_lib

    print(json.dumps({"done": done, "from": prune_lib.__file__, "hidden": sorted(HIDDEN & set(sys.modules))}))
