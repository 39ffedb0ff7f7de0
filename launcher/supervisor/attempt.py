"""One attempt: a fresh store, ranks on every node, and how it ended. Fed with the agents' messages; waits for nothing itself.

opening ──store──► starting ──started──► running ──a rank failed──► collecting ──► ending ──all swept──► over
                                                 ──all ranks ended─────────────────────────────────────► over
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from launcher.plan import Node, Plan
from launcher.rank import SAVED
from launcher.rundir import RunDir
from launcher.supervisor import agreement, stacks
from launcher.supervisor.cause import UNSHARED, Failure, echoes, failure_of, root_cause
from launcher.supervisor.inquiry import Inquiry, hung
from launcher.supervisor.pool import Pool
from launcher.supervisor.watch import Watch

COLLECT_S = 0.03
"""Failures of one moment are one failure: the first to be told of need not be the first that happened."""
COLLECT_EARLY_S = 0.5
"""Before any step: if the ranks of one node alone fail, it may be the node."""
COLLECT_ECHOES_S = 1.0
"""Where all that failed so far only tells of another rank's end, that other rank is waited for."""

END_WITHIN_S = 8.0
"""So long the ranks of a node may take to be gone after SIGKILL; then the node's agent is taken for lost."""

Phase = Literal["opening", "starting", "running", "collecting", "ending", "over"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    how: Literal["done", "saved", "killed", "failed", "impossible"]
    failure: Failure | None = None
    reason: str | None = None


class Attempt:
    def __init__(self, number: int, run: RunDir, plan: Plan, pool: Pool, members: Sequence[Node]) -> None:
        self.number, self.run, self.plan, self.pool, self.members = number, run, plan, pool, members
        self.phase: Phase = "opening"
        self.ranks_began: float | None = None
        self.collect_until = 0.0
        self.end_by: float | None = None
        self.exits: list[dict[str, Any]] = []
        self.stop_asked = False
        self.kill_asked = False
        self.pulses = 0
        self.step: int | None = None
        self.ended: Ended | None = None
        self.lost: Failure | None = None
        self.nodes = [node.index for node in members]
        self.world_size = sum(node.local_world_size for node in members)
        self.hosts = {node.index: node.host for node in plan.nodes}
        self.left = set(self.nodes)
        """Nodes that are not known to be swept."""
        self.known: dict[tuple[int, int | None], Failure] = {}
        """What the ranks that failed said, each read once."""
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
        if self.phase != "opening" or self.stop_asked or self.kill_asked or self.meeting is None or waiting:
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
        self.exits.append(message)
        if self.failed(message) and self.phase in ("starting", "running"):
            self.phase = "collecting"
            self.collect_until = time.monotonic() + self.patience_s(message)
        if self.phase == "collecting" and self.failed(message) and self.only_echoes():
            self.collect_until = time.monotonic() + COLLECT_ECHOES_S

    def failed(self, message: Mapping[str, Any]) -> bool:
        """A rank that saved, or that we ended, has not failed. Of a script that nobody asked, 75 is a failure like others."""
        ended_by_us = message["killed"] or self.kill_asked or (self.stop_asked and message["code"] == -signal.SIGTERM)
        saved = message["code"] == SAVED and (self.stop_asked or self.plan.entry.kind == "worker")
        return not (ended_by_us or saved or message["code"] == 0)

    @property
    def failed_on(self) -> set[int]:
        """Nodes whose ranks failed by themselves, and not of another rank's end."""
        failures = map(self.failure, filter(self.failed, self.exits))
        return {each.node for each in failures if each.node is not None and not echoes(each)}

    def patience_s(self, message: Mapping[str, Any]) -> float:
        """How long the others are waited for after the first failure."""
        if message["code"] < 0:
            return 0.0  # a signal is nobody's echo
        apart = len(self.members) > 1 and not self.plan.rehearsal
        return COLLECT_EARLY_S if apart and not message["pulses"] and not self.pulses else COLLECT_S

    def only_echoes(self) -> bool:
        return all(echoes(self.failure(each)) for each in self.exits if self.failed(each))

    def failure(self, message: Mapping[str, Any]) -> Failure:
        """What the rank that ended so said of it."""
        key = message["rank"], message.get("log_attempt")
        if key not in self.known:
            self.known[key] = failure_of(self.run, self.number, message, self.hosts)
        return self.known[key]

    def trouble(self, agent: int, message: Mapping[str, Any]) -> None:
        kind: Literal["environment", "agent"] = "agent" if message["what"] == "agent" else "environment"
        details = {UNSHARED: True} if message["what"] == UNSHARED else None
        self.lose(Failure(attempt=self.number, node=agent, host=self.hosts.get(agent), kind=kind, message=message["message"],
                          step=self.step, pulses=self.pulses, details=details))  # fmt: skip

    def agent_lost(self, agent: int, why: Mapping[str, Any]) -> None:
        """The node's ranks went with it."""
        self.left.discard(agent)
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
        self.stop_asked = True
        if self.phase == "opening":
            self.end()
        else:
            self.pool.send({"kind": "stop", "to": self.nodes, "attempt": self.number})
        self.settle()

    def kill(self) -> None:
        self.kill_asked = True
        self.end()
        self.settle()

    def end(self) -> None:
        self.phase = "ending"
        self.end_by = self.end_by or time.monotonic() + END_WITHIN_S
        self.pool.send({"kind": "kill", "to": self.nodes, "attempt": self.number})

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
                    self.pool.agents[node], "ended", f"its ranks were not gone {END_WITHIN_S:g} s after they were killed"
                )
        self.settle()

    def settle(self) -> None:
        """Over when nothing of it is left on any node."""
        all_ended = len(self.exits) >= self.world_size
        if self.phase == "collecting" and all_ended:
            self.phase, self.end_by = "ending", time.monotonic() + END_WITHIN_S
        if (
            self.ended is None
            and (self.phase == "ending" or (self.phase in ("starting", "running") and all_ended))
            and not any(node in self.pool for node in self.left)
        ):
            self.phase = "over"
            self.ended = self.outcome()

    def outcome(self) -> Ended:
        if self.kill_asked:
            return Ended(how="killed")
        failures = [message for message in self.exits if self.failed(message)]
        cause = root_cause([self.failure(message) for message in failures]) if failures else None
        if self.lost is not None and (cause is None or echoes(cause) or cause.kind == "agent"):
            return Ended(how="failed", failure=self.lost)
        if cause is not None:
            return Ended(how="failed", failure=cause)
        codes = {message["code"] for message in self.exits}
        if not self.stop_asked and not codes <= {0, SAVED}:
            return Ended(
                how="failed",
                failure=replace(
                    self.failure(self.exits[0]), kind="agent", message="its ranks were ended, and nobody asked for it"
                ),
            )
        if codes == {0} and not (self.stop_asked and self.plan.entry.kind != "worker"):
            return Ended(how="done")
        return Ended(how="saved", reason=None if codes <= {0, SAVED} else unsaved(codes))


def unsaved(codes: Collection[int]) -> str:
    """Why ranks that were asked to save and end count as ended without."""
    grace = ", for they did not end on SIGTERM" if -signal.SIGKILL in codes else ""
    return f"ended by {'SIGKILL' if grace else 'SIGTERM'}{grace}: its ranks saved nothing that is known of"
