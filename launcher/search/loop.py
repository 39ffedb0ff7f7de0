"""Who runs where and when: one loop over the agents of all trials, until none is left."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, cast

from launcher import backends, provenance
from launcher.errors import BackendError, LaunchError
from launcher.events import ledger, record, summarize
from launcher.load import load_job
from launcher.plan import Plan, read_plan
from launcher.prepare import write
from launcher.rundir import RunDir, locked, owner
from launcher.search.journal import NAME
from launcher.search.plots import draw_all
from launcher.search.rungs import Rungs
from launcher.search.sequence import Sequence
from launcher.search.slots import Slot, clusters, parallel
from launcher.search.space import values, whole_ranges
from launcher.search.tally import TRIAL, TRYING, tally
from launcher.search.trials import (
    PRUNED,
    Trial,
    best,
    concluded,
    copied,
    folders,
    pruned,
    trial_job,
    write_best,
    write_results,
)
from launcher.spec import Job
from launcher.supervisor.loop import Outcome, Supervision
from launcher.supervisor.pool import News, Pool
from launcher.supervisor.signals import Signals

TICK_S = 0.05
LOOKS_S = 0.5


def conduct(run: RunDir, *, screen: Callable[[], None] | None = None, holding: bool = False) -> Outcome:
    """Runs a sweep to its end: what `supervise` is for a training.

    Raises UsageError where somebody else has it, BackendError where the environment is wrong.
    """
    try:
        with nullcontext() if holding else locked(run), Signals() as signals:
            return conducted(run, signals, screen)
    except OSError as error:
        raise BackendError(
            f"cannot write into {run.path}: {error.strerror or error}. The trials were ended; make room there, "
            f"then continue with 'launch resume {run.id}'"
        ) from None


def conducted(run: RunDir, signals: Signals, screen: Callable[[], None] | None) -> Outcome:
    job, plan = load_job(run.job), read_plan(run)
    copied(run.job, run.begun)
    for what in ("stop", "cancel"):
        run.request(what).unlink(missing_ok=True)
    record(run, "supervising", backend=plan.backend, pid=os.getpid(), host=socket.gethostname(), job=None)
    origins = threading.Thread(target=provenance.keep, args=(run, job.workdir), name="provenance")
    if not run.provenance.exists():
        origins.start()
    backend, wake = backends.choose(plan.backend), signals.wake
    with Pool(backend, log=run.agents_log, lost_after_s=plan.lost_after_s, wake=wake) as pool, ExitStack() as kept:
        search = Search(run, job, pool)
        kept.callback(search.close)
        record(run, "searching", trials=search.sequence.total, parallel=search.parallel)
        while search.outcome is None:
            search.turn(pool.poll(TICK_S), signals)
            if screen is not None:
                try:
                    screen()
                except OSError:  # the terminal or the reader of the pipe is gone: the sweep is not
                    screen = None
    if origins.ident is not None:
        origins.join()
    search.finish()
    return search.outcome


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
    def __init__(self, run: RunDir, job: Job, pool: Pool) -> None:
        assert job.sweep is not None
        self.run, self.job, self.sweep, self.pool = run, job, job.sweep, pool
        self.parallel = parallel(job)
        whole = whole_ranges(job)
        entries = list(ledger(run))
        told = tally(entries, job.sweep)
        self.sequence = Sequence(
            job.sweep, job.seed, run.path, parallel=begun_with(entries, self.parallel), name=run.id, whole=whole
        )
        each = job.resources.fewest
        self.slots = [Slot(pool, number * each, cluster) for number, cluster in enumerate(clusters(job, self.parallel))]
        self.trials: dict[int, Trial] = {}
        self.waiting: list[tuple[Trial, int]] = []
        """Runs of trials that have been drawn."""
        self.active: list[Active] = []
        self.rungs = Rungs(self.sequence.study, self.sweep)
        self.before = told.ended
        """What came of trials before this process."""
        self.tried = {entry["trial"] for entry in entries if entry["event"] == TRYING}
        """Trials that were begun, by whichever process: they are ended, whatever keeps others from being begun."""
        folds = job.sweep.folds
        self.past = {number: ended_before(number, entry, folders(run, number, folds)) for number, entry in told.ended.items()}
        self.began = time.monotonic() - told.spent_s
        self.looked = 0.0
        self.ending: Literal["stop", "interrupt", "cancel"] | None = None
        self.outcome: Outcome | None = None

    # What is to be run

    def fill(self) -> None:
        """Gives every free slot the next run, drawing trials as they are needed."""
        busy = [active.slot for active in self.active]
        for slot in [each for each in self.slots if each not in busy and each.free]:
            while not self.waiting and self.another():
                if not self.draw():
                    break
            mine = next((each for each in self.waiting if owner(each[0].runs[each[1]]) is None), None)
            if mine is None:  # nothing is left, or somebody goes on with that trial by itself: what comes of it is taken
                return
            self.waiting.remove(mine)
            self.begin(*mine, slot)

    def another(self) -> bool:
        late = self.sweep.max_time is not None and time.monotonic() - self.began > self.sweep.max_time.seconds
        further = self.sequence.asked in self.tried or not (late or self.too_many_failed())
        return self.ending is None and further and self.sequence.ready()

    @property
    def known(self) -> dict[int, Trial]:
        """Trials that ended before are known before they are drawn again."""
        return {**self.past, **self.trials}

    def too_many_failed(self) -> bool:
        return sum(trial.state == "failed" for trial in self.known.values()) > self.sweep.max_failures

    def draw(self) -> bool:
        """The next trial; one that ended before is taken as it was."""
        number = self.sequence.asked
        drawn = self.sequence.next()
        if drawn is None:
            self.sequence.total = number
            return False
        runs = folders(self.run, number, self.sweep.folds)
        trial = Trial(number, drawn, values(self.sweep, drawn), runs, left=list(range(len(runs))))
        self.trials[number] = trial
        if (told := self.before.get(number)) is not None:
            trial.state, trial.value, trial.spread = told["state"], told.get("value"), told.get("spread")
            trial.reason, trial.left = told.get("reason"), []
            self.rungs.rest(number, runs[0])
            self.sequence.ended(number, trial.end, trial.value)
        else:
            record(self.run, TRYING, trial=number, parameters=trial.parameters)
            self.waiting += [(trial, index) for index in trial.left]
        return True

    def begin(self, trial: Trial, index: int, slot: Slot) -> None:
        run = trial.runs[index]
        if (ended := ended_already(run)) is not None:
            self.one_ended(trial, index, *ended)
            return
        fold = index if self.sweep.folds else None
        try:
            own = trial_job(self.job, trial.parameters, group=self.run.id, fold=fold)
            plan = slot.plan(own)
        except LaunchError as error:  # values that do not go together
            self.one_ended(trial, index, "failed", str(error).splitlines()[0])
            return
        run.path.mkdir(parents=True, exist_ok=True)
        write(run, own, plan)
        if not run.events.exists():
            record(run, "prepared", backend=plan.backend)
        self.follow(trial, index, slot, plan)

    def follow(self, trial: Trial, index: int, slot: Slot, plan: Plan) -> None:
        run = trial.runs[index]
        lock = ExitStack()
        lock.enter_context(locked(run))
        for what in ("stop", "cancel"):  # asked of the process before
            run.request(what).unlink(missing_ok=True)
        copied(self.run.provenance, run.provenance)
        record(run, "supervising", backend=plan.backend, pid=os.getpid(), host=socket.gethostname(), job=None)
        supervision = Supervision(run, load_job(run.job), plan.filled(run), cast(Pool, slot))
        lock.callback(supervision.succession.close)
        self.active.append(Active(trial, index, slot, supervision, lock))

    # What happens

    def turn(self, news: Any, signals: Signals) -> None:
        for each in news:
            self.hear(each)
        while signals.received:
            self.signalled(signals.received.pop(0))
        if time.monotonic() - self.looked > LOOKS_S:
            self.looked = time.monotonic()
            self.look()
        for active in list(self.active):
            active.supervision.tick()
            if active.supervision.outcome is not None:
                self.leave(active, active.supervision.outcome)
        self.fill()
        if not self.active and not (self.another() or (self.waiting and self.ending is None)):
            self.conclude()

    def hear(self, news: News) -> None:
        for active in self.active:
            if (own := active.slot.own(news)) is not None:
                active.supervision.hear(own)

    def signalled(self, number: signal.Signals) -> None:
        if number != signal.SIGUSR1:  # a queue's hint, which asks for nothing yet
            self.end("interrupt" if number == signal.SIGINT else "stop", "Ctrl-C" if number == signal.SIGINT else number.name)
        for active in self.active:
            active.supervision.signalled(number)

    def look(self) -> None:
        for what in ("cancel", "stop"):
            if self.run.request(what).exists():
                self.run.request(what).unlink(missing_ok=True)
                self.ask_all(what)
        for active in self.active:
            active.supervision.look_at_requests()
            if (why := self.rungs.look(active.trial.number, active.run)) is not None:
                record(active.run, PRUNED, reason=why)
                active.supervision.end_saved(f"pruned: {why}", "stop")

    def end(self, how: Literal["stop", "interrupt", "cancel"], asked: str) -> None:
        if self.ending is None:
            first = "" if how == "cancel" else " after they have saved"
            record(self.run, "stopping", reason=f"{asked}: {len(self.active)} running trial(s) end{first}")
        self.ending = how if how == "cancel" else self.ending or how

    def ask_all(self, what: str) -> None:
        self.end("cancel" if what == "cancel" else "stop", f"launch {what}")
        for active in self.active:
            if what == "cancel":
                active.supervision.end_at_once("launch cancel", "cancel")
            else:
                active.supervision.end_saved("launch stop", "stop")

    # What came of it

    def leave(self, active: Active, outcome: Outcome) -> None:
        self.active.remove(active)
        active.lock.close()
        copied(self.run.provenance, active.run.provenance)
        if self.ending is None and self.given_back(active, outcome):
            return
        if outcome.state == "done" or pruned(active.run) is not None:
            self.rungs.rest(active.trial.number, active.run)
        if (why := pruned(active.run)) is not None:
            if outcome.state != "done":  # it may have been at its last step
                record(active.run, "stopped", reason=f"pruned: {why}", exit_code=outcome.exit_code)
            self.one_ended(active.trial, active.index, "done" if outcome.state == "done" else "pruned", why)
        elif self.ending is None or outcome.state not in ("stopped", "cancelled"):  # else it goes on when the sweep does
            self.one_ended(active.trial, active.index, outcome.state, outcome.reason)

    def given_back(self, active: Active, outcome: Outcome) -> bool:
        """Whether it was lost with its nodes, after all restarts: others run it then, and nothing more runs there."""
        lost = outcome.state == "failed" and outcome.failure is not None and outcome.failure.kind == "agent"
        if not lost or active.slot.cluster.backend == "local" or len(self.slots) == 1:
            return False
        self.slots.remove(active.slot)
        hosts = ", ".join(machine.host for machine in active.slot.cluster.machines)
        record(self.run, "note", reason=f"trial {active.trial.number} is given back: no trial runs on {hosts} any more")
        record(active.run, "prepared", backend=active.slot.cluster.backend)  # else its end would be believed
        self.waiting.insert(0, (active.trial, active.index))
        return True

    def one_ended(self, trial: Trial, index: int, state: str, reason: str | None) -> None:
        trial.left.remove(index)
        if state != "done":
            trial.state = "failed" if state == "failed" else "pruned" if state == "pruned" else "stopped"
            trial.reason = trial.reason or reason
            self.waiting = [each for each in self.waiting if each[0] is not trial]
            others = [active.index for active in self.active if active.trial is trial]
            trial.left = [each for each in trial.left if each in others]
        if not trial.left:
            self.trial_ended(trial)

    def trial_ended(self, trial: Trial) -> None:
        trial.state = "done" if trial.state == "running" else trial.state
        concluded(trial, self.sweep)
        self.sequence.ended(trial.number, trial.end, trial.value)
        record(self.run, TRIAL, trial=trial.number, state=trial.state, value=trial.value, spread=trial.spread,
               parameters=trial.parameters, reason=trial.reason)  # fmt: skip
        write_results(self.run, self.sweep, self.known)
        if trial is best(self.known, self.sweep):
            write_best(self.run, self.job, trial)

    def conclude(self) -> None:
        ends = {number: trial for number, trial in self.known.items() if trial.state != "running"}
        told = f"{len(ends)} trials"
        if self.ending == "cancel":
            self.outcome = Outcome(state="cancelled", exit_code=130, reason=f"cancelled after {told}")
        elif self.ending is not None:
            code = 130 if self.ending == "interrupt" else 75
            self.outcome = Outcome(
                state="stopped", exit_code=code, reason=f"{told} have ended; the others go on with launch resume"
            )
        elif self.too_many_failed():
            failed = [trial for trial in ends.values() if trial.state == "failed"]
            reason = f"{len(failed)} of {told} failed (max_failures: {self.sweep.max_failures}): {failed[0].reason}"
            self.outcome = Outcome(state="failed", exit_code=1, reason=reason)
        elif (winner := best(ends, self.sweep)) is None:
            why = next((f": {trial.reason}" for _, trial in sorted(ends.items()) if trial.reason), "")
            self.outcome = Outcome(state="failed", exit_code=1, reason=f"none of {told} came to a value{why}")
        else:
            words = f"{told}, the best is trial {winner.number}: {self.sweep.metric} {winner.value:.6g}"
            self.outcome = Outcome(state="done", exit_code=0, reason=words)

    def finish(self) -> None:
        assert self.outcome is not None
        write_results(self.run, self.sweep, self.known)
        if (winner := best(self.known, self.sweep)) is not None and winner.runs[0].job.exists():
            write_best(self.run, self.job, winner)  # again: it may have been killed before it was written
        if self.job.log.plots and self.sweep.parameters and self.ending not in ("interrupt", "cancel"):  # it takes seconds
            draw_all(self.run.path / NAME, self.run.id, self.sweep.metric, self.run.plots)
        record(self.run, self.outcome.state, reason=self.outcome.reason, exit_code=self.outcome.exit_code)

    def close(self) -> None:
        for active in self.active:
            active.lock.close()
        self.sequence.close()


def ended_already(run: RunDir) -> tuple[str, str | None] | None:
    """State and reason of a run whose end was not told before the process ended that led it."""
    if not run.events.exists():
        return None
    summary = summarize(run)
    if summary.state != "done" and (why := pruned(run)) is not None:
        return "pruned", why
    return (summary.state, summary.reason) if summary.state in ("done", "failed") else None


def begun_with(entries: Iterable[Mapping[str, Any]], parallel: int) -> int:
    """Trials at a time when the sweep began. The parameters are a function of it: on another machine it goes on so."""
    return next((entry["parallel"] for entry in entries if entry["event"] == "searching"), parallel)


def ended_before(number: int, told: Mapping[str, Any], runs: list[RunDir]) -> Trial:
    return Trial(
        number, {}, told.get("parameters") or {}, runs, told["state"], told.get("value"), told.get("spread"), told.get("reason")
    )
