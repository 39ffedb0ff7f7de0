"""`--after RUN`: a run that begins once another one is done. Only done counts: otherwise this one ends too, with the reason."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from launcher import backends
from launcher.events import LIVE, Summary, ledger, record
from launcher.rundir import RunDir, forget_requests
from launcher.standing import standing
from launcher.supervisor.cause import Outcome

LOOK_S = 1.0


def follow(run: RunDir, other: RunDir | None) -> None:
    """Writes down which run this one is to follow; None: none any more."""
    record(run, "follows", other=None if other is None else str(other.path))


def followed_run(run: RunDir) -> RunDir | None:
    paths = [entry.get("other") for entry in ledger(run) if entry["event"] == "follows"]
    return RunDir(paths[-1]) if paths and paths[-1] else None


def wait_turn(run: RunDir, backend: str, signals: Sequence[signal.Signals]) -> Outcome | None:
    """Returns when it may begin: None; otherwise how it ended instead.

    In a job of a queue nothing waits on nodes that others could use: the run is queued again, behind the other's next job.
    """
    other = followed_run(run)
    if other is None:
        return None
    told, queue = False, backends.QUEUES.get(backend)
    while goes_on(there := standing(other)):
        if asked := wish(run, signals):
            return ended(run, asked)
        if queue is not None and there.job is not None and queue.own_job() is not None:
            return ended(run, *behind(run, other, there, queue))
        if not told:
            told = True
            own = queue.own_job() if queue is not None else None
            record(run, "queued", job=own, reason=f"waits for run {other.id}, which is {there.state}")
        time.sleep(LOOK_S)
    return None if there.state == "done" else ended(run, not_begun(run, other, there))


def goes_on(there: Summary) -> bool:
    return there.state == "queued" or there.state in LIVE


def jobs_of(there: Summary) -> list[str]:
    """Those in the queue that have the run now or go on with it."""
    return [job for job in dict.fromkeys((there.job, there.successor)) if job is not None] if goes_on(there) else []


def behind(run: RunDir, other: RunDir, there: Summary, queue: backends.Queue) -> tuple[Outcome, str]:
    """Queued again, and the number of the job. Raises BackendError."""
    number = queue.again(run, after=jobs_of(there))
    reason = f"run {other.id}, which it follows, goes on in job {there.job}"
    return Outcome(state="queued", exit_code=75, reason=reason), number


def not_begun(run: RunDir, other: RunDir, there: Summary) -> Outcome:
    why = f": {there.reason}" if there.reason else ""
    return Outcome(state="stopped", exit_code=75, reason=(
        f"run {other.id}, which it was to follow, is {there.state}{why}. Begin all the same with launch resume {run.id}"
    ))  # fmt: skip


def wish(run: RunDir, signals: Sequence[signal.Signals]) -> Outcome | None:
    """How it ends at somebody's wish, before it began."""
    if run.request("cancel").exists():
        return Outcome(state="cancelled", exit_code=130, reason="launch cancel, before it began")
    if run.request("stop").exists():
        return Outcome(state="stopped", exit_code=75, reason="launch stop, before it began")
    if signals:
        code = 130 if signals[0] == signal.SIGINT else 75
        return Outcome(state="stopped", exit_code=code, reason=f"{signals[0].name} received, before it began")
    return None


def ended(run: RunDir, outcome: Outcome, job: str | None = None) -> Outcome:
    forget_requests(run)
    record(run, outcome.state, reason=outcome.reason, exit_code=outcome.exit_code, job=job)
    return outcome
