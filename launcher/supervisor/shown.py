"""What shows a run, beside its loop: a terminal that stands still (Ctrl-S, a pipe that nobody reads) must hold up no training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

EVERY_S = 0.1


@contextmanager
def shown(screen: Callable[[], None] | None) -> Iterator[None]:
    """Calls `screen` about ten times a second, from one thread; none of it is under way any more when this returns."""
    if screen is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=show, args=(screen, over), name="screen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def show(screen: Callable[[], None], over: threading.Event) -> None:
    with suppress(OSError):  # the terminal or the reader of the pipe is gone: the training is not
        screen()
        while not over.wait(EVERY_S):
            screen()
