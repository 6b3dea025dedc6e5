"""How a command ends: on a signal as on ctrl-C, and together with the process that started it if that asks for it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WITH_PARENT = "PRUNE_WITH_PARENT"  # set for a process that is to end when its stdin does


class Ended(KeyboardInterrupt):
    """A signal other than ctrl-C's told this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def by_signals() -> Iterator[None]:
    """Within this block SIGTERM and SIGHUP raise ``Ended``: batch systems, ``timeout``, ``kill``, closed terminals.

    A signal that is ignored (``nohup``) stays so. Of several processes that train one network, ``torchrun``'s, each
    ends at once: it may be waiting for another one and would not come to raise anything.
    """

    def end(number, frame):
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread() and "RANK" not in os.environ:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        if os.environ.pop(WITH_PARENT, None):
            threading.Thread(target=_end_with_stdin, daemon=True).start()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_stdin() -> None:
    """Wait for the end of stdin, which comes with that of whoever holds its other side, then end as by SIGTERM."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
