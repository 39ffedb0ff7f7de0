"""How a run stands where a queue has a say: its own ledger first, and the queue for what no ledger can tell.

A job that waits, that was taken out of the queue, or that vanished with its node writes nothing. And a lock may not be seen
across machines: then a job that runs is believed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace

from launcher import backends
from launcher.backends.waiting import Waiting
from launcher.errors import BackendError, UsageError
from launcher.events import DIED, LIVE, Summary, fold, ledger, summarize
from launcher.rundir import RunDir, refuse_live

SURE = LIVE | {"done", "failed", "cancelled"}
SILENT = "the queue does not answer ({}): this is what the run's own ledger says"


class Look:
    """One look at the queue for many runs: it is asked when the first of them needs it, and once."""

    def __init__(self, runs: Iterable[RunDir]) -> None:
        self.runs = list(runs)
        self.found: dict[str, Mapping[str, Waiting] | str] = {}
        self.silent: dict[str, Mapping[str, str]] = {}

    def at(self, backend: str) -> Mapping[str, Waiting]:
        """Raises BackendError, and again without another question."""
        if backend not in self.found:
            try:
                self.found[backend] = backends.QUEUES[backend].waiting({run.path.stat().st_uid for run in self.runs})
            except BackendError as error:
                self.found[backend] = str(error)
        found = self.found[backend]
        if isinstance(found, str):
            raise BackendError(found)
        return found

    def dead(self, backend: str) -> Mapping[str, str]:
        """Nodes that the queue has lost sight of, and its word for each. Raises BackendError."""
        if backend not in self.silent:
            self.silent[backend] = backends.QUEUES[backend].dead_hosts()
        return self.silent[backend]


def standing(run: RunDir, look: Look | None = None, *, holding: bool = False) -> Summary:
    """The run as it is now, the queue's word included. `holding`: this process has its lock, which tells nothing then."""
    summary = summarize(run)
    if summary.backend is None or summary.backend not in backends.QUEUES or (summary.state in SURE and not holding):
        return summary
    told, died_here = summary, False
    if holding or summary.state != "queued" or summary.successor is not None:
        entries = list(ledger(run))
        told = fold(entries)
        hosts = [entry.get("host") for entry in entries if entry["event"] == "supervising"]
        died_here = told.state in LIVE and hosts[-1:] == [socket.gethostname()]
    if told.state not in LIVE | {"queued"}:
        return told if holding else summary
    if died_here and told.successor is None:  # on this very machine, whose locks are seen, nobody has it
        return replace(told, state="stopped", reason=DIED)
    look = look or Look([run])
    try:
        jobs = look.at(summary.backend)
        died = "its supervisor died" if died_here else lost(told, jobs, look)
    except BackendError as error:
        return replace(told, reason="; ".join(filter(None, (told.reason, SILENT.format(error)))))
    return by_queue(told, jobs, died=died)


def lost(told: Summary, jobs: Mapping[str, Waiting], look: Look) -> str | None:
    """Slurm keeps a job whose batch host has died as running, for as long as its other nodes live."""
    own = jobs.get(told.job or "")
    if told.state not in LIVE or told.backend is None or own is None or not own.runs or own.host is None:
        return None
    state = look.dead(told.backend).get(own.host)
    return None if state is None else f"{own.host}, where its supervisor ran, is dead ({state}, says the queue)"


def by_queue(told: Summary, jobs: Mapping[str, Waiting], *, died: str | None = None) -> Summary:
    """`told`: what the ledger says of a run that waits, or that nobody is seen to hold. `died`: what its supervisor died of."""
    own, next_one = jobs.get(told.job or ""), jobs.get(told.successor or "")
    if own is not None and own.runs and died is None:
        if told.state != "queued":
            return told
        return replace(told, state="starting", reason=f"job {own.number} has begun{on(own)}: its supervisor is about to start")
    for job in (own, next_one):
        if job is not None and job.runs and job is next_one:
            return replace(told, state="starting", job=job.number, reason=f"job {job.number} goes on with it{on(job)}")
        if job is not None and job.waits:
            before = f"; {died or told.reason}" if died or told.reason else ""
            return replace(
                told, state="queued", job=job.number, reason=f"job {job.number} waits: {job.reason or job.state}{before}"
            )
    return replace(
        told, state="stopped", reason=f"{died or ended(told.job, own)}, and nothing follows: continue with launch resume"
    )


def on(job: Waiting) -> str:
    return f" on {job.host}" if job.host else ""


def ended(number: str | None, job: Waiting | None) -> str:
    """Of a job that left no word in the ledger."""
    if job is None:
        return f"job {number} is no longer in the queue, and left no word"
    reason = f" ({job.reason})" if job.reason else ""
    return f"job {number} ended as {job.state}{reason} without a word: see logs/slurm-{number}*.out"


def refuse_busy(run: RunDir, *, holding: bool = False) -> None:
    """Raises UsageError where somebody has it (`holding`: the caller's own lock apart), or a job waits for it."""
    if not holding:
        refuse_live(run)
    summary = standing(run, holding=holding)
    if holding and summary.backend not in backends.QUEUES:
        return
    if summary.state == "queued" or summary.state in LIVE:
        raise UsageError(
            f"run {run.id} is {summary.state} as job {summary.job}{f': {summary.reason}' if summary.reason else ''}. "
            f"See it with 'launch status {run.id}', end it with 'launch stop {run.id}'"
        )
