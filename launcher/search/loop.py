"""Who runs where and when: one loop over the agents of this process's trials, until none is left for it."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from launcher.errors import BackendError, LaunchError
from launcher.events import ledger, record
from launcher.load import load_job
from launcher.plan import Plan
from launcher.prepare import write
from launcher.rundir import RunDir, forget_requests, locked, owner
from launcher.search.board import Board, ended_already
from launcher.search.company import Alone, Departure, Fate
from launcher.search.slots import Slot, clusters, parallel
from launcher.search.tasks import Tasks
from launcher.search.trials import PRUNED, Trial, as_begun, best, copied, pruned, trial_job
from launcher.spec import Job
from launcher.supervisor import arrival
from launcher.supervisor.ending import Ending
from launcher.supervisor.loop import Outcome, Supervision
from launcher.supervisor.pool import News, Pool
from launcher.supervisor.signals import Signals

TICK_S = 0.05
LOOKS_S = 0.5
COMPARES_S = 3.0
"""Between two looks at trials that other processes run."""
Halt = Literal["stop", "interrupt", "cancel", "leave"]
"""How the sweep is to end before it is done. `leave`: this process alone, by a queue that takes its nodes."""


@dataclass
class Active:
    """One training under way."""

    trial: Trial
    index: int
    """Which of the trial's runs."""
    slot: Slot
    supervision: Supervision
    lock: ExitStack

    @property
    def run(self) -> RunDir:
        return self.trial.runs[self.index]


class Search:
    def __init__(self, run: RunDir, job: Job, pool: Pool, company: Alone | Tasks, *, at_a_time: int | None = None) -> None:
        """`at_a_time`: trials of all processes together; None: this one has them all, as many as it has room for."""
        assert job.sweep is not None
        self.run, self.job, self.sweep, self.pool, self.company = run, job, job.sweep, pool, company
        begun = any(entry["event"] == "searching" for entry in ledger(run))
        self.parallel = at_a_time or parallel(job, begun=begun)
        here = self.parallel if at_a_time is None else 1
        self.slots = [Slot(pool, at * len(cluster.machines), cluster) for at, cluster in enumerate(clusters(job, here))]
        self.board = Board(run, job, self.parallel, shared=company.shared)
        self.active: list[Active] = []
        self.looked = self.compared = 0.0
        self.ending: Halt | None = None
        self.patience_s = 0.0
        """How long it may wait for news: not at all while there may be another slot to fill."""
        self.idle = False
        """Whether nothing is left for this process but what it has under way."""
        self.outcome: Outcome | None = None
        self.departure: Departure = "over"

    # What is to be run

    def fill(self) -> None:
        """Gives a free slot the next run: one in a turn, since beginning it takes its time, and agents want to be heard."""
        self.idle, self.patience_s = not self.slots, TICK_S
        busy = [active.slot for active in self.active]
        slot = next((each for each in self.slots if each not in busy and each.free), None)
        if slot is None or self.ending is not None or not self.company.look_due():
            return
        self.board.catch_up()  # much may have happened, which takes its time: others go on meanwhile
        with self.company.turn():
            self.board.catch_up()
            taken = self.next_run()
            if taken is None:
                self.idle = self.nothing_comes()
                return
            self.board.waiting.remove(taken)
            self.begin(*taken, slot)
        self.patience_s = 0.0

    def next_run(self) -> tuple[Trial, int] | None:
        """One that nobody has, drawing trials as they are needed; else one whose process died with it."""
        while (free := self.first("free")) is None:
            if (self.board.waiting and not self.company.shared) or not (self.another() and self.board.draw()):
                return self.first("left behind")
        return free

    def first(self, fate: Fate) -> tuple[Trial, int] | None:
        return next((each for each in self.board.waiting if self.fate(*each) == fate), None)

    def fate(self, trial: Trial, index: int) -> Fate:
        return self.company.fate(trial.runs[index], self.board.held.get((trial.number, index)))

    def another(self) -> bool:
        return self.ending is None and not self.board.exhausted and self.board.sequence.ready()

    def nothing_comes(self) -> bool:
        """Alone, a trial that somebody goes on with by itself is waited for: what comes of it is taken."""
        waits = self.board.waiting if not self.company.shared else self.first("unknown")
        return self.board.exhausted and not waits

    def begin(self, trial: Trial, index: int, slot: Slot) -> None:
        run, died = trial.runs[index], self.board.held.get((trial.number, index))
        if (end := ended_already(run)) is not None:
            self.board.run_ended(trial, index, *end)
            return
        try:
            own, plan = self.planned(trial, index, slot)
        except LaunchError as error:  # values that do not go together
            self.board.run_ended(trial, index, "failed", str(error).splitlines()[0])
            return
        if died is not None:
            taken_over(run, died.job or "")
        self.board.take(trial, index, self.company.own)
        run.path.mkdir(parents=True, exist_ok=True)
        write(run, own, plan, code=self.run.code)
        if not run.events.exists():
            record(run, "prepared", backend=plan.backend)
        record(run, "supervising", backend=plan.backend, pid=os.getpid(), host=socket.gethostname(), job=self.company.own)
        if self.company.shared and (stuck := arrival.stuck(run, own.retry.max_restarts)) is not None:
            record(run, "failed", reason=stuck, exit_code=1)
            self.board.run_ended(trial, index, "failed", stuck)
            return
        self.follow(trial, index, slot, plan, follows=died is not None)

    def planned(self, trial: Trial, index: int, slot: Slot) -> tuple[Job, Plan]:
        """Raises LaunchError."""
        own = trial_job(self.job, trial.parameters, group=self.run.id, fold=index if self.sweep.folds else None)
        with suppress(BackendError):  # the share has fewer GPUs than the trial had ranks
            again = as_begun(trial.runs[index], own)
            return again, slot.plan(again)
        return own, slot.plan(own)

    def follow(self, trial: Trial, index: int, slot: Slot, plan: Plan, *, follows: bool) -> None:
        run = trial.runs[index]
        lock = ExitStack()
        lock.enter_context(locked(run))
        forget_requests(run)
        copied(self.run.provenance, run.provenance)
        supervision = Supervision(run, load_job(run.job), plan.filled(run), cast(Pool, slot), follows=follows, alone=False)
        lock.callback(supervision.succession.close)
        self.active.append(Active(trial, index, slot, supervision, lock))

    # What happens

    def turn(self, news: Any, signals: Signals) -> None:
        for each in news:
            self.hear(each)
        # Before the signals: one that was overtaken while it stood still says nothing more.
        if time.monotonic() - self.looked > LOOKS_S:
            self.looked = time.monotonic()
            self.look()
        while signals.received:
            self.signalled(signals.received.pop(0))
        self.company.tick()
        for active in list(self.active):
            active.supervision.tick()
            if active.supervision.outcome is not None:
                self.leave(active, active.supervision.outcome)
        self.fill()
        if not self.active and (self.idle or self.ending is not None):
            self.conclude()

    def hear(self, news: News) -> None:
        for active in self.active:
            if (own := active.slot.own(news)) is not None:
                active.supervision.hear(own)

    def signalled(self, number: signal.Signals) -> None:
        if number != signal.SIGUSR1:  # a queue's hint, which asks for nothing yet
            how: Halt = "leave" if self.company.shared else "interrupt" if number == signal.SIGINT else "stop"
            self.end(how, "Ctrl-C" if number == signal.SIGINT else number.name)
        for active in self.active:
            if self.company.shared and number == signal.SIGTERM:
                active.supervision.ending.terminated("SIGTERM received")
            else:
                active.supervision.signalled(number)

    def look(self) -> None:
        asked: tuple[Halt, Halt] = ("cancel", "stop")
        for what in asked:
            if self.ending not in ("cancel", what) and self.company.requested(what):
                self.ask_all(what)
        for active in self.active:
            active.supervision.look_at_requests()
            if (why := self.board.rungs.look(active.trial.number, active.run)) is not None:
                record(active.run, PRUNED, reason=why)
                active.supervision.end_saved(f"pruned: {why}", "stop")
        if self.active and time.monotonic() - self.compared > COMPARES_S:
            self.compared = time.monotonic()
            self.board.look()

    def ask_all(self, what: Halt) -> None:
        self.end(what, f"launch {what}")
        for active in self.active:
            if what == "cancel":
                active.supervision.end_at_once("launch cancel", "cancel")
            else:
                active.supervision.end_saved("launch stop", "stop")

    def end(self, how: Halt, asked: str) -> None:
        """What ends the whole sweep goes before what takes away this process alone."""
        if self.ending in (None, "leave") and how != "leave":
            first = "" if how == "cancel" else " after they have saved"
            with self.company.turn():
                record(self.run, "stopping", reason=f"{asked}: {len(self.active)} running trial(s) end{first}")
        self.ending = how if how == "cancel" or self.ending in (None, "leave") else self.ending

    # What came of it

    def leave(self, active: Active, outcome: Outcome) -> None:
        self.active.remove(active)
        copied(self.run.provenance, active.run.provenance)
        with self.company.turn():
            self.board.catch_up()
            self.account(active, outcome)
        active.lock.close()

    def account(self, active: Active, outcome: Outcome) -> None:
        if self.overtaken(active):
            self.ending = self.ending or "leave"
            return
        if self.ending is None and self.given_back(active, outcome):
            return
        if outcome.state == "stopped" and self.ending in (None, "leave"):
            self.ending = self.taken_away(active.supervision.ending)
        if outcome.state == "done" or pruned(active.run) is not None:
            self.board.rungs.rest(active.trial.number, active.run)
        if (why := pruned(active.run)) is not None:
            if outcome.state != "done":  # it may have been at its last step
                record(active.run, "stopped", reason=f"pruned: {why}", exit_code=outcome.exit_code)
            self.board.run_ended(active.trial, active.index, "done" if outcome.state == "done" else "pruned", why)
        elif self.ending is None or outcome.state not in ("stopped", "cancelled"):
            self.board.run_ended(active.trial, active.index, outcome.state, outcome.reason)
        else:  # it goes on when the sweep does
            self.board.give_back(active.trial, active.index)

    def overtaken(self, active: Active) -> bool:
        """This process stood still, was taken for dead, and another one has gone on with the run."""
        held = self.board.held.get((active.trial.number, active.index))
        return self.company.shared and (held is None or held.job != self.company.own)

    def taken_away(self, ending: Ending) -> Halt | None:
        """What it means for the sweep that a trial's nodes are wanted back."""
        limit = ending.wished == "limit"
        if not (limit or ending.by_queue):
            return self.ending
        if not self.company.shared or (limit and self.job.retry.when_time_is_up == "stop"):
            return "stop"
        self.company.cancelled = ending.wished == "stop"
        return "leave"

    def given_back(self, active: Active, outcome: Outcome) -> bool:
        """Whether it was lost with its nodes, after all restarts: others run it then, and nothing more runs there."""
        lost = outcome.state == "failed" and outcome.failure is not None and outcome.failure.kind == "agent"
        if not lost or active.slot.cluster.backend == "local" or (len(self.slots) == 1 and not self.company.shared):
            return False
        self.slots.remove(active.slot)
        hosts = ", ".join(machine.host for machine in active.slot.cluster.machines)
        record(self.run, "note", reason=f"trial {active.trial.number} is given back: no trial runs on {hosts} any more")
        record(active.run, "given_back", reason="its nodes were lost")  # else its end would be believed
        self.board.give_back(active.trial, active.index)
        self.ending = None if self.slots else "leave"
        return True

    def conclude(self) -> None:
        known = self.board.known
        ends = {number: trial for number, trial in known.items() if trial.state != "running"}
        told = f"{len(ends)} trials"
        if self.ending is not None:
            self.departure = "left" if self.ending == "leave" else "ended"
            self.outcome = interrupted(self.ending, told)
        elif self.board.waiting:
            self.departure = "left"
            self.outcome = Outcome(state="queued", exit_code=0, reason=f"{told} have ended, the others run in other tasks")
        elif self.board.too_many_failed:
            failed = [trial for trial in ends.values() if trial.state == "failed"]
            reason = f"{len(failed)} of {told} failed (max_failures: {self.sweep.max_failures}): {failed[0].reason}"
            self.outcome = Outcome(state="failed", exit_code=1, reason=reason)
        elif (winner := best(ends, self.sweep)) is None:
            why = next((f": {trial.reason}" for _, trial in sorted(ends.items()) if trial.reason), "")
            self.outcome = Outcome(state="failed", exit_code=1, reason=f"none of {told} came to a value{why}")
        else:
            words = f"{told}, the best is trial {winner.number}: {self.sweep.metric} {winner.value:.6g}"
            self.outcome = Outcome(state="done", exit_code=0, reason=words)

    def close(self) -> None:
        for active in self.active:
            active.lock.close()
        self.board.close()


def taken_over(run: RunDir, job: str) -> None:
    """From a queue job that is over; its host may stand still, and never let go."""
    if owner(run) is not None:
        run.lock.unlink(missing_ok=True)
    arrival.account_for(run, job)


def interrupted(how: Halt, told: str) -> Outcome:
    if how == "cancel":
        return Outcome(state="cancelled", exit_code=130, reason=f"cancelled after {told}")
    if how == "leave":
        return Outcome(state="queued", exit_code=75, reason=f"{told} have ended; the others go on in the next task")
    code = 130 if how == "interrupt" else 75
    return Outcome(state="stopped", exit_code=code, reason=f"{told} have ended; the others go on with launch resume")
