"""From a job to the queue: looked at first, so that what can never run is told now and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from launcher.backends.slurm.partitions import fitting, partitions
from launcher.backends.slurm.queue import asked, complaint
from launcher.backends.slurm.script import render, template
from launcher.backends.slurm.successor import SCRIPT, afresh, note, queued, sbatch
from launcher.errors import BackendError
from launcher.events import record
from launcher.plan import Plan
from launcher.rundir import RunDir, forget_requests, write_atomic
from launcher.spec import Job

ANYWHERE = RunDir("/tmp")  # noqa: S108  # nothing is written there
"""In the place of a run directory that does not exist yet."""


def examine(job: Job, plan: Plan) -> None:
    """Raises BackendError where the job could never run, with what there is instead."""
    interpreter_there(job)
    fitting(job, partitions())
    done = asked(("sbatch", "--test-only"), text=render(job, plan, ANYWHERE, template()))
    if done.returncode != 0:
        raise BackendError(
            f"Slurm refuses the job: {complaint(done)}. It was asked for what --dry-run shows; "
            "'sinfo' and 'launch doctor' show what there is"
        )


def interpreter_there(job: Job) -> None:
    """Where nothing will be loaded that brings it. Raises BackendError."""
    given = job.environment.python
    if given is None or job.environment.setup or job.environment.container:
        return
    if shutil.which(given) is None:
        what = "no such file" if not Path(given).exists() else "not executable"
        raise BackendError(
            f"environment.python: {given}: {what}. It starts the agents; leave it out to take the one that runs launch, "
            "or load it with environment.setup"
        )


def submit(run: RunDir, job: Job, plan: Plan, *, after: Sequence[str] = ()) -> str:
    """The job's number. It waits for the jobs `after` to end. Raises BackendError."""
    write_script(run, job, plan)
    forget_requests(run)
    waits = (f"--dependency=afterany:{':'.join(after)}",) if after else ()
    number, bad = queued(run, job, *waits)
    record(run, "queued", job=number, backend="slurm")
    note(run, number, bad)
    return number


def write_script(run: RunDir, job: Job, plan: Plan) -> Path:
    run.logs.mkdir(exist_ok=True)
    path = run.path / SCRIPT
    write_atomic(path, script(job, plan, run))
    return path


def script(job: Job, plan: Plan, run: RunDir) -> str:
    return render(job, plan, run, template())


def by_hand(run: RunDir, job: Job, plan: Plan) -> tuple[str, ...]:
    """The command that submits a prepared run."""
    return ("sbatch", str(write_script(run, job, plan)))


def again(run: RunDir, *, after: Sequence[str]) -> str:
    """Submits the run's script once more, to wait for further jobs; its number. Raises BackendError."""
    return sbatch(f"--dependency=afterany:{':'.join(after)}", str(run.path / SCRIPT), env=afresh())
