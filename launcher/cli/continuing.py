"""What may change when a run is resumed (CONTRACTS: launch resume), and the run directory made ready for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from launcher import backends
from launcher.errors import UsageError
from launcher.events import ledger, summarize
from launcher.load import differences, dump_job, load_job, parse_job
from launcher.plan import Plan, read_plan, settle, unsettle
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir
from launcher.spec import Job

MAY_CHANGE = ("resources", "log", "retry", "checkpoint", "env", "environment", "workdir", "run.args", "run.stop_grace")
MAY_GROW = ("train.epochs", "train.max_steps")
WITHOUT_TOTAL = frozenset({"constant", "step", "multi_step", "exponential", "cosine_restarts", "plateau"})
"""Schedules that do not depend on the run's length."""
LENGTH_OF = {"cosine": "T_max", "linear": "total_iters", "polynomial": "total_iters"}
"""Of others, the argument that puts another length in its place."""


def continued(run: RunDir, overrides: Sequence[str], flags: Mapping[str, str | None]) -> tuple[Job, Plan] | None:
    """Writes the changed job and its plan; None where the run is done and nothing makes it longer. The caller holds the run.

    Raises UsageError where a change would alter the mathematics, SpecError where the job is wrong.
    """
    old = load_job(run.job)
    new = changed(run, old, overrides, flags)
    changes = differences(load_job(run.begun) if run.begun.exists() else old, new)
    if refused := [change for change in changes if not allowed(change, new)]:
        raise UsageError(refusal(run, refused))
    over = summarize(run).state == "done"
    if over and (stopped_early(run) or not any(path in MAY_GROW for path, _, _ in changes)):
        return None
    plan = plan_for(new)
    if plan.provisional:
        backends.QUEUES[plan.backend].examine(new, plan)
    job = settle(new, plan)
    write(run, job, plan)
    return job, plan


def changed(run: RunDir, old: Job, overrides: Sequence[str], flags: Mapping[str, str | None]) -> Job:
    """On another world what was `auto` is `auto` again, threads apart: they change the last bits."""
    over = parse_job(dump_job(old), str(run.job), overrides=overrides, flags=flags)
    if all(getattr(over.resources, name) == getattr(old.resources, name) for name in ("nodes", "backend", "device")):
        return over
    again = unsettle(old, read_plan(run))
    kept = again.resources.model_copy(update={"threads": old.resources.threads})
    again = again.model_copy(update={"resources": kept})
    return parse_job(dump_job(again), str(run.job), overrides=overrides, flags=flags)


def allowed(change: tuple[str, Any, Any], new: Job) -> bool:
    path, before, after = change
    if any(path == name or path.startswith(f"{name}.") for name in MAY_CHANGE):
        return True
    grows = path in MAY_GROW and isinstance(before, int) and isinstance(after, int) and after > before
    return grows and new.sweep is None and not tied_to_length(new)  # a sweep's trials are compared with each other


def stopped_early(run: RunDir) -> str | None:
    """Why, where early stopping ended it: more epochs would not be trained."""
    return next((entry.get("reason") for entry in ledger(run) if entry["event"] == "early_stop"), None)


def may_grow(run: RunDir) -> str | None:
    """The field that makes the run longer, where that leaves what was trained as it is."""
    job = load_job(run.job)
    if job.train is None or job.sweep is not None or stopped_early(run) or tied_to_length(job):
        return None
    return "train.epochs" if job.train.epochs is not None else "train.max_steps"


def tied_to_length(job: Job) -> bool:
    """Whether another number of steps would give the steps already taken another rate."""
    schedule = job.train.schedule if job.train else None
    if schedule is None:
        return False
    said = schedule.model_dump()
    free = schedule.target in WITHOUT_TOTAL or said.get(LENGTH_OF.get(schedule.target, "")) is not None
    return not free or any("%" in length for length in lengths(said))


def lengths(values: Mapping[str, Any]) -> Iterator[str]:
    several = (value if isinstance(value, list) else [value] for name, value in values.items() if name != "target")
    yield from (each for each in chain.from_iterable(several) if isinstance(each, str))


def refusal(run: RunDir, refused: list[tuple[str, Any, Any]]) -> str:
    lines = [f"run {run.id} cannot be resumed with these changes: they would change the mathematics of what was trained so far"]
    lines += [f"  {path}: {shown(before)} -> {shown(after)}" for path, before, after in refused]
    if any(path in MAY_GROW for path, _, _ in refused):
        lines.append("  (epochs and max_steps may grow, where the schedule does not depend on the length of the run)")
    lines.append("Start a new run for it: launch SPEC --set ...")
    return "\n".join(lines)


def shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
