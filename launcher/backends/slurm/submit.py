"""From a prepared run to a job in the queue."""

from __future__ import annotations

from launcher.backends.slurm.queue import slurm
from launcher.backends.slurm.script import render, template
from launcher.events import record
from launcher.plan import Plan
from launcher.rundir import RunDir, write_atomic
from launcher.spec import Job

SCRIPT = "job.sbatch"


def submit(run: RunDir, job: Job, plan: Plan) -> str:
    """The job's number. Raises BackendError with what Slurm says against it."""
    run.logs.mkdir(exist_ok=True)
    script = run.path / SCRIPT
    write_atomic(script, render(job, plan, run, template()))
    number = slurm("sbatch", "--parsable", str(script)).strip().split(";")[0]
    record(run, "queued", job=number, backend="slurm")
    return number
