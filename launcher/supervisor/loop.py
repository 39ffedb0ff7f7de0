"""The supervisor: one loop that decides, while agents and ranks obey. The same for every backend."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from launcher import backends, checkpoints, provenance
from launcher.events import State, record
from launcher.load import load_job
from launcher.plan import Plan, read_plan
from launcher.rundir import RunDir, json_lines, locked
from launcher.spec import Job
from launcher.supervisor import cause
from launcher.supervisor.attempt import Attempt, Ended
from launcher.supervisor.ladder import Budget, Decision, decide
from launcher.supervisor.pool import News, Pool
from launcher.supervisor.signals import Signals

TICK_S = 0.1
COLLECT_TICK_S = 0.01
LOOKS_S = 0.5
SILENCE = 0.75
"""An agent ends itself after this share of `lost_after` without a word, so that two attempts never overlap."""
Wish = Literal["stop", "interrupt", "cancel", "at once"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended (CONTRACTS: Ends)."""

    state: State
    exit_code: int
    reason: str | None = None
    failure: cause.Failure | None = None


def supervise(run: RunDir, *, screen: Callable[[], None] | None = None) -> Outcome:
    """Runs it to its end, whatever dies under it; `screen` is called about ten times a second.

    Raises UsageError where somebody else supervises the run, BackendError where the environment is wrong.
    """
    plan = read_plan(run)
    job = load_job(run.job)
    with locked(run), Signals() as signals:
        for what in ("stop", "cancel"):
            run.request(what).unlink(missing_ok=True)
        record(run, "supervising", backend=plan.backend, pid=os.getpid())
        with Pool(backends.choose(plan.backend), lost_after_s=plan.lost_after_s, wake=signals.wake) as pool:
            supervision = Supervision(run, job, plan, pool)
            if not run.provenance.exists():
                provenance.keep(run, job.workdir)
            drive(supervision, pool, signals, screen)
    assert supervision.outcome is not None
    return supervision.outcome


def drive(supervision: Supervision, pool: Pool, signals: Signals, screen: Callable[[], None] | None) -> None:
    looked = 0.0
    while supervision.outcome is None:
        for news in pool.poll(supervision.patience_s):
            supervision.hear(news)
        while signals.received:
            name = signals.received.pop(0).name
            supervision.wish("interrupt" if name == "SIGINT" else "stop", f"{name} received")
        if time.monotonic() - looked > LOOKS_S:
            looked = time.monotonic()
            supervision.look_at_requests()
        supervision.tick()
        if screen is not None:
            try:
                screen()
            except OSError:  # the terminal or the reader of the pipe is gone: the training is not
                screen = None


class Supervision:
    """One run under supervision: fed with news, it decides. Holds no global state, so that several can share a pool."""

    def __init__(self, run: RunDir, job: Job, plan: Plan, pool: Pool) -> None:
        self.run, self.job, self.plan, self.pool = run, job, plan, pool
        self.wished: Wish | None = None
        self.outcome: Outcome | None = None
        self.budget = Budget(allowed=job.retry.max_restarts, progress=self.progress())
        for node in plan.nodes:
            pool.start(node)
            self.warm(node.index)
        self.attempt = self.new_attempt()

    @property
    def patience_s(self) -> float:
        return COLLECT_TICK_S if self.attempt.phase == "collecting" else TICK_S

    def warm(self, node: int) -> None:
        silence_s = SILENCE * self.plan.lost_after_s
        self.pool.send({"kind": "warm", "to": [node], "run_dir": str(self.run.path), "node": node, "silence_s": silence_s})

    def new_attempt(self) -> Attempt:
        number = 1 + max((int(path.name.removeprefix("attempt-")) for path in self.run.logs.glob("attempt-*")), default=0)
        self.run.attempt(number).mkdir(parents=True)
        record(self.run, "attempt", attempt=number, world_size=self.plan.world.world_size, nodes=self.plan.world.nodes)
        return Attempt(number, self.run, self.plan, self.pool)

    def progress(self) -> int:
        """The furthest step that cannot be lost any more."""
        if self.plan.entry.kind == "worker":
            return max((each.step for each in checkpoints.checkpoints(self.run)), default=-1)
        return max(
            (entry.get("step") or -1 for entry in json_lines(self.run.events) if entry["event"] == "failure"),
            default=-1,
        )

    def hear(self, news: News) -> None:
        if self.outcome is not None:
            return
        if news.kind == "lost":
            self.attempt.agent_lost(news.agent, news.message)
        else:
            before = self.attempt.phase
            self.attempt.hear(news.agent, news.message)
            if before == "starting" and self.attempt.phase == "running" and self.plan.entry.kind != "worker":
                record(self.run, "running", attempt=self.attempt.number)

    def look_at_requests(self) -> None:
        for what in ("cancel", "stop"):
            if self.run.request(what).exists():
                self.run.request(what).unlink(missing_ok=True)
                self.wish("cancel" if what == "cancel" else "stop", f"launch {what}")

    def wish(self, wish: Wish, why: str) -> None:
        """Somebody wants it to end. The second time, or a cancel, at once."""
        if wish == "cancel" or self.wished is not None:
            self.wished = "cancel" if wish == "cancel" else self.wished
            record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: at once, nothing more is saved")
            self.attempt.kill()
            return
        self.wished = wish
        record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: saving at the next step boundary")
        self.attempt.ask_to_stop()

    def tick(self) -> None:
        self.attempt.tick()
        if self.attempt.ended is not None and self.outcome is None:
            self.after(self.attempt.ended)

    def after(self, ended: Ended) -> None:
        if ended.failure is not None:
            self.after_failure(ended.failure)
        elif ended.how == "done":
            self.finish(Outcome(state="done", exit_code=0))
        elif self.wished == "cancel":
            self.finish(
                Outcome(state="cancelled", exit_code=130, reason="cancelled: nothing was saved after the last checkpoint")
            )
        elif ended.how == "killed":
            code = 130 if self.wished == "interrupt" else 75
            self.finish(
                Outcome(state="stopped", exit_code=code, reason="ended at once: what came after the last checkpoint is lost")
            )
        else:
            code = 130 if self.wished == "interrupt" else 75
            self.finish(Outcome(state="stopped", exit_code=code, reason=ended.reason or "saved, can be continued"))

    def after_failure(self, failure: cause.Failure) -> None:
        cause.keep(self.run, failure)
        progress = self.progress() if self.plan.entry.kind == "worker" else max(failure.step or -1, self.progress())
        decision = self.decide(failure, progress)
        record(self.run, "failure", attempt=failure.attempt, step=failure.step, rank=failure.rank, node=failure.node,
               reason=f"{failure.sentence()}. {decision.reason}")  # fmt: skip
        if decision.action == "give up":
            self.finish(
                Outcome(
                    state="failed",
                    exit_code=decision.exit_code,
                    reason=f"{failure.sentence()}. {decision.reason}",
                    failure=failure,
                )
            )
            return
        self.budget = self.budget.after(failure, progress, counts=decision.counts)
        for node in self.plan.nodes:
            if node.index not in self.pool.agents:
                self.pool.start(node)
                self.warm(node.index)
        self.attempt = self.new_attempt()

    def decide(self, failure: cause.Failure, progress: int) -> Decision:
        if self.wished is not None:
            return Decision(action="give up", reason="it was asked to end, and failed while ending")
        return decide(failure, self.budget, engine=self.plan.entry.engine, age_s=self.attempt.age_s, progress=progress,
                      builtin=self.plan.entry.kind == "worker")  # fmt: skip

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome
        record(self.run, outcome.state, attempt=self.attempt.number, reason=outcome.reason, exit_code=outcome.exit_code)
