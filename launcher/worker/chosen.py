"""Which checkpoint of a run is meant: the named one, else the best where one is kept, else the newest."""

from __future__ import annotations

from launcher import checkpoints
from launcher.checkpoints import Checkpoint
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.errors import WorkerError


def choose(run: RunDir, job: Job, name: str | None) -> str:
    """The checkpoint's name. Raises WorkerError."""
    best = job.keep_best
    if name is not None:
        return named(run, name)
    found: Checkpoint | None = checkpoints.best(run, best.monitor, best.mode) if best else None
    if found is None:
        found, damaged = checkpoints.newest_whole(run)
        if found is None:
            raise WorkerError("; ".join(damaged) or f"{run.id} has no checkpoint yet: there are no weights to take", kind="spec")
    return found.path.name


def named(run: RunDir, name: str) -> str:
    found = next((each for each in checkpoints.checkpoints(run) if each.path.name == name), None)
    if found is None:
        there = ", ".join(each.path.name for each in checkpoints.checkpoints(run)) or "none"
        raise WorkerError(f"{run.id} has no checkpoint '{name}'. There: {there}", kind="spec")
    if (damage := found.damage()) is not None:
        raise WorkerError(f"checkpoint {name} is damaged: {damage}", kind="spec")
    return name
