"""A run's life over several queue jobs: the successor that was queued beforehand, the time limit, and who is pushing us out.

The queue is asked beside the loop. Where there is none (this machine, hosts) all of it is silence.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from launcher import backends
from launcher.errors import BackendError
from launcher.events import ledger, record
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.supervisor.errands import Errands
from launcher.supervisor.lead import lead_s, measured

Why = Literal["limit", "preempted", "given up", "stop"]
LOOKS_S = 2.0
FRESH_S = 30.0
"""A time limit that was asked for so lately is believed: an administrator may have moved it."""
ANSWER_S = 5.0
"""After a SIGTERM, what the controller has not said by then is not waited for."""
SETTLE_S = 15.0
OVERDUE_S = 5.0
"""Slurm ends a job some seconds after its limit, never before."""
CLOCKS_S = 60.0
"""So far this clock may be behind the controller's, where this job saves for its limit as it is."""


class Succession:
    def __init__(self, run: RunDir, job: Job, plan: Plan, *, alone: bool = True) -> None:
        """`alone`: the queue job is this run's; a sweep's goes on after its trials."""
        self.run, self.job, self.plan = run, job, plan
        self.queue = backends.QUEUES.get(plan.backend)
        self.errands = Errands()
        self.number = self.queue.own_job() if self.queue is not None else None
        self.batch = alone and self.number is not None and self.queue is not None and self.queue.is_batch_script()
        """Whether nothing is left of the job when this run ends. Only then has it a successor."""
        self.began = time.time()
        self.ends: float | None = None
        self.next: str | None = None
        self.asked_at = self.looked_at = float("-inf")
        self.preempted = self.given_up = False
        self.over = False
        """Whether the run's end was decided."""

    def begin(self) -> None:
        """Asks for the time limit, and queues the successor."""
        self.ask()
        number, queue = self.number, self.queue
        for earlier in left_over(list(ledger(self.run)), number) if queue is not None else ():
            self.next = earlier
            self.withdraw()
        if self.batch and queue is not None and number is not None:
            self.errands.send(
                lambda: queue.succeed(self.run, self.job, self.plan, after=number),
                self.lined_up,
                lambda words: self.note(f"no successor could be queued, so that this run ends with its job: {words}"),
            )

    def lined_up(self, number: str) -> None:
        self.next = number
        record(self.run, "successor", job=number, reason=f"goes on where job {self.number} ends: queued beforehand")
        if self.over:  # a run of a second
            self.withdraw()

    def ask(self) -> None:
        """What the controller says of this job now."""
        queue, number = self.queue, self.number
        if queue is not None and number is not None:
            self.asked_at = time.monotonic()
            self.errands.send(
                lambda: queue.standing(number), self.told, lambda words: self.note(f"Slurm does not answer: {words}")
            )

    def told(self, standing: backends.Standing) -> None:
        self.preempted = self.preempted or standing.preempted
        self.given_up = self.given_up or standing.given_up
        self.began = standing.began or self.began
        if standing.state == "RUNNING":  # of one that is being ended, the end is told, not the limit
            self.ends = standing.ends

    def note(self, words: str) -> None:
        record(self.run, "note", reason=words)

    def tick(self) -> bool:
        """Whether it is time to save because of the time limit."""
        self.errands.tick()
        now = time.monotonic()
        if self.ends is None or now - self.looked_at < LOOKS_S:
            return False
        self.looked_at = now
        if time.time() < self.ends - self.lead():
            return False
        if now - self.asked_at > FRESH_S:
            self.ask()  # it may have been moved; the next look decides
            return False
        return True

    def lead(self) -> float:
        assert self.ends is not None
        grace_s = 0.0 if self.plan.entry.kind == "worker" else 2 * self.plan.entry.stop_grace_s
        return lead_s(measured(self.run), grace_s=grace_s, whole_s=self.ends - self.began)

    def hinted(self) -> None:
        """Slurm's own warning, which may come a minute early: training goes on until the lead that was measured."""
        self.ask()
        self.errands.send(lambda: None, lambda _: self.tell_limit(), lambda _: None)

    def tell_limit(self) -> None:
        if self.ends is not None:
            left = self.ends - time.time()
            self.note(f"warned of the time limit: {left:.0f} s are left, of which the last {self.lead():.0f} are for saving")

    def why_terminated(self, *, saving: bool) -> Why:
        """Of a SIGTERM, once the controller has told (or did not): what is neither of these is somebody's scancel."""
        if self.preempted:
            return "preempted"
        if self.given_up:
            return "given up"
        early_s = CLOCKS_S if saving else OVERDUE_S
        return "limit" if self.ends is not None and time.time() >= self.ends - early_s else "stop"

    def leave(self, without: Sequence[str]) -> None:
        """The successor goes on now, on other hosts than those that failed."""
        queue, successor = self.queue, self.next
        if queue is not None and successor is not None:
            self.errands.send(
                lambda: queue.release(successor, self.job, without),
                lambda _: None,
                lambda words: self.note(f"job {successor} waits until Slurm gives up the lost node: {words}"),
            )

    def withdraw(self) -> None:
        """The run has ended: nothing may be left in the queue."""
        queue, successor = self.queue, self.next
        if queue is not None and successor is not None:
            self.next = None
            self.errands.send(
                lambda: queue.withdraw(successor),
                lambda _: record(self.run, "withdrawn", job=successor),
                lambda words: self.note(f"job {successor} is still queued, and ends at once when it starts: {words}"),
            )

    def abandon(self) -> None:
        """Where the supervisor itself failed (a full disk): its successor would fail too, and find no place to say so."""
        if self.over or self.queue is None:
            return
        with suppress(BackendError, OSError):
            self.errands.settle(ANSWER_S)
            if self.next is not None:
                self.queue.withdraw(self.next)

    def close(self) -> None:
        if not self.errands.settle(SETTLE_S):
            self.note("Slurm's controller does not answer: what was asked of it last may not have been done")


def left_over(entries: Sequence[Mapping[str, Any]], own: str | None) -> list[str]:
    """Successors that could not be withdrawn, and may still be queued, or wait for the run, while another job goes on with it."""
    queued = [entry.get("job") for entry in entries if entry["event"] == "successor"]
    settled = [entry.get("job") for entry in entries if entry["event"] in ("withdrawn", "supervising")]
    return [number for number in dict.fromkeys(queued) if number and number != own and number not in settled]
