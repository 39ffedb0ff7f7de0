"""The agents and their streams: messages out, messages in, and who has fallen silent."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, Literal, NamedTuple

from launcher.plan import Node
from launcher.protocol import ToAgent, decode, encode

PING_S = 1.0
READ_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 16
"""A line longer than this is not a message: some library wrote into the stream."""
GONE_S = 5.0
"""How long an ended agent's own processes may take to vanish."""


class Agent:
    """One agent's process and its two streams."""

    def __init__(self, node: Node, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.node = node
        self.process = process
        self.stdin, self.stdout = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        self.heard = time.monotonic()
        self.pending = b""

    @property
    def id(self) -> int:
        return self.node.index

    def send(self, message: ToAgent) -> None:
        """An agent that cannot be written to is found lost by its silence; nothing is raised here."""
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self.stdin, encode(message))

    def read(self) -> Iterator[dict[str, Any]]:
        """The whole messages that have come. Raises EOFError where the stream has ended."""
        data = os.read(self.stdout, READ_BYTES)
        if not data:
            raise EOFError
        self.heard = time.monotonic()
        *lines, self.pending = (self.pending + data).split(b"\n")
        self.pending = self.pending[-MAX_LINE_BYTES:]
        yield from (message for message in map(decode, lines) if message is not None)

    def end(self) -> None:
        """Ends what is left of it and waits until it is gone, so that two attempts cannot overlap."""
        # SIGQUIT first: the agent's wrapper then sweeps up what its ranks started, in sessions that no group kill reaches.
        self.process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_S)
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_S)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class News(NamedTuple):
    agent: int
    kind: Literal["message", "lost"]
    message: dict[str, Any]


class Pool:
    """All agents of a supervisor. Several runs may be driven over one pool."""

    def __init__(self, backend: ModuleType, *, lost_after_s: float, wake: int | None = None) -> None:
        self.backend = backend
        self.lost_after_s = lost_after_s
        self.agents: dict[int, Agent] = {}
        self.selector = selectors.DefaultSelector()
        self.pinged = 0.0
        if wake is not None:
            self.selector.register(wake, selectors.EVENT_READ, None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        """Closing its input tells an agent that it is over: it ends its ranks and itself."""
        for agent in self.agents.values():
            with suppress(OSError):
                agent.close()
        for agent in self.agents.values():
            with suppress(subprocess.TimeoutExpired):
                agent.process.wait(GONE_S)
                continue
            agent.end()
        self.selector.close()

    def start(self, node: Node) -> None:
        agent = Agent(node, self.backend.start_agent(node))
        self.agents[agent.id] = agent
        self.selector.register(agent.stdout, selectors.EVENT_READ, agent)

    def replace(self, node: Node) -> None:
        """A new agent where one was lost."""
        self.drop(node.index)
        self.start(node)

    def drop(self, agent_id: int) -> None:
        agent = self.agents.pop(agent_id, None)
        if agent is not None:
            self.selector.unregister(agent.stdout)
            agent.end()
            agent.close()

    def send(self, message: ToAgent) -> None:
        for agent_id in message["to"]:
            if agent_id in self.agents:
                self.agents[agent_id].send(message)

    def poll(self, timeout_s: float) -> Iterable[News]:
        """What has come within `timeout_s`; a signal ends the wait early."""
        self.ping()
        news: list[News] = []
        for key, _ in self.selector.select(timeout_s):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(key.fd, READ_BYTES)
            else:
                news += self.heard(key.data)
        return news + list(self.silent())

    def heard(self, agent: Agent) -> Iterator[News]:
        try:
            yield from (News(agent.id, "message", message) for message in agent.read())
        except (EOFError, OSError):
            yield self.lose(agent, "its stream ended")

    def silent(self) -> Iterator[News]:
        now = time.monotonic()
        for agent in [each for each in self.agents.values() if now - each.heard > self.lost_after_s]:
            yield self.lose(agent, f"nothing heard of it for {self.lost_after_s:g} s")

    def lose(self, agent: Agent, why: str) -> News:
        self.drop(agent.id)
        code = agent.process.poll()
        return News(agent.id, "lost", {"why": why, "code": code, "host": agent.node.host})

    def ping(self) -> None:
        now = time.monotonic()
        if now - self.pinged >= PING_S:
            if self.pinged and now - self.pinged > self.lost_after_s:
                # This process was itself stopped (Ctrl-Z, a suspended machine): the silence was ours, so hear them out first.
                for agent in self.agents.values():
                    agent.heard = now
            self.pinged = now
            self.send({"kind": "ping", "to": list(self.agents)})
