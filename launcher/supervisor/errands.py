"""Questions to a queue's controller, which may be slow or down: asked in order beside the loop, which never waits for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from launcher.errors import BackendError

Then = Callable[[Any], None]


class Errands:
    """`tick` hands out the answers, so that all decisions are taken in the loop's own thread."""

    def __init__(self) -> None:
        self.orders: queue.SimpleQueue[tuple[Callable[[], Any], Then, Callable[[str], None]]] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.under_way = 0
        self.thread: threading.Thread | None = None

    def send(self, ask: Callable[[], Any], then: Then, failed: Callable[[str], None]) -> None:
        """`failed` gets a BackendError in words."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="errands", daemon=True)
            self.thread.start()
        self.under_way += 1
        self.orders.put((ask, then, failed))

    def run(self) -> None:
        while True:
            ask, then, failed = self.orders.get()
            try:
                answer = ask()
            except (BackendError, OSError) as error:
                self.answers.put(lambda words=str(error), tell=failed: tell(words))  # type: ignore[misc]
            else:
                self.answers.put(lambda answer=answer, tell=then: tell(answer))  # type: ignore[misc]

    def tick(self) -> None:
        while not self.answers.empty():
            self.under_way -= 1
            self.answers.get()()

    def settle(self, timeout_s: float) -> bool:
        """Waits for what is under way; whether all of it is done."""
        until = time.monotonic() + timeout_s
        while self.under_way and time.monotonic() < until:
            self.tick()
            time.sleep(0.01)
        self.tick()
        return not self.under_way
