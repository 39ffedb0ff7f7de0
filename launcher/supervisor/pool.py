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
START_S = 60.0
"""How long an agent may take to its first word: on a cold network file system an interpreter starts slowly."""
READ_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 16
"""A line longer than this is not a message: some library wrote into the stream."""
LOOK_AGAIN_S = 0.003
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
        self.greeted = False
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
        self.heard, self.greeted = time.monotonic(), True
        *lines, self.pending = (self.pending + data).split(b"\n")
        self.pending = self.pending[-MAX_LINE_BYTES:]
        yield from (message for message in map(decode, lines) if message is not None)

    def quit(self) -> None:
        """Its wrapper sweeps up what the ranks started, in sessions that no group kill reaches, and ends."""
        self.process.send_signal(signal.SIGQUIT)

    def end(self) -> None:
        """Kills what is still there of it: its group lives as long as any member of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_S)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


class News(NamedTuple):
    agent: int
    kind: Literal["message", "lost"]
    message: dict[str, Any]


class Leaving(NamedTuple):
    """A lost agent that is being ended; it is told of as lost once it is gone, so that two attempts cannot overlap."""

    agent: Agent
    why: str
    until: float


class Pool:
    """All agents of a supervisor. Several runs may be driven over one pool."""

    def __init__(self, backend: ModuleType, *, lost_after_s: float, wake: int | None = None) -> None:
        self.backend = backend
        self.lost_after_s = lost_after_s
        self.ping_s = min(PING_S, lost_after_s / 8)
        self.agents: dict[int, Agent] = {}
        self.leaving: list[Leaving] = []
        self.selector = selectors.DefaultSelector()
        self.pinged = 0.0
        if wake is not None:
            self.selector.register(wake, selectors.EVENT_READ, None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        """Closing its input tells an agent that it is over: it ends its ranks and itself."""
        everyone = [*self.agents.values(), *(each.agent for each in self.leaving)]
        for agent in everyone:
            agent.close()
        until = time.monotonic() + GONE_S
        for agent in everyone:
            # Not process.wait(GONE_S): between its looks it sleeps ever longer, up to 50 ms.
            while agent.process.poll() is None and time.monotonic() < until:
                time.sleep(LOOK_AGAIN_S)
            agent.end()
        self.selector.close()

    def __contains__(self, agent_id: int) -> bool:
        """Whether anything of it may still be there."""
        return agent_id in self.agents or any(each.agent.id == agent_id for each in self.leaving)

    def start(self, node: Node) -> None:
        agent = Agent(node, self.backend.start_agent(node))
        self.agents[agent.id] = agent
        self.selector.register(agent.stdout, selectors.EVENT_READ, agent)

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
        self.look_for_silence()
        return news + list(self.gone())

    def heard(self, agent: Agent) -> Iterator[News]:
        try:
            yield from (News(agent.id, "message", message) for message in agent.read())
        except (EOFError, OSError):
            self.lose(agent, "its stream ended")

    def look_for_silence(self) -> None:
        now = time.monotonic()
        for agent in list(self.agents.values()):
            patience_s = self.lost_after_s if agent.greeted else max(START_S, self.lost_after_s)
            if now - agent.heard > patience_s:
                self.lose(agent, f"nothing heard of it for {patience_s:g} s")

    def lose(self, agent: Agent, why: str) -> None:
        """Ends it beside everything else: the others are heard and pinged meanwhile."""
        del self.agents[agent.id]
        self.selector.unregister(agent.stdout)
        agent.quit()
        self.leaving.append(Leaving(agent, why, time.monotonic() + GONE_S))

    def gone(self) -> Iterator[News]:
        for leaving in list(self.leaving):
            agent, why, until = leaving
            if agent.process.poll() is not None or time.monotonic() > until:
                agent.end()
                agent.close()
                self.leaving.remove(leaving)
                yield News(agent.id, "lost", {"why": why, "code": agent.process.poll(), "host": agent.node.host})

    def ping(self) -> None:
        now = time.monotonic()
        if now - self.pinged >= self.ping_s:
            if self.pinged and now - self.pinged > self.lost_after_s:
                # This process was itself stopped (Ctrl-Z, a suspended machine): the silence was ours, so hear them out first.
                for agent in self.agents.values():
                    agent.heard = now
            self.pinged = now
            self.send({"kind": "ping", "to": list(self.agents)})
