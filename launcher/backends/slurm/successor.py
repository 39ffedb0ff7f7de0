"""The job that goes on with a run when this one is over: queued beforehand, so that the death of the batch host costs nothing.

Submitted with `--dependency=afterany`, never requeued: two jobs of a run cannot run at the same time. Where this job ends for
a node that was lost, it does not wait: the dead node keeps a job completing until Slurm's own timeout.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from launcher.backends.slurm.exclusion import exclusion, left_out, told
from launcher.backends.slurm.queue import scontrol, slurm
from launcher.backends.slurm.script import render, template
from launcher.events import record
from launcher.plan import Plan
from launcher.rundir import RunDir, write_atomic
from launcher.spec import Job

SCRIPT = "job.sbatch"
FOLLOWS = "LAUNCHER_FOLLOWS"
"""In a successor's environment: the job that it follows."""
OURS = ("SLURM_", "SBATCH_", "SRUN_")
"""Of this job's own environment nothing may reach the next one's; SLURM_CONF apart."""


def succeed(run: RunDir, job: Job, plan: Plan, *, after: str) -> str:
    """Queues the successor; its number. Raises BackendError."""
    script = run.path / SCRIPT
    if not script.exists():  # this job was submitted by hand
        write_atomic(script, render(job, plan, run, template()))
    number, bad = queued(run, job, f"--dependency=afterany:{after}", env={**afresh(), FOLLOWS: after})
    note(run, number, bad)
    return number


def queued(run: RunDir, job: Job, *options: str, env: Mapping[str, str] = os.environ) -> tuple[str, Sequence[str]]:
    """Submits the run's script; the job's number, and the hosts that it does without. Raises BackendError."""
    script = run.path / SCRIPT
    bad = left_out(job, script.read_text(), env=env)
    return sbatch(*options, *exclusion(job, bad), str(script), env=env), bad


def note(run: RunDir, number: str, bad: Sequence[str]) -> None:
    if bad:
        record(run, "note", job=number, reason=f"job {number} is queued without hosts that failed lately: {told(bad)}")


def sbatch(*argv: str, env: Mapping[str, str] = os.environ) -> str:
    """The number of what is queued. Raises BackendError."""
    return slurm("sbatch", "--parsable", *argv, env=env).strip().split(";")[0]


def afresh() -> dict[str, str]:
    """This process's environment as it was outside its job."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS) or name == "SLURM_CONF"}


def release(successor: str, job: Job, without: Sequence[str]) -> None:
    """It need not wait any longer, and is not given these hosts, where that leaves enough of them. Raises BackendError."""
    script = scontrol("write", "batch_script", successor, "-")
    exclude = exclusion(job, left_out(job, script, without, env=afresh()), option="ExcNodeList")
    scontrol("update", f"JobId={successor}", "Dependency=", *exclude)


def withdraw(successor: str) -> None:
    """Raises BackendError. One that has gone already is no error."""
    slurm("scancel", "--quiet", successor)


def followed() -> str | None:
    """The job that this one was queued to follow. Taken out of the environment: ranks have no use for it."""
    return os.environ.pop(FOLLOWS, None)
