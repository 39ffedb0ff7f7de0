"""One attempt: a fresh store, ranks on every node, and how it ended. Fed with the agents' messages; waits for nothing itself.

opening ──store──► starting ──started──► running ──a rank failed──► collecting ──► ending ──all swept──► over
                                                 ──all ranks ended───────────────► ending ──all swept──► over
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from launcher.plan import Node, Plan
from launcher.rundir import RunDir
from launcher.supervisor import agreement, stacks
from launcher.supervisor.cause import UNSHARED, Failure
from launcher.supervisor.exits import COLLECT_ECHOES_S, Ended, Exits
from launcher.supervisor.inquiry import Inquiry, hung
from launcher.supervisor.pool import Pool
from launcher.supervisor.watch import Watch

END_WITHIN_S = 8.0
"""So long what is left on a node may take to be gone, once its ranks have ended or were killed; then its agent counts as lost."""
END_WITHIN_CUDA_S = 90.0
"""The same where GPUs have memory to give back (agent/attempt.py)."""

Phase = Literal["opening", "starting", "running", "collecting", "ending", "over"]


class Attempt:
    def __init__(self, number: int, run: RunDir, plan: Plan, pool: Pool, members: Sequence[Node]) -> None:
        self.number, self.run, self.plan, self.pool, self.members = number, run, plan, pool, members
        self.phase: Phase = "opening"
        self.ranks_began: float | None = None
        self.collect_until = 0.0
        self.end_by: float | None = None
        self.pulses = 0
        self.step: int | None = None
        self.asks = False
        """Whether a rank of a user's script asks should_stop()."""
        self.ended: Ended | None = None
        self.lost: Failure | None = None
        self.nodes = [node.index for node in members]
        self.world_size = sum(node.local_world_size for node in members)
        self.hosts = {node.index: node.host for node in plan.nodes}
        self.left = set(self.nodes)
        """Nodes that are not known to be swept."""
        apart = len(members) > 1 and not plan.rehearsal
        self.exits = Exits(number, run, self.hosts, builtin=plan.entry.kind == "worker", apart=apart)
        self.watch = Watch(plan.hang_timeout_s, time.monotonic())
        self.inquiry: Inquiry | None = None
        """Under way: where are its ranks?"""
        self.requested: Inquiry | None = None
        """The one that somebody waits for."""
        compared = len(members) > 1 and plan.backend != "local"
        self.unlike = {node for node in self.nodes if node in pool.agents and not pool.agents[node].facts} if compared else set()
        """Nodes that have not said yet what they are."""
        self.meeting: tuple[str, int] | None = None
        """Where the ranks are to meet."""
        self.wait_until = time.monotonic() + agreement.WAIT_S
        first = members[0]
        pool.send({"kind": "store", "to": [first.index], "attempt": number, "host": first.address})

    @property
    def age_s(self) -> float:
        """How long its ranks have lived."""
        return 0.0 if self.ranks_began is None else time.monotonic() - self.ranks_began

    @property
    def most_pulses(self) -> int:
        """Of any rank; what was told at the ranks' ends included, for a `step` may be half a second late."""
        told: list[int] = [each["pulses"] for each in self.exits.told]
        return max([self.pulses, *told])

    @property
    def furthest(self) -> int | None:
        """Step of any rank, told at its end or before."""
        steps = (self.step, *(each.get("step") for each in self.exits.told))
        return max((step for step in steps if step is not None), default=None)

    def hear(self, agent: int, message: Mapping[str, Any]) -> None:
        if message.get("attempt") not in (self.number, None):
            return
        match message["kind"]:
            case "store":
                self.meeting = message["host"], message["port"]
                self.begin()
            case "facts":
                self.unlike.discard(agent)
                self.begin()
            case "stacks":
                if self.inquiry is not None:
                    self.inquiry.hear(agent, message["number"])
            case "started":
                self.ranks_began = self.ranks_began or time.monotonic()
                self.phase = "running" if self.phase == "starting" else self.phase
            case "step":
                self.watch.hear(agent, message, time.monotonic())
                self.pulses = max(self.pulses, message["pulses"])
                self.step = max(self.step or 0, message["step"]) if message["step"] >= 0 else self.step
                self.asks = self.asks or message.get("asks", False)
            case "exited":
                self.exited({**message, "agent": agent})
            case "swept":
                self.left.discard(agent)
            case "trouble":
                self.trouble(agent, message)
        self.settle()

    def begin(self) -> None:
        """Once it is known where the ranks meet, and that all nodes are alike."""
        waiting = self.unlike and time.monotonic() < self.wait_until
        if self.phase != "opening" or self.exits.stop_asked or self.exits.kill_asked or self.meeting is None or waiting:
            return
        if (odd := self.odd_one_out()) is not None:
            self.lose(Failure(attempt=self.number, node=odd.node, host=self.hosts[odd.node], kind="environment",
                              message=odd.message))  # fmt: skip
            return
        self.start(*self.meeting)

    def odd_one_out(self) -> agreement.Odd | None:
        if len(self.members) < 2:
            return None
        facts = {node: facts for node in self.nodes if node in self.pool.agents and (facts := self.pool.agents[node].facts)}
        world = self.plan.world
        return agreement.odd_one_out(
            facts, self.hosts, ranks=world.procs_per_node, threads=world.threads, cuda=world.device == "cuda"
        )

    def start(self, host: str, port: int) -> None:
        self.phase = "starting"
        each = self.plan.world.procs_per_node
        self.pool.send({
            "kind": "start", "to": self.nodes, "base_ranks": list(range(0, self.world_size, each)),
            "run_dir": str(self.run.path), "attempt": self.number, "nodes": len(self.members),
            "local_world_size": each, "world_size": self.world_size, "store_host": host, "store_port": port,
            "restarts": self.number - 1, "max_restarts": self.plan.entry.max_restarts,
        })  # fmt: skip

    def exited(self, message: dict[str, Any]) -> None:
        self.exits.told.append(message)
        if self.exits.failed(message) and self.phase in ("starting", "running"):
            self.phase = "collecting"
            self.collect_until = time.monotonic() + self.exits.patience_s(message, self.pulses)
        if self.phase == "collecting" and self.exits.failed(message) and self.exits.only_echoes():
            self.collect_until = time.monotonic() + COLLECT_ECHOES_S

    def trouble(self, agent: int, message: Mapping[str, Any]) -> None:
        kind: Literal["environment", "agent"] = "agent" if message["what"] == "agent" else "environment"
        details = {UNSHARED: True} if message["what"] == UNSHARED else None
        self.lose(Failure(attempt=self.number, node=agent, host=self.hosts.get(agent), kind=kind, message=message["message"],
                          step=self.step, pulses=self.pulses, details=details))  # fmt: skip

    def spares(self, node: int) -> bool:
        """Whether it goes on without that node, whose ranks have ended well. The first has the store, while ranks are left."""
        goes_on = node != self.nodes[0] or len(self.exits.told) >= self.world_size
        return goes_on and self.exits.well_on(node, self.plan.world.procs_per_node)

    def agent_lost(self, agent: int, why: Mapping[str, Any]) -> None:
        """Where it had ranks, they went with it."""
        self.left.discard(agent)
        if self.spares(agent):
            return
        text = f"the agent of node {agent} was lost: {why['text']}"
        self.lose(Failure(attempt=self.number, node=agent, host=why["host"], kind="agent", message=text, step=self.step,
                          pulses=self.pulses))  # fmt: skip

    def lose(self, failure: Failure) -> None:
        if self.phase != "over":
            self.lost = self.lost or failure
            self.end()
            self.settle()

    def ask_to_stop(self) -> None:
        """All ranks agree on a step boundary, save and end."""
        self.exits.stop_asked = True
        if self.phase == "opening":
            self.end()
        else:
            self.pool.send({"kind": "stop", "to": self.nodes, "attempt": self.number, "follow": self.asks})
        self.settle()

    def kill(self) -> None:
        self.exits.kill_asked = True
        self.end()
        self.settle()

    def end(self) -> None:
        self.phase = "ending"
        self.end_by = self.end_by or time.monotonic() + self.end_within_s
        self.pool.send({"kind": "kill", "to": self.nodes, "attempt": self.number})

    @property
    def end_within_s(self) -> float:
        return END_WITHIN_CUDA_S if self.plan.world.device == "cuda" else END_WITHIN_S

    def inquire(self) -> bool:
        """Asks where all ranks are; to be called until it is True, which means that it stands in the run directory."""
        if self.requested is None:
            self.requested = self.inquiry = self.inquiry or self.new_inquiry(whole=False)
        if self.requested is self.inquiry:
            return False
        self.requested = None
        return True

    def new_inquiry(self, *, whole: bool) -> Inquiry:
        keep = partial(stacks.keep, self.run, self.number, range(self.world_size), self.root)
        return Inquiry(self.pool, self.number, self.nodes, keep, whole=whole)

    @property
    def root(self) -> str:
        """What the user's paths are shown relative to."""
        return self.run.fill(self.plan.entry.cwd)

    def look_for_hang(self) -> None:
        """The stacks of all ranks first; then, if none has moved meanwhile, it is ended."""
        hangs = self.watch.hangs(time.monotonic()) and self.phase in ("opening", "starting", "running")
        if hangs and self.inquiry is None:
            self.inquiry = self.new_inquiry(whole=True)
        if self.inquiry is None or (folded := self.inquiry.folded()) is None:
            return
        self.inquiry = None
        if hangs:
            told = Failure(attempt=self.number, step=self.step, pulses=self.pulses, kind="hang")
            self.lose(hung(self.run, told, folded, self.members, quiet_s=self.watch.patience_s, root=self.root))

    def tick(self) -> None:
        if self.phase == "opening" and self.unlike:
            self.begin()
        self.look_for_hang()
        if self.phase == "collecting" and time.monotonic() >= self.collect_until:
            self.end()
        if self.phase == "ending" and self.end_by is not None and time.monotonic() > self.end_by:
            for node in [each for each in self.nodes if each in self.pool.agents and each in self.left]:
                self.pool.lose(
                    self.pool.agents[node], "ended", f"what its ranks left was not gone {self.end_within_s:g} s after their end"
                )
        self.settle()

    def settle(self) -> None:
        """Over when nothing of it is left on any node."""
        if self.phase in ("starting", "running", "collecting") and len(self.exits.told) >= self.world_size:
            self.phase, self.end_by = "ending", time.monotonic() + self.end_within_s
        if self.ended is None and self.phase == "ending" and not any(node in self.pool for node in self.left):
            self.phase = "over"
            self.ended = self.exits.outcome(self.lost)
