"""The supervisor: one loop that decides, while agents and ranks obey. The same for every backend."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, Literal

from launcher import backends, checkpoints, provenance
from launcher.backends import distrust
from launcher.errors import BackendError
from launcher.events import ledger, record
from launcher.load import load_job
from launcher.plan import Node, Plan, read_plan
from launcher.rundir import RunDir, locked, names_another
from launcher.spec import Job
from launcher.supervisor import arrival, cause
from launcher.supervisor.attempt import Attempt, Ended
from launcher.supervisor.cause import Outcome as Outcome
from launcher.supervisor.following import wait_turn
from launcher.supervisor.ladder import Budget, Decision, decide
from launcher.supervisor.muster import Muster, muster
from launcher.supervisor.pool import News, Pool
from launcher.supervisor.signals import Signals
from launcher.supervisor.succession import ANSWER_S, Succession
from launcher.supervisor.suspicion import Suspicion, suspicion
from launcher.supervisor.warming import first_orders

TICK_S = 0.1
COLLECT_TICK_S = 0.01
LOOKS_S = 0.5
AGAIN_S = 0.5
"""Signals of one moment are one wish: a session that is torn down sends SIGHUP and SIGTERM together."""
Wish = Literal["stop", "interrupt", "cancel", "limit", "preempted", "given up", "terminated"]
"""Why all ranks are to save and end. `terminated`: by a queue's SIGTERM, whose reason is being asked for."""


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
    queue = backends.QUEUES.get(plan.backend)
    followed = queue.followed() if queue is not None else None
    if followed is not None and (over := arrival.already_over(run)):
        return over
    if followed is None and (instead := wait_turn(run, plan.backend, signals.received)):
        return instead
    queued = plan.provisional or followed is not None
    if queued:
        job, plan = arrival.arrive(run, job, plan)
    elif queue is not None and queue.is_batch_script() and (number := queue.own_job()) is not None:
        job = arrival.by_hand(run, job, queue, number)
    plan = plan.filled(run)
    if followed is not None:
        arrival.account_for(run, followed)
    for what in () if queued else ("stop", "cancel"):  # of a queued run it may have been asked while its job began
        run.request(what).unlink(missing_ok=True)
    record(run, "supervising", backend=plan.backend, pid=os.getpid(), host=socket.gethostname(),
           job=queue.own_job() if queue is not None else None)  # fmt: skip
    if followed is not None and job.train is not None and (reason := arrival.stuck(run, job.retry.max_restarts)):
        record(run, "failed", reason=reason, exit_code=1)
        return Outcome(state="failed", exit_code=1, reason=reason)
    # Beside the start, not before it: git and the packages' metadata can take seconds, and the agents want to be pinged.
    origins = threading.Thread(target=provenance.keep, args=(run, job.workdir), name="provenance")
    backend = backends.choose(plan.backend)
    with (
        Pool(backend, log=run.agents_log, lost_after_s=plan.lost_after_s, wake=signals.wake) as pool,
        ExitStack() as locks,
    ):
        supervision = Supervision(run, job, plan, pool, follows=followed is not None)
        locks.callback(supervision.succession.abandon)
        if not run.provenance.exists():
            origins.start()
        drive(supervision, pool, signals, screen, locks)
    supervision.succession.close()
    if origins.ident is not None:
        origins.join()
    assert supervision.outcome is not None
    return supervision.outcome


def drive(supervision: Supervision, pool: Pool, signals: Signals, screen: Callable[[], None] | None, locks: ExitStack) -> None:
    looked = 0.0
    while supervision.outcome is None:
        for news in pool.poll(supervision.patience_s):
            supervision.hear(news)
        # Before the signals: one that was overtaken while it stood still says nothing more.
        if time.monotonic() - looked > LOOKS_S:
            looked = time.monotonic()
            supervision.look_at_requests()
            if not supervision.run.lock.exists():  # somebody deleted it, and nobody would look at the one that is held
                locks.enter_context(locked(supervision.run))
        while signals.received and supervision.outcome is None:
            supervision.signalled(signals.received.pop(0))
        supervision.tick()
        if screen is not None:
            try:
                screen()
            except OSError:  # the terminal or the reader of the pipe is gone: the training is not
                screen = None


class Supervision:
    """One run under supervision: fed with news, it decides. Holds no global state, so that several can share a pool."""

    def __init__(self, run: RunDir, job: Job, plan: Plan, pool: Pool, *, follows: bool = False) -> None:
        """`follows`: in a job that goes on where an earlier one ended."""
        self.run, self.job, self.plan, self.pool = run, job, plan, pool
        self.wished: Wish | None = None
        self.wished_at = 0.0
        self.outcome: Outcome | None = None
        self.budget = Budget(allowed=job.retry.max_restarts, progress=self.progress())
        if follows:
            self.budget = arrival.budget_left(run, job.retry.max_restarts, self.progress())
        self.suspect: dict[int, str] = {}
        """Nodes that are not tried again, and why."""
        self.deaths: Counter[int] = Counter()
        """Of nodes, since another one failed: of their agents, or at once of their ranks."""
        self.explain_by: float | None = None
        """Until then the reason of a SIGTERM is waited for."""
        self.succession = Succession(run, job, plan)
        self.start(plan.nodes)
        self.attempt = self.new_attempt(self.trusted(plan.nodes, plan.world.nodes))
        self.succession.begin()

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

    def trusted(self, nodes: Sequence[Node], count: int) -> list[Node]:
        """Where there are spares, those that failed other runs lately are the spares."""
        hosts = [node.host for node in nodes]
        bad = distrust.distrusted(distrust.remembered(time.time()), hosts, share=1.0) if count < len(nodes) else ()
        return sorted(sorted(nodes, key=lambda node: node.host in bad)[:count], key=lambda node: node.index)

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
        elif news.message["kind"] == "signalled":
            if self.succession.number is not None:
                self.terminated("its nodes were sent SIGTERM")
        else:
            before = self.attempt.phase
            self.attempt.hear(news.agent, news.message)
            if before == "starting" and self.attempt.phase == "running" and self.plan.entry.kind != "worker":
                record(self.run, "running", attempt=self.attempt.number)

    def lost(self, agent: int, how: Mapping[str, Any]) -> None:
        """The node of a silent one may be dead, or deaf."""
        if how["why"] == "silent" and len(self.plan.nodes) > 1:
            self.suspect[agent] = how["text"]
        if agent in self.attempt.nodes:
            self.attempt.agent_lost(agent, how)
        else:
            record(self.run, "note", reason=f"node {agent} ({how['host']}), which was idle, is lost: {how['text']}")

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

    def signalled(self, number: signal.Signals) -> None:
        """A second Ctrl-C or SIGTERM means at once; a second `launch stop`, or the terminal that goes, does not."""
        if number == signal.SIGUSR1:
            self.succession.hinted()
            return
        if number == signal.SIGTERM and self.succession.batch:
            self.terminated("SIGTERM received")
            return
        one_moment = time.monotonic() - self.wished_at < AGAIN_S and number != signal.SIGINT
        if self.wished is not None and not one_moment and number != signal.SIGHUP:
            self.end_at_once(f"{number.name} again")
        else:
            self.end_saved(f"{number.name} received", "interrupt" if number == signal.SIGINT else "stop")

    def terminated(self, how: str) -> None:
        """By the queue, which kills soon: all ranks save at once, and why is asked meanwhile."""
        if self.wished in (None, "limit"):
            if self.wished is None:
                self.end_saved(how, "terminated")
            self.succession.ask()
            self.explain_by = self.explain_by or time.monotonic() + ANSWER_S

    def explain(self) -> None:
        if self.explain_by is None or (self.succession.errands.under_way and time.monotonic() < self.explain_by):
            return
        self.explain_by, self.wished = None, self.succession.why_terminated()
        words = {"preempted": "preempted: another job takes the nodes", "limit": "the time limit is reached",
                 "given up": "this machine stood still, and its agents elsewhere gave the job up",
                 "stop": "neither preempted nor at its time limit: somebody's scancel"}  # fmt: skip
        record(self.run, "stopping", attempt=self.attempt.number, reason=words[self.wished])
        if self.wished == "stop":
            self.succession.withdraw()  # now: there may be no time for it at the end

    def end_saved(self, why: str, wish: Wish) -> None:
        """All ranks save at the next step boundary. The first wish decides the exit code; a user's goes before a queue's."""
        if self.wished is None:
            self.wished, self.wished_at = wish, time.monotonic()
            record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: {self.asked()}")
            self.attempt.ask_to_stop()
        elif self.wished in ("limit", "preempted", "given up", "terminated") and wish in ("stop", "interrupt"):
            self.wished, self.explain_by = wish, None
            record(self.run, "stopping", attempt=self.attempt.number, reason=f"{why}: nothing goes on afterwards")

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
        if self.succession.tick() and self.wished is None:
            self.end_saved("the time limit is near", "limit")
        self.explain()
        if self.attempt.ended is not None and self.outcome is None and self.wished != "terminated":
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
            self.finish(self.asked_to_end("ended at once: what came after the last checkpoint is lost"))
        else:
            self.finish(self.asked_to_end(ended.reason or self.saved()))

    def asked_to_end(self, reason: str, failure: cause.Failure | None = None) -> Outcome:
        """Stopped; queued where the queue itself wanted it, and a successor goes on."""
        why = {"limit": "at the time limit", "preempted": "preempted", "given up": "given up"}.get(self.wished or "")
        if why is None:
            return Outcome(state="stopped", exit_code=self.stop_code, reason=reason, failure=failure)
        stays = self.wished != "limit" or self.job.retry.when_time_is_up == "continue"
        if stays and self.succession.next is not None:
            return Outcome(state="queued", exit_code=75, reason=f"{why}: {reason}", failure=failure)
        rest = "no other job is queued: continue with launch resume" if stays else "when_time_is_up says stop"
        return Outcome(state="stopped", exit_code=75, reason=f"{why}: {reason}; {rest}", failure=failure)

    def saved(self) -> str:
        """What a stop left behind; a program of the user's own saves where it likes."""
        if self.plan.entry.kind == "worker" and not checkpoints.checkpoints(self.run):
            return "before its first step: there was nothing to save, and resume begins anew"
        return "saved, can be continued"

    def after_failure(self, failure: cause.Failure) -> None:
        cause.keep(self.run, failure)
        if self.wished is not None and not failure.users_error:
            reason = f"it was asked to end, and could not save: {failure.sentence()}"
            self.tell(failure, reason, counts=False)
            self.finish(self.asked_to_end(reason, failure))
            return
        progress = self.progress() if self.plan.entry.kind == "worker" else max(failure.step or -1, self.progress())
        suspected = self.suspected(failure)
        ladder = self.muster()
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
            self.suspect.clear()
        if not ladder.members:
            hosts = [node.host for node in self.plan.nodes if node.index in self.suspect]
            self.succession.leave(hosts)
            self.finish(Outcome(state="queued", exit_code=75, reason=reason, failure=failure))
            return
        if ladder.start:
            self.start(ladder.start)
        self.attempt = self.new_attempt(ladder.members)

    def tell(self, failure: cause.Failure, reason: str, *, counts: bool) -> None:
        hung = {"hung_s": self.attempt.watch.patience_s} if failure.kind == "hang" else {}
        record(self.run, "failure", attempt=failure.attempt, step=failure.step, rank=failure.rank, node=failure.node,
               host=failure.host, kind=failure.kind, counts=counts, reason=reason, **hung)  # fmt: skip

    def suspected(self, failure: cause.Failure) -> Suspicion | None:
        """A node that is to blame is not tried again, where there is another way; other runs of the same user learn of it."""
        node = failure.node
        self.deaths = Counter({node: self.deaths[node] + 1}) if node is not None else Counter()
        again = node is not None and self.deaths[node] > 1
        apart = 1 if self.plan.rehearsal else len(self.attempt.members)
        found = suspicion(failure, age_s=self.attempt.age_s, failed_on=self.attempt.failed_on, nodes=apart, again=again,
                          silent=failure.kind == "agent" and node in self.suspect)  # fmt: skip
        if found is None:
            return None
        if self.plan.backend != "local" and failure.host is not None and found.weight:
            distrust.hold_against(failure.host, found.what, run=self.run.id, weight=found.weight)
        if found.node in self.suspect:
            return found
        self.suspect[found.node] = found.what
        here = self.muster()
        if failure.kind == "signal" and not again and (here.forgiven or not here.members):
            del self.suspect[found.node]  # a new attempt in the same place is cheaper than another job
            return None
        return found

    def muster(self) -> Muster:
        return muster(self.plan.nodes, self.attempt.members, alive=self.pool.agents, suspect=self.suspect,
                      fewest=self.job.resources.fewest, successor=self.succession.next is not None)  # fmt: skip

    def decide(self, failure: cause.Failure, progress: int, *, elsewhere: bool) -> Decision:
        if self.wished is not None:
            codes = {"spec": 2, "environment": 3}
            reason = "it was asked to end, and failed while ending"
            return Decision(action="give up", reason=reason, exit_code=codes.get(failure.kind, 1))
        return decide(failure, self.budget, engine=self.plan.entry.engine, age_s=self.attempt.age_s, progress=progress,
                      builtin=self.plan.entry.kind == "worker", elsewhere=elsewhere)  # fmt: skip

    @property
    def stop_code(self) -> int:
        return 130 if self.wished == "interrupt" else 75

    def finish(self, outcome: Outcome) -> None:
        """The ledger first: a successor that starts all the same reads there that there is nothing left to do."""
        self.outcome = outcome
        self.succession.over = True
        after = {"job": self.succession.next, "after": self.succession.number} if outcome.state == "queued" else {}
        record(self.run, outcome.state, attempt=self.attempt.number, reason=outcome.reason, exit_code=outcome.exit_code, **after)
        if outcome.state != "queued":
            self.succession.withdraw()
