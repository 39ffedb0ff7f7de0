"""From a job to a run directory in which everything stands that a supervisor needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from launcher import backends, provenance, snapshot
from launcher.errors import BackendError, UsageError, did_you_mean, near
from launcher.events import record
from launcher.load import dump_job
from launcher.plan import Plan, make_plan, settle
from launcher.rundir import PLACEHOLDER, RunDir, locked, new_run_dir, write_atomic, write_json
from launcher.spec import Job


def plan_for(job: Job) -> Plan:
    """The plan on what there is. Raises BackendError; UsageError where the script is not there, or the code too large to copy."""
    plan = make_plan(job, backends.of(job).cluster(job))
    refuse_missing_script(job)
    if copies(plan):
        snapshot.survey(job)
    return plan


def copies(plan: Plan) -> bool:
    """Whether the run executes in a copy of the code."""
    return plan.entry.cwd.startswith(PLACEHOLDER)


def prepare(job: Job, plan: Plan, runs: Path) -> RunDir:
    """A new run directory, nothing started. Raises BackendError, and leaves nothing then."""
    run = new_run_dir(runs, job.name)
    try:
        write(run, job, plan)
        with locked(run):  # where the file system keeps no locks there shall be no run
            pass
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    record(run, "prepared", backend=plan.backend)
    return run


def refuse_missing_script(job: Job) -> None:
    """Every rank would fail of it, after a start of seconds."""
    if job.run is None or job.run.script is None or (script := Path(job.workdir) / job.run.script).exists():
        return
    there = [each.name for each in script.parent.glob("*.py")]
    hint = did_you_mean(near(script.name, there)) or " Relative paths start at workdir."
    raise UsageError(f"run.script: there is no file {script}.{hint}")


def write(run: RunDir, job: Job, plan: Plan, *, code: Path | None = None) -> None:
    """job.yaml and plan.json; an earlier job.yaml that says something else is kept as job-N.yaml.

    `code`: a copy of the code that is taken already, and shared with others.
    """
    text = dump_job(settle(job, plan))
    try:
        if run.job.exists() and run.job.read_text() != text:
            number = 1 + sum(1 for _ in run.path.glob("job-*.yaml"))
            write_atomic(run.path / f"job-{number}.yaml", run.job.read_bytes())  # a copy: there is a job.yaml at any instant
        if copies(plan) and code is not None:
            snapshot.share(run, code)
        elif copies(plan):
            snapshot.take(run, job)
            provenance.keep_code(run, job.workdir)  # as it is now: a job may wait in its queue for days
        write_atomic(run.job, text)
        write_json(run.plan, plan.to_json())
    except OSError as error:
        raise BackendError(f"cannot write into {run.path}: {error.strerror}") from None
    except UnicodeEncodeError as error:
        raise BackendError(f"the job names something that is no UTF-8: {error.object!r}. Rename it") from None
