"""Ctrl-C, SIGTERM and SIGHUP as facts that the loop looks at, never as exceptions in the middle of something."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""SIGUSR1 is a queue's hint that the time limit is near."""


class Signals:
    """Counts what was caught, and wakes a `select` by a byte in a pipe."""

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self.before: dict[int, Any] = {}
        self.wake, self.written = os.pipe()

    def __enter__(self) -> Signals:
        for end in (self.wake, self.written):
            os.set_blocking(end, False)
        self.wakeup_before = signal.set_wakeup_fd(self.written, warn_on_full_buffer=False)
        # nohup has it ignored, and so it stays: the terminal may go.
        caught = [each for each in CAUGHT if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self.receive) for number in caught}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self.wakeup_before)
        os.close(self.wake)
        os.close(self.written)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
