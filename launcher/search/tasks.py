"""A sweep as an array in a queue: each task takes the next trial until none is left.

What tasks know of each other stands in the sweep's ledger, and who draws, takes or ends a trial does so in its turn. Whether a
task still lives is the queue's to say: a file lock may not be seen across machines. So that nothing is lost with the last of
them, a second array waits for the end of the first; it is withdrawn when the sweep is over.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from signal import Signals

from optuna.storages.journal import JournalFileOpenLock

from launcher.backends import Queue
from launcher.backends.waiting import Waiting
from launcher.errors import BackendError
from launcher.events import LIVE, NOT_BEGUN, Summary, fold, ledger, record
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.search.company import Departure, Fate, Held
from launcher.search.tally import TAKEN, TRIAL
from launcher.spec import Job
from launcher.standing import standing
from launcher.supervisor.arrival import CODES
from launcher.supervisor.cause import Outcome
from launcher.supervisor.errands import Errands
from launcher.supervisor.following import behind, followed_run, goes_on, not_begun, wish

JOINED, LEFT = "joined", "left"
"""Events: a task has come, and has gone."""
LOOKS_S = 1.0
"""Between two looks of a task without a trial at what the others have done."""
ASKS_S = 5.0
"""Between two of its questions to the queue; the more tasks there are, the less often each of them asks."""
SETTLE_S = 15.0
MOST_IDLE = 4
"""Arrays in a row that took no trial: another would end the same."""


class Tasks:
    """One task of an array, among the others (`Alone` says what its methods are for)."""

    shared = True

    def __init__(self, run: RunDir, job: Job, plan: Plan, queue: Queue, *, array: str) -> None:
        self.run, self.job, self.plan, self.queue, self.array = run, job, plan, queue, array
        self.own = queue.own_job()
        self.cancelled = False
        self.lock = JournalFileOpenLock(str(run.path / ".turn"))
        self.errands = Errands()
        self.asks_s = max(ASKS_S, ASKS_S * (plan.at_a_time or 1) / 10)
        self.jobs: Mapping[str, Waiting] | None = None
        """As the queue said at `asked_at`; None where it did not answer."""
        self.asked_at = self.looked_at = -ASKS_S
        self.waiting = 0
        """Tasks of the array that had not begun when this one was about to go."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nothing that can take long belongs here: from who does not let go for half a minute the lock is taken."""
        self.lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # taken from a process that stood still
                self.lock.release()

    # Its coming

    def wait_turn(self, signals: Sequence[Signals]) -> Outcome | None:
        other = followed_run(self.run)
        said = [entry["event"] for entry in ledger(self.run) if entry["event"] in ("follows", "searching")]
        if other is None or said[-1] == "searching":  # it has begun: what becomes of the other is all the same
            return None
        while (there := standing(other)).state != "done":
            with self.turn():
                if instead := self.nothing_to_do(fold(ledger(self.run))) or self.instead(other, there, signals):
                    return instead
            time.sleep(LOOKS_S)
        return None

    def instead(self, other: RunDir, there: Summary, signals: Sequence[Signals]) -> Outcome | None:
        """What becomes of the sweep while the run that it follows is not done: as of a training, but for all tasks."""
        if not goes_on(there):
            return self.ended(not_begun(self.run, other, there))
        if asked := wish(self.run, ()):
            return self.ended(asked)
        if signals:  # its own end, not the sweep's
            return wish(self.run, signals)
        return self.ended(*behind(self.run, other, there, self.queue)) if there.job is not None else None

    def arrive(self, *, trials: int | None, parallel: int) -> Outcome | None:
        there = fold(ledger(self.run))
        if (nothing := self.nothing_to_do(there)) is not None:
            return nothing
        if there.state not in LIVE or there.job != self.array:  # no process and no host of the sweep's own: those are the tasks'
            record(self.run, "supervising", backend=self.plan.backend, job=self.array)
            record(self.run, "searching", trials=trials, parallel=parallel)
            if idle_arrays(list(ledger(self.run))) > MOST_IDLE:
                reason = f"{MOST_IDLE} arrays in a row took no trial: see logs/slurm-*.out, then launch resume"
                return self.ended(Outcome(state="stopped", exit_code=75, reason=reason))
            if there.successor is not None and there.job == self.array:
                self.followed_by(there.successor)
            else:
                self.errands.send(self.line_up, lambda _: None, lambda _: None)
        record(self.run, JOINED, job=self.own, host=socket.gethostname())
        return None

    def ended(self, outcome: Outcome, job: str | None = None) -> Outcome:
        """Before it began. `job`: the array that is to begin it."""
        record(self.run, outcome.state, reason=outcome.reason, exit_code=outcome.exit_code, job=job or self.array)
        return outcome

    def nothing_to_do(self, there: Summary) -> Outcome | None:
        if there.state in CODES and there.reason != NOT_BEGUN:
            return Outcome(state=there.state, exit_code=0, reason=f"{there.reason or there.state}: nothing is left to do")
        if (there.job or "").isdecimal() and int(there.job or 0) > int(self.array):
            return Outcome(state="queued", exit_code=0, reason=f"array {there.job} goes on with the sweep")
        return None

    def line_up(self) -> None:
        """Queues the array that goes on where all tasks of this one have ended before the sweep is over."""
        try:
            number = self.queue.succeed(self.run, self.job, self.plan, after=self.array)
        except BackendError as error:
            with self.turn():
                self.note(f"no successor could be queued, so that the sweep ends with its array: {error}")
        else:
            with self.turn():
                self.followed_by(number)

    def followed_by(self, number: str) -> None:
        record(self.run, "successor", job=number, reason=f"goes on where array {self.array} ends: queued beforehand")

    def note(self, words: str) -> None:
        record(self.run, "note", reason=words)

    # While it is there

    def look_due(self) -> bool:
        if time.monotonic() - self.looked_at < LOOKS_S:
            return False
        self.looked_at = time.monotonic()
        return True

    def fate(self, run: RunDir, held: Held | None) -> Fate:  # noqa: ARG002
        """The queue has to have been asked after the run was taken."""
        if held is None:
            return "free"
        now = time.monotonic()
        if self.errands.under_way == 0 and now - self.asked_at > self.asks_s:
            self.errands.send(lambda: (now, self.jobs_there()), self.told, lambda _: None)
        if self.jobs is None or self.asked_at <= held.since:
            return "unknown"
        there = self.jobs.get(held.job or "")
        return "held" if there is not None and (there.runs or there.waits) else "left behind"

    def jobs_there(self) -> Mapping[str, Waiting]:
        return self.queue.waiting({os.getuid()})

    def told(self, answer: tuple[float, Mapping[str, Waiting]]) -> None:
        self.asked_at, self.jobs = answer

    def requested(self, what: str) -> bool:
        """It stands there for all of them, until the sweep is submitted again."""
        return self.run.request(what).exists()

    def tick(self) -> None:
        self.errands.tick()

    # Its going

    def ask(self) -> None:
        self.errands.settle(SETTLE_S)
        try:
            self.jobs, self.waiting = self.jobs_there(), self.queue.tasks_waiting(self.array)
        except BackendError:
            self.jobs = None

    def depart(self, departure: Departure, outcome: Outcome) -> None:
        record(self.run, LEFT, job=self.own)
        there = fold(ledger(self.run))
        if there.state not in LIVE or (departure != "over" and self.others()):
            return
        if self.cancelled:
            outcome = Outcome(state="stopped", exit_code=75, reason="somebody's scancel: continue with launch resume")
        if outcome.state == "queued":
            self.hand_on(there, outcome)
        else:
            record(self.run, outcome.state, reason=outcome.reason, exit_code=outcome.exit_code, job=self.array)

    def others(self) -> bool:
        """Whether another task goes on, and is not being ended itself. Where the queue does not answer, it may be so."""
        there = {entry["job"] for entry in ledger(self.run) if entry["event"] == JOINED}
        there -= {entry["job"] for entry in ledger(self.run) if entry["event"] == LEFT} | {self.own}
        jobs = self.jobs
        return bool(there) if jobs is None else any(job in jobs and jobs[job].state == "RUNNING" for job in there)

    def hand_on(self, there: Summary, outcome: Outcome) -> None:
        """Those that wait go on with the sweep, or the array behind them."""
        next_one = self.array if self.waiting else there.successor
        if next_one is None:
            reason = f"{outcome.reason}; no other job is queued: continue with launch resume"
            record(self.run, "stopped", reason=reason, exit_code=75, job=self.array)
            return
        record(self.run, "queued", reason=outcome.reason, exit_code=outcome.exit_code, job=next_one, after=self.array)
        if next_one == self.array and there.successor is not None:
            self.followed_by(there.successor)

    def clear(self, departure: Departure, *, idle: bool) -> None:
        there = fold(ledger(self.run))
        over = departure != "left" or there.state == "stopped"
        if not (over or idle):  # the next task goes on with its trial
            return
        try:
            if self.waiting:
                self.queue.take_back(self.array)
            if over and there.successor is not None:
                self.queue.withdraw(there.successor)
                with self.turn():
                    record(self.run, "withdrawn", job=there.successor)
        except BackendError as error:
            with self.turn():
                self.note(f"what is still queued ends at once when it starts: {error}")


def idle_arrays(entries: list[dict[str, object]]) -> int:
    """In a row, the newest one included."""
    arrays = 0
    for entry in reversed(entries):
        if entry["event"] in (TAKEN, TRIAL) or (entry["event"] == "queued" and entry.get("after") is None):
            break
        arrays += entry["event"] == "supervising"
    return arrays
