"""A sweep from this process's beginning to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext

from launcher import backends, provenance
from launcher.errors import BackendError
from launcher.load import load_job
from launcher.plan import Plan, read_plan
from launcher.rundir import RunDir, locked
from launcher.search.company import Alone
from launcher.search.journal import NAME
from launcher.search.loop import Search
from launcher.search.plots import draw_all
from launcher.search.tasks import Tasks
from launcher.search.trials import copied
from launcher.spec import Job
from launcher.supervisor.cause import Outcome
from launcher.supervisor.loop import failing
from launcher.supervisor.pool import Pool
from launcher.supervisor.shown import shown
from launcher.supervisor.signals import Signals


def conduct(run: RunDir, *, screen: Callable[[], None] | None = None, holding: bool = False) -> Outcome:
    """Runs a sweep to its end, or this process's part of it: what `supervise` is for a training.

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
    company = company_of(run, job, plan)
    if instead := company.wait_turn(signals.received):
        return instead
    origins = threading.Thread(target=provenance.keep, args=(run, job.workdir), name="provenance")
    backend, wake = backends.BACKENDS[plan.backend], signals.wake
    with shown(screen), nullcontext() if company.shared else failing(run), ExitStack() as kept:
        with Pool(backend, log=run.agents_log, lost_after_s=plan.lost_after_s, wake=wake) as pool:
            search = Search(run, job, pool, company, at_a_time=plan.at_a_time if company.shared else None)
            kept.callback(search.close)
            with company.turn():
                nothing = company.arrive(trials=search.board.sequence.total, parallel=search.parallel)
            if nothing is not None:
                return nothing
            origins.start()
            outcome = driven(search, signals)
        origins.join()
        return departed(search, outcome)


def driven(search: Search, signals: Signals) -> Outcome:
    while search.outcome is None:
        search.turn(search.pool.poll(search.patience_s), signals)
    return search.outcome


def company_of(run: RunDir, job: Job, plan: Plan) -> Alone | Tasks:
    array = backends.array_of(plan)
    if array is None:
        return Alone(run, plan)
    queue = backends.QUEUES[plan.backend]
    queue.followed()
    return Tasks(run, job, plan, queue, array=array)


def departed(search: Search, outcome: Outcome) -> Outcome:
    """What is left to be done once all agents are gone. The ledger before the queue: what starts all the same reads it there."""
    company, board = search.company, search.board
    company.ask()
    hurried = search.ending in ("interrupt", "cancel", "leave")  # drawing takes seconds
    if search.job.log.plots and search.sweep.parameters and not hurried and search.departure != "left":
        draw_all(search.run.path / NAME, search.run.id, search.sweep.metric, search.run.plots)
    with company.turn():
        board.catch_up()
        board.write()
        company.depart(search.departure, outcome)
    company.clear(search.departure, idle=search.ending is None)
    return outcome
