"""The process that carries the streams of one agent or of many, and what is known of each agent."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.plan import Node
from launcher.protocol import ToAgent, decode, encode

READ_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 16
"""A line longer than this is not a message: some library wrote into the stream."""
MOST_SAID = 300
"""Characters of an agent's last words."""
GONE_S = 5.0
"""How long an ended agent's own processes may take to vanish."""


class Carrier:
    """A process whose two streams are those of one agent (a child, ssh) or of several (srun, which hands its input to all)."""

    def __init__(
        self, process: subprocess.Popen[bytes], nodes: Sequence[Node], *, remote: bool, said: Callable[[], str | None]
    ) -> None:
        """`said`: its last words on stderr."""
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.said = said
        self.remote = remote
        """Its agents are beyond reach, at the other end of ssh or srun: that it has ended does not tell that they have."""
        self.stdin, self.stdout = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        self.agents = {node.index: Agent(node, self) for node in nodes}
        """Those that are not lost."""
        self.pending = b""
        self.unsent: deque[tuple[bytes, bool]] = deque()
        """What the pipe did not take at once, and whether it is a ping: the orders of a thousand nodes fill a pipe many times."""
        self.writing = threading.RLock()
        """Two threads send: the loop's, and the one that pings while that is held up."""
        self.closed = False

    def send(self, message: ToAgent) -> None:
        """Agents that cannot be written to are found lost by their silence; nothing is raised here."""
        with self.writing:
            self.unsent.append((encode(message), message["kind"] == "ping"))
            self.flush()

    def flush(self) -> None:
        """As much as the pipe takes: a message is shorter than what it takes whole or not at all (4,096 bytes)."""
        with self.writing:
            try:
                while self.unsent and not self.closed:
                    os.write(self.stdin, self.unsent[0][0])
                    self.unsent.popleft()
            except BlockingIOError:
                return
            except OSError:  # the other end is gone
                self.unsent.clear()

    def forget_pings(self) -> None:
        """A late ping would keep alive an agent that should have ended itself by now."""
        with self.writing:
            if self.unsent:
                self.unsent = deque(each for each in self.unsent if not each[1])

    def read(self) -> Iterator[dict[str, Any]]:
        """The whole messages that have come. Raises EOFError where the stream has ended."""
        data = os.read(self.stdout, READ_BYTES)
        if not data:
            raise EOFError
        *lines, self.pending = (self.pending + data).split(b"\n")
        self.pending = self.pending[-MAX_LINE_BYTES:]
        yield from (message for message in map(decode, lines) if message is not None)

    def quit(self) -> None:
        """An agent's wrapper sweeps up what the ranks started, in sessions that no group kill reaches, and ends."""
        self.process.send_signal(signal.SIGQUIT)

    def end(self) -> None:
        """Kills what is still there of it: its group lives as long as any member of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_S)

    def close(self) -> None:
        with self.writing:
            self.closed = True  # another file may get the number of its stream
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


class Agent:
    """What is known of one agent."""

    def __init__(self, node: Node, carrier: Carrier) -> None:
        self.node = node
        self.carrier = carrier
        self.heard = time.monotonic()
        self.greeted = False
        self.facts: dict[str, Any] | None = None

    @property
    def id(self) -> int:
        return self.node.index


def last_line(log: Path, since: int) -> str | None:
    """What was said last, after that many bytes."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - READ_BYTES))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:MOST_SAID] if lines else None
    return None
