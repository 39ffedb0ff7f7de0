"""What a queue says of a job, whichever queue it is."""

from __future__ import annotations

from dataclasses import dataclass

PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
ACTIVE = frozenset({"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"})


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job in the queue, or lately in it."""

    number: str
    state: str
    """In the queue's own word: PENDING, RUNNING, TIMEOUT ..."""
    reason: str | None = None
    """Why it waits, or why it ended, in the queue's own word: Priority, Resources, Dependency ..."""
    host: str | None = None
    """Where its batch script runs."""

    @property
    def waits(self) -> bool:
        return self.state in PENDING

    @property
    def runs(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A job's standing in the queue."""

    state: str
    began: float | None
    """Seconds since the epoch."""
    ends: float | None
    """When its time limit is reached; None where it has none, and once the job is being ended."""
    preempted: bool
    """Whether it has to make room for another job."""
    given_up: bool = False
    """Whether agents that were left without its batch host cancelled it."""
