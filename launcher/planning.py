"""From a job file, and what a command line or a call adds to it, to a plan on what there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from launcher import backends
from launcher.load import load_job
from launcher.plan import Plan
from launcher.prepare import plan_for
from launcher.spec import Job
from launcher.weights import settled


def planned(
    spec: str | os.PathLike[str],
    *,
    nodes: int | str | None,
    backend: str | None,
    overrides: Sequence[str],
    runs: Path,
    later: bool = False,
) -> tuple[Job, Plan]:
    """`later`: the run that its weights come from may not have begun. Raises SpecError, BackendError, UsageError."""
    job = settled(load_job(spec, overrides=overrides, flags={"nodes": nodes, "backend": backend}), runs, later=later)
    if nodes is None:
        job = backends.on_all_nodes(job)
    plan = plan_for(job)
    if job.sweep is not None:
        from launcher.search.slots import refuse_too_many

        refuse_too_many(spec, overrides, job)
    return job, plan
