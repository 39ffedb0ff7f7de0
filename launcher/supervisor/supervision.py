"""One run under supervision: what happens comes in, what follows is decided here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher import checkpoints
from launcher.events import ledger, record
from launcher.plan import Node, Plan
from launcher.rundir import RunDir, names_another
from launcher.spec import Job
from launcher.supervisor import arrival, cause
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.blame import Blame, trusted
from launcher.supervisor.cause import Outcome
from launcher.supervisor.ending import Ending
from launcher.supervisor.exits import Ended
from launcher.supervisor.ladder import Budget, Decision, decide
from launcher.supervisor.muster import Muster, muster
from launcher.supervisor.pool import News, Pool
from launcher.supervisor.succession import Succession
from launcher.supervisor.warming import first_orders

TICK_S = 0.1
COLLECT_TICK_S = 0.01


class Supervision:
    """Fed with news, it decides. Holds no global state, so that several can share a pool."""

    def __init__(self, run: RunDir, job: Job, plan: Plan, pool: Pool, *, follows: bool = False, alone: bool = True) -> None:
        """`follows`: in a job that goes on where an earlier one ended. `alone`: no trial of a sweep, which shares its job."""
        self.run, self.job, self.plan, self.pool = run, job, plan, pool
        self.outcome: Outcome | None = None
        self.budget = Budget(allowed=job.retry.max_restarts, progress=self.progress())
        if follows:
            self.budget = arrival.budget_left(run, job.retry.max_restarts, self.progress())
        self.blame = Blame(run, plan)
        self.succession = Succession(run, job, plan, alone=alone)
        self.ending = Ending(run, job, plan, self.succession, lambda: self.attempt)
        self.signalled, self.end_saved, self.end_at_once = self.ending.signalled, self.ending.end_saved, self.ending.end_at_once
        self.start(plan.nodes)
        self.attempt = self.new_attempt(trusted(plan.nodes, plan.world.nodes))
        self.succession.begin()

    @property
    def builtin(self) -> bool:
        """Whether its ranks are launcher's own worker."""
        return self.plan.entry.kind == "worker"

    @property
    def patience_s(self) -> float:
        return COLLECT_TICK_S if self.attempt.phase == "collecting" else TICK_S

    def start(self, nodes: Sequence[Node]) -> None:
        """Agents that import what the job uses."""
        self.pool.start(self.plan, nodes)
        for order in first_orders(self.run, self.plan, nodes, os.environ):
            self.pool.send(order)

    def new_attempt(self, members: Sequence[Node]) -> Attempt:
        # The ledger knows of attempts whose logs were deleted.
        number = 1 + max([0, *self.run.attempts(), *(entry.get("attempt") or 0 for entry in ledger(self.run))])
        self.run.attempt(number).mkdir(parents=True)
        attempt = Attempt(number, self.run, self.plan, self.pool, members)
        record(self.run, "attempt", attempt=number, world_size=attempt.world_size, nodes=len(members))
        return attempt

    def progress(self) -> int:
        """The furthest step that cannot be lost any more."""
        if self.builtin:
            return max((each.step for each in checkpoints.checkpoints(self.run)), default=-1)
        return max(
            (entry.get("step") or -1 for entry in ledger(self.run) if entry["event"] == "failure"),
            default=-1,
        )

    def hear(self, news: News) -> None:
        if self.outcome is not None:
            return
        if news.kind == "lost":
            self.lost(news.agent, news.message)
        elif news.message["kind"] == "signalled":
            if self.succession.number is not None:
                self.ending.terminated("its nodes were sent SIGTERM")
        else:
            before = self.attempt.phase
            self.attempt.hear(news.agent, news.message)
            if before == "starting" and self.attempt.phase == "running" and not self.builtin:
                record(self.run, "running", attempt=self.attempt.number)

    def lost(self, agent: int, how: Mapping[str, Any]) -> None:
        """The node of a silent one may be dead, or deaf."""
        if how["why"] == "silent" and len(self.plan.nodes) > 1:
            self.blame.suspect[agent] = how["text"]
        idle = agent not in self.attempt.nodes
        if idle or self.attempt.spares(agent):
            what = "which was idle" if idle else "whose ranks had ended"
            record(self.run, "note", reason=f"node {agent} ({how['host']}), {what}, is lost: {how['text']}")
        if not idle:
            self.attempt.agent_lost(agent, how)

    def look_at_requests(self) -> None:
        for what in ("cancel", "stop"):
            if self.run.request(what).exists():
                self.run.request(what).unlink(missing_ok=True)
                self.end_at_once(f"launch {what}", "cancel") if what == "cancel" else self.end_saved(f"launch {what}", "stop")
        if self.run.request("stacks").exists() and self.attempt.inquire():
            self.run.request("stacks").unlink(missing_ok=True)
        if self.overtaken() and self.outcome is None:
            # This machine was cut off or stood still, and another job has gone on: nothing of ours counts any more.
            self.succession.over, self.succession.next = True, None
            self.outcome = Outcome(state="stopped", exit_code=75, reason="a newer attempt of this run has begun elsewhere")

    def overtaken(self) -> bool:
        """torchrun's restarts are attempts of their own, in the same hands."""
        newer = self.plan.entry.engine == "launcher" and max(self.run.attempts(), default=0) > self.attempt.number
        return newer or names_another(self.run)

    def tick(self) -> None:
        self.attempt.tick()
        if self.succession.tick() and self.ending.wished is None:
            self.end_saved("the time limit is near", "limit")
        self.ending.explain()
        ended = self.attempt.ended
        if ended is None or self.outcome is not None or self.ending.wished == "terminated":
            return
        if ended.failure is None or self.pool.free or self.ending.wished == "cancel":
            self.after(ended)

    def after(self, ended: Ended) -> None:
        if ended.how == "done":
            self.finish(Outcome(state="done", exit_code=0))
        elif self.ending.wished == "cancel":
            self.finish(
                Outcome(state="cancelled", exit_code=130, reason="cancelled: nothing was saved after the last checkpoint")
            )
        elif ended.failure is not None:
            self.after_failure(ended.failure)
        elif ended.how == "killed":
            self.finish(self.ending.outcome("ended at once: what came after the last checkpoint is lost"))
        else:
            self.finish(self.ending.outcome(ended.reason or self.ending.saved()))

    def after_failure(self, failure: cause.Failure) -> None:
        cause.keep(self.run, failure)
        if self.ending.wished is not None and (not failure.users_error or cause.echoes(failure)):
            # Who follows a rank that saved and went may know of the stop by that alone.
            saved = "what its ranks saved is not known" if failure.users_error else "could not save"
            reason = f"it was asked to end, and {saved}: {failure.sentence()}"
            self.tell(failure, reason, counts=False)
            self.finish(self.ending.outcome(reason, failure))
            return
        progress = self.progress() if self.builtin else max(self.step_of(failure) or -1, self.progress())
        suspected = self.blame.suspected(failure, self.attempt, self.muster)
        ladder = self.muster()
        if not self.builtin:  # whether there was a first step is the attempt's to tell; a node is judged by its own ranks, above
            failure = replace(failure, pulses=max(failure.pulses, self.attempt.most_pulses))
        decision = self.decide(failure, progress, elsewhere=suspected is not None and not ladder.forgiven)
        reason = f"{failure.sentence()}. {decision.reason}"
        if decision.action == "give up":
            self.tell(failure, reason, counts=True)
            self.finish(Outcome(state="failed", exit_code=decision.exit_code, reason=reason, failure=failure))
            return
        if ladder.reason:
            reason = f"{reason}, {ladder.reason}"
        self.tell(failure, reason, counts=decision.counts)
        self.budget = self.budget.after(failure, progress, counts=decision.counts)
        self.climb(ladder, reason, failure)

    def climb(self, ladder: Muster, reason: str, failure: cause.Failure) -> None:
        if ladder.forgiven:
            self.blame.suspect.clear()
        if not ladder.members:
            hosts = [node.host for node in self.plan.nodes if node.index in self.blame.suspect]
            self.succession.leave(hosts)
            self.finish(Outcome(state="queued", exit_code=75, reason=reason, failure=failure))
            return
        if ladder.start:
            self.start(ladder.start)
        self.attempt = self.new_attempt(ladder.members)

    def tell(self, failure: cause.Failure, reason: str, *, counts: bool) -> None:
        hung = {"hung_s": self.attempt.watch.patience_s} if failure.kind == "hang" else {}
        record(self.run, "failure", attempt=failure.attempt, step=self.step_of(failure), rank=failure.rank, node=failure.node,
               host=failure.host, kind=failure.kind, counts=counts, reason=reason, **hung)  # fmt: skip

    def step_of(self, failure: cause.Failure) -> int | None:
        """How far the training was. Of a script another rank may be the one that tells: often it is rank 0 alone."""
        return failure.step if failure.step is not None or self.builtin else self.attempt.furthest

    def muster(self) -> Muster:
        return muster(self.plan.nodes, self.attempt.members, alive=self.pool.agents, suspect=self.blame.suspect,
                      fewest=self.job.resources.fewest, successor=self.succession.next is not None)  # fmt: skip

    def decide(self, failure: cause.Failure, progress: int, *, elsewhere: bool) -> Decision:
        if self.ending.wished is not None:
            codes = {"spec": 2, "environment": 3}
            reason = "it was asked to end, and failed while ending"
            return Decision(action="give up", reason=reason, exit_code=codes.get(failure.kind, 1))
        return decide(failure, self.budget, engine=self.plan.entry.engine, age_s=self.attempt.age_s, progress=progress,
                      builtin=self.builtin, elsewhere=elsewhere)  # fmt: skip

    def finish(self, outcome: Outcome) -> None:
        """The ledger first: a successor that starts all the same reads there that there is nothing left to do."""
        self.outcome = outcome
        self.succession.over = True
        after = {"job": self.succession.next, "after": self.succession.number} if outcome.state == "queued" else {}
        record(self.run, outcome.state, attempt=self.attempt.number, reason=outcome.reason, exit_code=outcome.exit_code, **after)
        if outcome.state != "queued":
            self.succession.withdraw()
