"""Who runs the trials of a sweep: one process that has it for itself, or the tasks of an array, with the same methods."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from signal import Signals
from typing import Literal

from launcher import backends
from launcher.events import record
from launcher.plan import Plan
from launcher.rundir import RunDir, owner
from launcher.supervisor import following
from launcher.supervisor.cause import Outcome

Fate = Literal["free", "held", "left behind", "unknown"]
"""Of a run that has not ended: nobody has it, somebody has, whoever had it died, or the queue has still to say."""
Departure = Literal["over", "ended", "left"]
"""Of a process: the sweep is over; somebody has ended it for now; this process alone has nothing more to do."""


@dataclass(frozen=True)
class Held:
    """A run of a trial in the hands of a task."""

    job: str | None
    """The task's."""
    since: float
    """When this process learned of it (time.monotonic)."""


class Alone:
    """One process has the sweep's lock, and with it all of its trials, but for one that somebody goes on with by itself."""

    shared = False
    """Whether other processes draw and run trials too."""

    def __init__(self, run: RunDir, plan: Plan) -> None:
        self.run, self.plan = run, plan
        queue = backends.QUEUES.get(plan.backend)
        self.own = queue.own_job() if queue is not None else None
        """The queue job that this process runs in."""
        self.cancelled = False
        """Whether somebody took that job out of the queue."""

    def turn(self) -> AbstractContextManager[None]:
        """Nobody else draws, takes or ends a trial meanwhile."""
        return nullcontext()

    def wait_turn(self, signals: Sequence[Signals]) -> Outcome | None:
        """Until the run is over that the sweep is to follow. How it ended or was queued, where it does not begin now."""
        return following.wait_turn(self.run, self.plan.backend, signals)

    def arrive(self, *, trials: int | None, parallel: int) -> Outcome | None:
        """In its turn. How the sweep stands, where nothing is left to do."""
        record(self.run, "supervising", backend=self.plan.backend, pid=os.getpid(), host=socket.gethostname(), job=self.own)
        record(self.run, "searching", trials=trials, parallel=parallel)
        return None

    def look_due(self) -> bool:
        """Whether it is time to look for a trial again after there was none."""
        return True

    def fate(self, run: RunDir, held: Held | None) -> Fate:  # noqa: ARG002
        """The lock of a dead process is nobody's."""
        return "free" if owner(run) is None else "held"

    def requested(self, what: str) -> bool:
        """Whether somebody asked for this end of the sweep."""
        asked = self.run.request(what).exists()
        self.run.request(what).unlink(missing_ok=True)
        return asked

    def tick(self) -> None:
        """Takes in what a queue has answered."""

    def ask(self) -> None:
        """Once more, before it goes."""

    def depart(self, departure: Departure, outcome: Outcome) -> None:  # noqa: ARG002
        """In its turn. Tells how the sweep stands, where that is on this process."""
        record(self.run, outcome.state, reason=outcome.reason, exit_code=outcome.exit_code)

    def clear(self, departure: Departure, *, idle: bool) -> None:
        """Leaves nothing in a queue that would have nothing to do. `idle`: as this process, which found no trial to take."""
