"""From a job to a run directory in which everything stands that a supervisor needs."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from launcher import backends
from launcher.errors import BackendError, UsageError
from launcher.events import record
from launcher.load import dump_job
from launcher.plan import Plan, make_plan, settle
from launcher.rundir import RunDir, new_run_dir, write_atomic, write_json
from launcher.spec import Job


def plan_for(job: Job) -> Plan:
    """The plan on what there is. Raises BackendError, and UsageError where the script is not there."""
    plan = make_plan(job, backends.choose(job.resources.backend).cluster(job))
    refuse_missing_script(plan)
    return plan


def prepare(job: Job, plan: Plan, runs: Path) -> RunDir:
    """A new run directory, nothing started. Raises BackendError."""
    run = new_run_dir(runs, job.name)
    write(run, job, plan)
    record(run, "prepared", backend=plan.backend)
    return run


def refuse_missing_script(plan: Plan) -> None:
    """Every rank would fail of it, after a start of seconds."""
    script = Path(plan.entry.target)
    if plan.entry.kind != "script" or script.exists():
        return
    near = get_close_matches(script.name, [each.name for each in script.parent.glob("*.py")], n=1)
    hint = f" Did you mean '{near[0]}'?" if near else " Relative paths start at workdir."
    raise UsageError(f"run.script: there is no file {script}.{hint}")


def write(run: RunDir, job: Job, plan: Plan) -> None:
    """job.yaml and plan.json; an earlier job.yaml that says something else is kept as job-N.yaml."""
    text = dump_job(settle(job, plan))
    try:
        if run.job.exists() and run.job.read_text() != text:
            number = 1 + sum(1 for _ in run.path.glob("job-*.yaml"))
            write_atomic(run.path / f"job-{number}.yaml", run.job.read_bytes())  # a copy: there is a job.yaml at any instant
        write_atomic(run.job, text)
        write_json(run.plan, plan.to_json())
    except OSError as error:
        raise BackendError(f"cannot write into {run.path}: {error.strerror}") from None
