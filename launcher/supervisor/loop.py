"""The supervisor: one loop that decides, while agents and ranks obey. The same for every backend."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

from launcher import backends, provenance
from launcher.errors import BackendError
from launcher.events import record
from launcher.load import load_job
from launcher.plan import read_plan
from launcher.rundir import RunDir, forget_requests, locked
from launcher.supervisor import arrival
from launcher.supervisor.cause import Outcome as Outcome
from launcher.supervisor.following import wait_turn
from launcher.supervisor.pool import Pool
from launcher.supervisor.shown import shown
from launcher.supervisor.signals import Signals
from launcher.supervisor.supervision import Supervision as Supervision

LOOKS_S = 0.5


def supervise(run: RunDir, *, screen: Callable[[], None] | None = None, holding: bool = False) -> Outcome:
    """Runs it to its end, whatever dies under it; `screen` is called about ten times a second, in a thread of its own.

    `holding`: the caller holds the run's lock already.

    Raises UsageError where somebody else supervises the run, BackendError where the environment is wrong.
    """
    try:
        with nullcontext() if holding else locked(run), Signals() as signals:
            if not holding:
                forget_requests(run)
            return supervise_held(run, signals, screen)
    except OSError as error:
        raise BackendError(
            f"cannot write into {run.path}: {error.strerror or error}. The ranks were ended; make room there, "
            f"then continue with 'launch resume {run.id}'"
        ) from None


@contextmanager
def failing(run: RunDir) -> Iterator[None]:
    """What is wrong with the environment is the run's end: without a word of it, it would count as stopped."""
    try:
        yield
    except (BackendError, OSError) as error:
        with suppress(OSError):  # there may be no room for it
            record(run, "failed", reason=str(error), exit_code=BackendError.exit_code)
        raise


def supervise_held(run: RunDir, signals: Signals, screen: Callable[[], None] | None) -> Outcome:
    plan, job = read_plan(run), load_job(run.job)
    queue = backends.QUEUES.get(plan.backend)
    followed = queue.followed() if queue is not None else None
    if followed is not None and (over := arrival.already_over(run)):
        return over
    if followed is None and (instead := wait_turn(run, plan.backend, signals.received)):
        return instead
    if plan.provisional or followed is not None:
        job, plan = arrival.arrive(run, job, plan)
    elif queue is not None and queue.is_batch_script() and (number := queue.own_job()) is not None:
        job = arrival.by_hand(run, job, queue, number)
    plan = plan.filled(run)
    if followed is not None:
        arrival.account_for(run, followed)
    record(run, "supervising", backend=plan.backend, pid=os.getpid(), host=socket.gethostname(),
           job=queue.own_job() if queue is not None else None)  # fmt: skip
    if followed is not None and job.train is not None and (reason := arrival.stuck(run, job.retry.max_restarts)):
        record(run, "failed", reason=reason, exit_code=1)
        return Outcome(state="failed", exit_code=1, reason=reason)
    # Beside the start, not before it: git and the packages' metadata can take seconds, and the agents want to be pinged.
    origins = threading.Thread(target=provenance.keep, args=(run, job.workdir), name="provenance")
    backend = backends.BACKENDS[plan.backend]
    with (
        shown(screen),
        failing(run),
        Pool(backend, log=run.agents_log, lost_after_s=plan.lost_after_s, wake=signals.wake) as pool,
        ExitStack() as locks,
    ):
        supervision = Supervision(run, job, plan, pool, follows=followed is not None)
        locks.callback(supervision.succession.abandon)
        origins.start()
        drive(supervision, pool, signals, locks)
    supervision.succession.close()
    origins.join()
    assert supervision.outcome is not None
    return supervision.outcome


def drive(supervision: Supervision, pool: Pool, signals: Signals, locks: ExitStack) -> None:
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
