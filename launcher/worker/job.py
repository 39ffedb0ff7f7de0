"""The job of a run directory, as a rank takes it up."""

from __future__ import annotations

import sys

from launcher.errors import SpecError
from launcher.load import load_job
from launcher.rundir import RunDir, read_json
from launcher.spec import Job
from launcher.worker.errors import WorkerError


def read_job(run: RunDir) -> Job:
    """The run's job, its workdir importable. Raises WorkerError where it is wrong, or the directory is none of a training."""
    if not run.job.is_file():
        raise WorkerError(
            f"{run.path} holds no job.yaml: it is not a run directory. Make one with 'launch --prepare SPEC'", kind="spec"
        )
    try:
        job = load_job(run.job)
    except SpecError as error:
        raise WorkerError(str(error), kind="spec") from None
    if job.train is None:
        raise WorkerError(f"{run.job} has no train: its program is started by 'launch', not by this worker", kind="spec")
    if (folder := code_of(run, job)) not in sys.path:
        sys.path.insert(0, folder)
    return job


def code_of(run: RunDir, job: Job) -> str:
    """Where the user's modules are: workdir, or the copy of it that the run executes in."""
    entry = (read_json(run.plan) or {}).get("entry") or {}
    return run.fill(entry.get("cwd", job.workdir))
