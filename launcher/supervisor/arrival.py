"""A supervisor that finds itself in a queue job: what it has been given, and what became of the job before it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from launcher import backends
from launcher.backends.waiting import ACTIVE, PENDING
from launcher.errors import BackendError, LaunchError
from launcher.events import LIVE, State, fold, ledger, record
from launcher.load import dump_job
from launcher.plan import Plan, make_plan, read_plan, settle
from launcher.rundir import RunDir, locked, owner, write_atomic, write_json
from launcher.spec import Job
from launcher.supervisor.cause import Outcome
from launcher.supervisor.ladder import Budget, carried, jobs_without_progress

CODES: dict[State, int] = {"done": 0, "failed": 1, "stopped": 75, "cancelled": 130}

ASKS_S = 5.0
"""Between two questions whether the job before is over; and so long one that is over may take for its last words."""


def held(run: RunDir, *, follows: str | None, inherited: int | None, patience_s: float) -> AbstractContextManager[int]:
    """Holds the run, waiting so long for whoever has it. Raises UsageError, BackendError.

    From a job `follows` that is over it is taken: a host that stands still never lets go, and finds out when it goes on.
    """
    until = time.monotonic() + patience_s
    while follows is not None and owner(run) is not None and time.monotonic() < until:
        over = is_over(read_plan(run).backend, follows)
        time.sleep(ASKS_S)
        if over and owner(run) is not None:
            run.lock.unlink(missing_ok=True)
    return locked(run, inherited=inherited, patience_s=max(0.25, until - time.monotonic()))


def is_over(backend: str, job: str) -> bool:
    """Where the queue does not answer it may not be."""
    queue = backends.QUEUES.get(backend)
    try:
        return queue is not None and queue.standing(job).state not in (*PENDING, *ACTIVE, "")
    except BackendError:
        return False


def arrive(run: RunDir, job: Job, plan: Plan) -> tuple[Job, Plan]:
    """The plan anew, on the nodes that the queue gave. Raises BackendError, having said so in the ledger."""
    try:
        plan = make_plan(job, backends.BACKENDS[plan.backend].cluster(job))
    except LaunchError as error:
        record(run, "failed", reason=str(error), exit_code=error.exit_code)
        raise
    job = settle(job, plan)
    write_atomic(run.job, dump_job(job))
    write_json(run.plan, plan.to_json())
    return job, plan


def by_hand(run: RunDir, job: Job, queue: backends.Queue, number: str) -> Job:
    """What the user gave to the queue beside the job file becomes part of the job. Before any agent reads job.yaml."""
    try:
        job = queue.as_given(job, number)
    except BackendError as error:
        record(run, "note", reason=f"successors get what the job file says, not what was given by hand: {error}")
        return job
    write_atomic(run.job, dump_job(job))
    return job


def already_over(run: RunDir) -> Outcome | None:
    """A successor whose run has ended, and which could not be taken out of the queue, has nothing to do."""
    summary = fold(ledger(run))
    if summary.state not in CODES:
        return None
    return Outcome(state=summary.state, exit_code=0, reason=f"{summary.reason or summary.state}: nothing is left to do")


def account_for(run: RunDir, followed: str) -> None:
    """A job that died with the run in its hands (its node, or its supervisor alone) said nothing: it is said here."""
    summary = fold(ledger(run))
    if summary.state in LIVE:
        died = f"job {followed} ended without a word: its supervisor died, or the node that it ran on"
        record(run, "failure", attempt=summary.attempts or None, kind="agent", reason=f"{died}. Its successor goes on")


def budget_left(run: RunDir, allowed: int, progress: int) -> Budget:
    return carried(list(ledger(run)), allowed=allowed, progress=progress)


def stuck(run: RunDir, allowed: int) -> str | None:
    """Why not to go on, where job after job has made no progress."""
    jobs = jobs_without_progress(list(ledger(run)))
    if jobs <= allowed + 1:
        return None
    return f"{jobs - 1} jobs in a row left no new checkpoint: another one would end the same"
