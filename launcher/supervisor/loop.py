"""The supervisor: one loop that decides, while agents and ranks obey. The same for every backend."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from launcher import backends, checkpoints, provenance
from launcher.errors import BackendError
from launcher.events import State, ledger, record
from launcher.load import dump_job, load_job
from launcher.plan import Node, Plan, make_plan, read_plan, settle
from launcher.rundir import RunDir, locked, write_atomic, write_json
from launcher.spec import Job
from launcher.supervisor import cause
from launcher.supervisor.attempt import Attempt, Ended
from launcher.supervisor.ladder import Budget, Decision, decide
from launcher.supervisor.muster import Muster, muster
from launcher.supervisor.pool import SILENCE, News, Pool
from launcher.supervisor.signals import Signals

TICK_S = 0.1
COLLECT_TICK_S = 0.01
LOOKS_S = 0.5
AGAIN_S = 0.5
"""Signals of one moment are one wish: a session that is torn down sends SIGHUP and SIGTERM together."""
Wish = Literal["stop", "interrupt", "cancel"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended (CONTRACTS: Ends)."""

    state: State
    exit_code: int
    reason: str | None = None
    failure: cause.Failure | None = None


def supervise(run: RunDir, *, screen: Callable[[], None] | None = None, holding: bool = False) -> Outcome:
    """Runs it to its end, whatever dies under it; `screen` is called about ten times a second.

    `holding`: the caller holds the run's lock already.

    Raises UsageError where somebody else supervises the run, BackendError where the environment is wrong.
    """
    try:
        with nullcontext() if holding else locked(run), Signals() as signals:
            return supervise_held(run, signals, screen)
    except OSError as error:
        raise BackendError(
            f"cannot write into {run.path}: {error.strerror or error}. The ranks were ended; make room there, "
            f"then continue with 'launch resume {run.id}'"
        ) from None


def supervise_held(run: RunDir, signals: Signals, screen: Callable[[], None] | None) -> Outcome:
    plan, job = read_plan(run), load_job(run.job)
    if plan.provisional:
        job, plan = arrive(run, job, plan)
    for what in ("stop", "cancel"):
        run.request(what).unlink(missing_ok=True)
    record(run, "supervising", backend=plan.backend, pid=os.getpid())
    # Beside the start, not before it: git and the packages' metadata can take seconds, and the agents want to be pinged.
    origins = threading.Thread(target=provenance.keep, args=(run, job.workdir), name="provenance")
    with Pool(backends.choose(plan.backend), lost_after_s=plan.lost_after_s, wake=signals.wake) as pool, ExitStack() as locks:
        supervision = Supervision(run, job, plan, pool)
        if not run.provenance.exists():
            origins.start()
        drive(supervision, pool, signals, screen, locks)
    if origins.ident is not None:
        origins.join()
    assert supervision.outcome is not None
    return supervision.outcome


def arrive(run: RunDir, job: Job, plan: Plan) -> tuple[Job, Plan]:
    """The plan anew, on the nodes that the queue gave."""
    plan = make_plan(job, backends.choose(plan.backend).cluster(job))
    job = settle(job, plan)
    write_atomic(run.job, dump_job(job))
    write_json(run.plan, plan.to_json())
    return job, plan


def drive(supervision: Supervision, pool: Pool, signals: Signals, screen: Callable[[], None] | None, locks: ExitStack) -> None:
    looked = 0.0
    while supervision.outcome is None:
        for news in pool.poll(supervision.patience_s):
            supervision.hear(news)
        while signals.received:
            supervision.signalled(signals.received.pop(0))
        if time.monotonic() - looked > LOOKS_S:
            looked = time.monotonic()
            supervision.look_at_requests()
            if not supervision.run.lock.exists():  # somebody deleted it, and nobody would look at the one that is held
                locks.enter_context(locked(supervision.run))
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
        self.wished_at = 0.0
        self.outcome: Outcome | None = None
        self.budget = Budget(allowed=job.retry.max_restarts, progress=self.progress())
        self.suspect: dict[int, str] = {}
        """Nodes that are not tried again, and why."""
        self.start(plan.nodes)
        self.attempt = self.new_attempt(plan.nodes[: plan.world.nodes])

    @property
    def patience_s(self) -> float:
        return COLLECT_TICK_S if self.attempt.phase == "collecting" else TICK_S

    def start(self, nodes: Sequence[Node]) -> None:
        """Agents that import what the job uses."""
        self.pool.start(self.plan, nodes)
        silence_s = SILENCE * self.plan.lost_after_s
        for index in (node.index for node in nodes):
            self.pool.send({"kind": "warm", "to": [index], "run_dir": str(self.run.path), "node": index, "silence_s": silence_s})

    def new_attempt(self, members: Sequence[Node]) -> Attempt:
        # The ledger knows of attempts whose logs were deleted.
        number = 1 + max([0, *self.run.attempts(), *(entry.get("attempt") or 0 for entry in ledger(self.run))])
        self.run.attempt(number).mkdir(parents=True)
        attempt = Attempt(number, self.run, self.plan, self.pool, members)
        record(self.run, "attempt", attempt=number, world_size=attempt.world_size, nodes=len(members))
        return attempt

    def progress(self) -> int:
        """The furthest step that cannot be lost any more."""
        if self.plan.entry.kind == "worker":
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
        else:
            before = self.attempt.phase
            self.attempt.hear(news.agent, news.message)
            if before == "starting" and self.attempt.phase == "running" and self.plan.entry.kind != "worker":
                record(self.run, "running", attempt=self.attempt.number)

    def lost(self, agent: int, how: Mapping[str, Any]) -> None:
        """On this machine a silent agent was killed; elsewhere its node may be dead, or deaf."""
        if how["why"] == "silent" and self.plan.backend != "local":
            self.suspect[agent] = how["text"]
        self.attempt.agent_lost(agent, how)

    def look_at_requests(self) -> None:
        for what in ("cancel", "stop"):
            if self.run.request(what).exists():
                self.run.request(what).unlink(missing_ok=True)
                self.end_at_once(f"launch {what}", "cancel") if what == "cancel" else self.end_saved(f"launch {what}", "stop")

    def signalled(self, number: signal.Signals) -> None:
        """A second Ctrl-C or SIGTERM means at once; a second `launch stop`, or the terminal that goes, does not."""
        one_moment = time.monotonic() - self.wished_at < AGAIN_S and number != signal.SIGINT
        if self.wished is not None and not one_moment and number != signal.SIGHUP:
            self.end_at_once(f"{number.name} again")
        else:
            self.end_saved(f"{number.name} received", "interrupt" if number == signal.SIGINT else "stop")

    def end_saved(self, why: str, wish: Wish) -> None:
        """All ranks save at the next step boundary. The first wish decides the exit code."""
        if self.wished is None:
            self.wished, self.wished_at = wish, time.monotonic()
            record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: {self.asked()}")
            self.attempt.ask_to_stop()

    def asked(self) -> str:
        if self.plan.entry.kind == "worker":
            return "saving at the next step boundary"
        return f"its ranks have {self.plan.entry.stop_grace_s:g} s to save and end"

    def end_at_once(self, why: str, wish: Wish | None = None) -> None:
        self.wished = wish or self.wished
        record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: at once, nothing more is saved")
        self.attempt.kill()

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
            self.finish(
                Outcome(
                    state="stopped", exit_code=self.stop_code, reason="ended at once: what came after the last checkpoint is lost"
                )
            )
        else:
            self.finish(Outcome(state="stopped", exit_code=self.stop_code, reason=ended.reason or self.saved()))

    def saved(self) -> str:
        """What a stop left behind; a program of the user's own saves where it likes."""
        if self.plan.entry.kind == "worker" and not checkpoints.checkpoints(self.run):
            return "before its first step: there was nothing to save, and resume begins anew"
        return "saved, can be continued"

    def after_failure(self, failure: cause.Failure) -> None:
        cause.keep(self.run, failure)
        if self.wished is not None and not failure.users_error:
            reason = f"it was asked to end, and could not save: {failure.sentence()}"
            record(
                self.run,
                "failure",
                attempt=failure.attempt,
                step=failure.step,
                rank=failure.rank,
                node=failure.node,
                reason=reason,
            )
            self.finish(Outcome(state="stopped", exit_code=self.stop_code, reason=reason, failure=failure))
            return
        progress = self.progress() if self.plan.entry.kind == "worker" else max(failure.step or -1, self.progress())
        decision = self.decide(failure, progress)
        next_ones = self.muster()
        reason = f"{failure.sentence()}. {decision.reason}"
        if decision.action == "restart" and next_ones.reason:
            reason = f"{reason}, {next_ones.reason}"
        record(self.run, "failure", attempt=failure.attempt, step=failure.step, rank=failure.rank, node=failure.node,
               reason=reason)  # fmt: skip
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
        if next_ones.start:
            self.start(next_ones.start)
        self.attempt = self.new_attempt(next_ones.members)

    def muster(self) -> Muster:
        before = self.attempt.members
        found = muster(self.plan.nodes, before, alive=self.pool.agents, suspect=self.suspect, fewest=self.job.resources.fewest)
        if found is None:
            self.suspect.clear()
            again = [node for node in before if node.index not in self.pool.agents]
            return Muster(
                members=tuple(before), start=tuple(again), reason="and there is no other node: the lost one is tried again"
            )
        return found

    def decide(self, failure: cause.Failure, progress: int) -> Decision:
        if self.wished is not None:
            codes = {"spec": 2, "environment": 3}
            reason = "it was asked to end, and failed while ending"
            return Decision(action="give up", reason=reason, exit_code=codes.get(failure.kind, 1))
        return decide(failure, self.budget, engine=self.plan.entry.engine, age_s=self.attempt.age_s, progress=progress,
                      builtin=self.plan.entry.kind == "worker")  # fmt: skip

    @property
    def stop_code(self) -> int:
        return 130 if self.wished == "interrupt" else 75

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome
        record(self.run, outcome.state, attempt=self.attempt.number, reason=outcome.reason, exit_code=outcome.exit_code)
