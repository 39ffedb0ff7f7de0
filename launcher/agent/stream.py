"""The agent's two ends of the supervisor's pipes, watched by a thread: it hears the end even while a fork server is starting.

The supervisor's end of file, its silence, or the wrapper's death end the agent with all of its processes, whatever its main
thread is doing. Pings that want an answer get it here, so that a slow import does not look like a lost node.
"""

from __future__ import annotations

import os
import queue
import select
import shutil
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

from launcher.agent.orphans import sweep_all
from launcher.protocol import FromAgent, decode, encode

SILENCE_S = 6.0
"""Three quarters of the default retry.lost_after; a `warm` order may say otherwise."""
SILENCE = 3
"""Exit code of an agent that heard nothing any more, not even an end of file."""
SWEEP_LIMIT_S = 10.0
READ_BYTES = 1 << 16


class Stream:
    def __init__(self, agent: int, orders: int, news: int, wrapper_alive: int) -> None:
        self.agent = agent
        self.orders = orders
        self.news = news
        self.wrapper_alive = wrapper_alive
        self.silence_s = SILENCE_S
        self.folder: str | None = None
        self.ending = False
        """From then on nothing may be started."""
        self.received: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.wake, self.written = os.pipe()
        self.sending = threading.Lock()

    def listen(self, folder: str) -> None:
        """Starts the thread. `folder` is removed at the end."""
        self.folder = folder
        for end in (self.wake, self.written):
            os.set_blocking(end, False)
        threading.Thread(target=self.hear, name="orders", daemon=True).start()

    def send(self, message: FromAgent) -> None:
        """Ends the agent where nobody listens any more. What happens while it ends is no news: its end is."""
        if self.ending:
            return
        try:
            with self.sending:
                os.write(self.news, encode(message))
        except OSError:
            self.end()

    def hear(self) -> NoReturn:
        """What is not meant for this agent is no word to it: the supervisor names only those it hears of."""
        heard, pending = time.monotonic(), b""
        while True:
            left = heard + self.silence_s - time.monotonic()
            ready, _, _ = select.select([self.orders, self.wrapper_alive], [], [], max(0.0, left))
            data = os.read(self.orders, READ_BYTES) if self.orders in ready else b""
            late = time.monotonic() - heard > self.silence_s  # frozen for a while, perhaps: what is in the pipe is old
            if not data or late:  # end of file, silence, or the wrapper is gone
                orphaned = self.wrapper_alive in ready
                self.end(SILENCE if not orphaned and self.orders not in ready else 0, orphaned=orphaned)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if self.take(decode(line)):
                    heard = time.monotonic()

    def take(self, message: dict[str, Any] | None) -> bool:
        """Whether it was meant for this agent."""
        if message is None or self.agent not in message.get("to", ()):
            return False
        if message["kind"] == "ping":
            if not message.get("held_up"):
                self.send({"kind": "pong", "agent": self.agent})
            return True
        self.silence_s = message.get("silence_s", self.silence_s)
        self.received.put(message)
        os.write(self.written, b"\n")
        return True

    def end(self, code: int = 0, *, orphaned: bool = False) -> NoReturn:
        """Ends every process of this node, then this one. `orphaned`: no wrapper is there to say so."""
        self.ending = True
        sweep_all(SWEEP_LIMIT_S)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if orphaned:
            with suppress(OSError):
                os.write(self.news, encode({"kind": "gone", "agent": self.agent}))
        os._exit(code)
