"""The agents and their streams: messages out, messages in, and who has fallen silent."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from launcher.backends import Backend
from launcher.plan import Node, Plan
from launcher.protocol import ToAgent
from launcher.supervisor.addressing import divided
from launcher.supervisor.carrier import GONE_S, READ_BYTES, Carrier, last_line
from launcher.supervisor.carrier import Agent as Agent

PING_S = 1.0
START_S = 60.0
"""How long an agent may take to its first word: on a cold network file system an interpreter starts slowly."""
LOOK_AGAIN_S = 0.003
LOOKS_PER_PING = 8
"""How often between two pings silence is looked for: at every message it would cost more than all the rest."""
HELD_UP_S = 60.0
"""So long at most the loop may be held up, by a slow file system or a sampler, until agents are let go: a file server that hears
nothing of this machine for 90 s gives the run's lock to others (RFC 8881, leases)."""
SILENCE = 0.75
"""An agent ends itself after this share of `lost_after` without a word, so that two attempts never overlap."""

Why = Literal["ended", "silent"]
"""How an agent was lost: its process ended, on a node that may be well; or nothing was heard of it, and the node is suspect."""


class News(NamedTuple):
    agent: int
    kind: Literal["message", "lost"]
    message: dict[str, Any]


class Leaving(NamedTuple):
    """A lost agent that is being ended; it is told of as lost once it is gone, so that two attempts cannot overlap."""

    agent: Agent
    why: Why
    text: str
    until: float
    fenced: float


class Pool:
    """All agents of a supervisor. Several runs may be driven over one pool."""

    def __init__(self, backend: Backend, *, log: Path, lost_after_s: float, wake: int | None = None) -> None:
        """`log`: where the agents' stderr goes."""
        self.backend, self.log = backend, log
        self.lost_after_s = lost_after_s
        self.ping_s = min(PING_S, lost_after_s / 8)
        self.agents: dict[int, Agent] = {}
        self.carriers: dict[Carrier, None] = {}
        self.leaving: dict[int, Leaving] = {}
        self.selector = selectors.DefaultSelector()
        self.pinged = self.looked = 0.0
        self.over = threading.Event()
        self.speaking = threading.Thread(target=self.speak, name="pings", daemon=True)
        if wake is not None:
            self.selector.register(wake, selectors.EVENT_READ, None)

    def __enter__(self) -> Pool:
        self.speaking.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Closing its input tells an agent that it is over: it ends its ranks and itself."""
        self.over.set()
        self.speaking.join()
        for carrier in self.carriers:
            carrier.close()
        until = time.monotonic() + GONE_S
        for carrier in self.carriers:
            # Not process.wait(GONE_S): between its looks it sleeps ever longer, up to 50 ms.
            while carrier.process.poll() is None and time.monotonic() < until:
                time.sleep(LOOK_AGAIN_S)
            carrier.end()
        self.selector.close()

    def __contains__(self, agent_id: int) -> bool:
        """Whether anything of it may still be there."""
        return agent_id in self.agents or agent_id in self.leaving

    @property
    def free(self) -> bool:
        """Whether nothing is left of agents that were lost: their end would be told to the next attempt as its own."""
        return not self.leaving

    def start(self, plan: Plan, nodes: Sequence[Node]) -> None:
        """An agent on each of these nodes. Raises BackendError."""
        said = partial(last_line, self.log, self.log.stat().st_size if self.log.exists() else 0)
        for process, carried in self.backend.start_agents(plan, nodes, self.log):
            carrier = Carrier(process, carried, remote=plan.backend != "local", said=said)
            self.carriers[carrier] = None
            self.pinged = self.pinged or time.monotonic()
            self.agents |= carrier.agents
            self.selector.register(carrier.stdout, selectors.EVENT_READ, carrier)

    def send(self, message: ToAgent) -> None:
        """Once to each carrier: its agents know which of them are meant."""
        meant: dict[Carrier, list[int]] = {}
        for number in message["to"]:
            if (agent := self.agents.get(number)) is not None:
                meant.setdefault(agent.carrier, []).append(number)
        for carrier, each in divided(message, meant):
            carrier.send(each)

    def poll(self, timeout_s: float) -> Iterable[News]:
        """What has come within `timeout_s`; a signal ends the wait early."""
        self.ping()
        blocked = [carrier for carrier in self.carriers if carrier.unsent]
        for carrier in blocked:
            carrier.flush()
        news: list[News] = []
        for key, _ in self.selector.select(min(timeout_s, LOOK_AGAIN_S) if blocked else timeout_s):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(key.fd, READ_BYTES)
            else:
                news += self.heard(key.data)
        self.look_for_silence()
        return news + list(self.gone())

    def heard(self, carrier: Carrier) -> Iterator[News]:
        try:
            for message in carrier.read():
                yield from self.taken(carrier, message)
        except (EOFError, OSError):
            self.selector.unregister(carrier.stdout)
            whole = all(agent.greeted for agent in carrier.agents.values())
            for agent in list(carrier.agents.values()):
                self.cut_off(agent, whole=whole)
            if not any(each.agent.carrier is carrier for each in self.leaving.values()):
                self.bury(carrier)

    def cut_off(self, agent: Agent, *, whole: bool) -> None:
        """Its stream has ended. Where that was a connection, its silence before tells whether the node is suspect.

        Unless some agent of the same stream never came (`whole` is not so): srun ends those that did, and says so seconds later.
        """
        remote = agent.carrier.remote
        text = "the connection to it ended" if remote else "its stream ended"
        if not agent.greeted:  # by a moment's trouble, perhaps: its node is tried once more before it is suspect
            said = agent.carrier.said()
            text += " before its first word" + (f": {said} (see {self.log})" if said else "")
        dead = remote and whole and time.monotonic() - agent.heard > self.lost_after_s / 2
        self.lose(agent, "silent" if dead else "ended", text)

    def taken(self, carrier: Carrier, message: dict[str, Any]) -> Iterator[News]:
        """Nothing is taken from an agent that was lost: it may come back from a freeze and not know it."""
        agent = carrier.agents.get(message.get("agent", -1))
        if agent is None:
            return
        agent.heard, agent.greeted = time.monotonic(), True
        if message["kind"] == "facts":
            agent.facts = message
        if message["kind"] == "gone":
            self.lose(agent, "ended", "it was killed", gone=True)
        else:
            yield News(agent.id, "message", message)

    def look_for_silence(self) -> None:
        now = time.monotonic()
        if now - self.looked < self.ping_s / LOOKS_PER_PING:
            return
        self.looked = now
        for agent in list(self.agents.values()):
            patience_s = self.lost_after_s if agent.greeted else max(START_S, self.lost_after_s)
            if agent.id not in self.agents or now - agent.heard <= patience_s:
                continue
            if self.stands_still(agent.carrier):
                for each in list(agent.carrier.agents.values()):
                    self.lose(each, "ended", "what carries the messages of all agents stands still")
            else:
                self.lose(agent, "silent", f"nothing heard of it for {patience_s:g} s")

    def stands_still(self, carrier: Carrier) -> bool:
        """All at once, the agent on this very machine too: then it is not the nodes."""
        now = time.monotonic()
        return len(carrier.agents) > 1 and all(
            each.greeted and now - each.heard > self.lost_after_s / 2 for each in carrier.agents.values()
        )

    def lose(self, agent: Agent, why: Why, text: str, *, gone: bool = False) -> None:
        """Ends it beside everything else: the others are heard and pinged meanwhile. `gone`: it is known that nothing is left.

        One beyond reach ends itself once it has heard nothing for long enough; until then it may still be there.
        """
        fenced = agent.heard + self.lost_after_s if agent.carrier.remote and not gone else 0.0
        del self.agents[agent.id]
        del agent.carrier.agents[agent.id]
        if not agent.carrier.agents:
            agent.carrier.quit()
        self.leaving[agent.id] = Leaving(agent, why, text, max(fenced, time.monotonic() + GONE_S), fenced)

    def gone(self) -> Iterator[News]:
        """An agent beyond reach cannot be killed from here: it has ended itself by now (see `ping`)."""
        for leaving in [each for each in self.leaving.values() if time.monotonic() >= each.fenced]:
            carrier = leaving.agent.carrier
            shared = bool(carrier.agents)
            if shared or carrier.process.poll() is not None or time.monotonic() > leaving.until:
                del self.leaving[leaving.agent.id]
                if not shared:
                    self.bury(carrier)
                facts = {"why": leaving.why, "text": leaving.text, "host": leaving.agent.node.host}
                yield News(leaving.agent.id, "lost", facts)

    def bury(self, carrier: Carrier) -> None:
        if carrier in self.carriers:
            del self.carriers[carrier]
            with suppress(KeyError, ValueError):
                self.selector.unregister(carrier.stdout)
            carrier.end()
            carrier.close()

    def ping(self) -> None:
        """Only those heard of lately: an agent that falls silent hears nothing either, and has ended itself when it is lost."""
        now = time.monotonic()
        if now - self.pinged < self.ping_s:
            return
        own_pause_s = now - self.pinged - self.ping_s
        if self.pinged and own_pause_s > self.ping_s / 2:
            # This process itself stood still (Ctrl-Z, a suspended machine), or its loop was held up: the silence was ours. Who
            # has answered the last ping would never be asked again.
            for agent in self.agents.values():
                agent.heard += min(own_pause_s, now - agent.heard)
        self.pinged = now
        for carrier in self.carriers:
            carrier.forget_pings()
        self.send({"kind": "ping", "to": self.heard_of(now)})

    def heard_of(self, now: float) -> list[int]:
        """Those with a word lately, or none yet."""
        heard_s = (1 - SILENCE) * self.lost_after_s
        return [each.id for each in list(self.agents.values()) if now - each.heard < heard_s or not each.greeted]

    def speak(self) -> None:
        """In a thread of its own: while the loop is held up it pings in its place those that the loop pinged last."""
        while not self.over.wait(self.ping_s):
            pinged = self.pinged
            if pinged and 2 * self.ping_s < time.monotonic() - pinged < HELD_UP_S:
                self.send({"kind": "ping", "to": self.heard_of(pinged), "held_up": True})
