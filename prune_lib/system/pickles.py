"""Pickles from outside, read as data: the opcodes are followed, and nothing that they ask for is looked up or called.

What a pickle would import becomes a ``Named``, what it would call a ``Thing`` that holds the name and the arguments.
So a hostile pickle is only a strange tree. ``tensors`` makes sense of the things that torch and numpy write.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .errors import InputError, short

OPCODES = 20_000_000  # of one pickle; a checkpoint of a thousand tensors has 50,000
PLAIN = {"collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict"}


@dataclass(eq=False)
class Named:
    """Something that the pickle would import: a class, a function."""

    name: str


@dataclass(eq=False)
class Thing:
    """What a call of ``name`` would have given. It was not called."""

    name: str
    args: tuple = ()
    state: Any = None  # what it would have been given afterwards
    items: dict = field(default_factory=dict)


Make = Callable[[str, tuple], Any]  # (name, arguments) -> what is to stand for the call


def read_pickle(file: BinaryIO, where: str, make: Make = Thing) -> Any:
    """The tree of the next pickle in ``file``, which is left behind its end.

    Args:
        make: what stands for a call; it is given names and data alone.

    Raises:
        InputError: it is no pickle, or a damaged one; ``where`` begins the message.
    """
    machine = _Machine(make)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number >= OPCODES:
                raise InputError(f"{where}: a pickle of more than {OPCODES:,} steps; expected a checkpoint")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.do(opcode.name, argument)
    except InputError as error:
        raise error if str(error).startswith(where) else InputError(f"{where}: {error}") from None
    except (MemoryError, RecursionError):
        raise InputError(f"{where}: a pickle that would not fit; expected a checkpoint") from None
    except Exception as error:  # pickletools has many kinds; a wrong stack gives others
        raise InputError(f"{where}: not a whole pickle ({short(str(error), 150)})") from None
    raise InputError(f"{where}: a pickle that is cut off")


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, make: Make):
        self.make, self.stack, self.marks, self.memo = make, [], [], {}  # type: ignore[var-annotated]
        self.places: dict[int, list[int]] = {}  # of things that their state will turn into something else

    def do(self, name: str, argument: Any) -> None:
        method = getattr(self, f"do_{name.lower()}", None)
        if method is not None:
            method(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in VALUES:
            self.stack.append(argument)
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name.startswith("TUPLE"):
            count = int(name[5:])
            self.stack.append(tuple(self.take(count)))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.remember(argument)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the opcode {name}")

    def take(self, count: int) -> list:
        if count > len(self.stack):
            raise ValueError("a stack that is too short")
        taken = self.stack[len(self.stack) - count :] if count else []
        del self.stack[len(self.stack) - count :]
        return taken

    def since_mark(self) -> list:
        return self.take(len(self.stack) - self.marks.pop())

    def remember(self, place: int) -> None:
        self.memo[place] = value = self.stack[-1]
        if isinstance(value, Thing) and value.name in BUILT:
            self.places.setdefault(id(value), []).append(place)

    def do_mark(self, _) -> None:
        self.marks.append(len(self.stack))

    def do_pop(self, _) -> None:
        self.stack.pop()

    def do_pop_mark(self, _) -> None:
        self.since_mark()

    def do_dup(self, _) -> None:
        self.stack.append(self.stack[-1])

    def do_memoize(self, _) -> None:
        self.remember(len(self.memo))

    def do_tuple(self, _) -> None:
        self.stack.append(tuple(self.since_mark()))

    def do_list(self, _) -> None:
        self.stack.append(self.since_mark())

    def do_dict(self, _) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.put(items)

    def do_frozenset(self, _) -> None:
        self.stack.append(self.since_mark())

    def do_append(self, _) -> None:
        self.add(self.take(1))

    def do_appends(self, _) -> None:
        self.add(self.since_mark())

    def do_additems(self, _) -> None:
        self.add(self.since_mark())

    def add(self, values: list) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)

    def do_setitem(self, _) -> None:
        self.put(self.take(2))

    def do_setitems(self, _) -> None:
        self.put(self.since_mark())

    def put(self, items: list) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, Thing) else target
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                try:
                    target[key] = value
                except TypeError:  # a key with a list in it
                    target[short(key)] = value

    def do_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(Named(f"{module}.{name}"))

    def do_stack_global(self, _) -> None:
        module, name = self.take(2)
        self.stack.append(Named(f"{module}.{name}"))

    def do_inst(self, argument: str) -> None:
        args = tuple(self.since_mark())
        self.stack.append(self.call(Named(argument.replace(" ", ".", 1)), args))

    def do_obj(self, _) -> None:
        called, *args = self.since_mark()
        self.stack.append(self.call(called, tuple(args)))

    def do_newobj(self, _) -> None:
        self.do_reduce(_)

    def do_newobj_ex(self, _) -> None:
        called, args, _named = self.take(3)
        self.stack.append(self.call(called, args))

    def do_reduce(self, _) -> None:
        called, args = self.take(2)
        self.stack.append(self.call(called, args))

    def call(self, called: Any, args: Any) -> Any:
        args = args if isinstance(args, tuple) else (args,)
        if not isinstance(called, Named):
            return Thing("a call of no function", (called, *args))
        if called.name in PLAIN:
            pairs = args[-1] if args and isinstance(args[-1], list) else []
            return {pair[0]: pair[1] for pair in pairs if _is_pair(pair)}
        if called.name.endswith(("copyreg._reconstructor", "copy_reg._reconstructor")) and args:
            return self.call(args[0], ())  # protocols 0 and 1 make objects so
        return self.make(called.name, args)

    def do_build(self, _) -> None:
        (state,) = self.take(1)
        target = self.stack[-1]
        if isinstance(target, Thing):
            target.state = state
            self.stack[-1] = built = self.make("build", (target,)) if target.name in BUILT else target
            if built is not target:
                self.memo |= dict.fromkeys(self.places.pop(id(target), ()), built)

    def do_binpersid(self, _) -> None:
        (argument,) = self.take(1)
        self.stack.append(self.make("persistent", argument if isinstance(argument, tuple) else (argument,)))

    def do_persid(self, argument: str) -> None:
        self.stack.append(self.make("persistent", (argument,)))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], str | int | float | bool)


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"),
    *("SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8"),
}
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip
BUILT = {"numpy.array"}  # things that ``make`` is shown again once they have their state


def scalars(tree: Any, most: int = 100_000) -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of everything in a tree that holds nothing else; at most so many, each container once."""
    waiting, seen, given = [("", tree)], set(), 0
    while waiting and given < most:
        path, value = waiting.pop()
        inside: list[tuple[Any, Any]] = []
        if isinstance(value, dict):
            inside = [*value.items()]
        elif isinstance(value, list | tuple) and len(value) <= 1000:
            inside = [*enumerate(value)]
        elif isinstance(value, Thing):
            inside = [*value.items.items(), *(value.state.items() if isinstance(value.state, dict) else ())]
        else:
            given += 1
            yield path, value
            continue
        if id(value) not in seen:
            seen.add(id(value))
            if path.count(".") < 20:
                waiting += reversed([(f"{path}.{_part(key)}".lstrip("."), item) for key, item in inside])


def _part(key: Any) -> str:
    return key[:200] if isinstance(key, str) else short(key, 40)


def of_bytes(data: bytes, where: str, make: Make = Thing) -> Any:
    """The tree of a pickle in memory."""
    return read_pickle(io.BytesIO(data), where, make)
