"""A sweep as a person wants to read it: what it would try, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.cli.options import called
from launcher.cli.sweep_screen import in_short
from launcher.cli.terminal import labelled, print_json, shown_path
from launcher.events import Summary, ledger
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job

SHOWN = 20
"""Trials of a dry run."""
Row = tuple[str, str]


def show(plan: Plan, job: Job, *, as_json: bool) -> None:
    """The trials that it would make: all of a grid, a sample otherwise."""
    from launcher.search.preview import preview

    found = preview(job)
    if as_json:
        print_json(found.to_json() | {"plan": plan.to_json()})
        return
    assert job.sweep is not None
    of = str(found.trials) if found.trials is not None else "as many as max_time allows"
    folds = f" x {job.sweep.folds} folds" if job.sweep.folds else ""
    rows = [
        ("method", f"{job.sweep.method}: {job.sweep.goal} {job.sweep.metric}"),
        ("trials", f"{of}{folds}, {found.parallel} at a time, each of {found.ranks} rank(s)"),
    ]
    if (costs := cost(found)) is not None:
        rows.append(("cost", costs))
    if job.sweep.prune.method != "none":
        rows.append(("prune", f"{job.sweep.prune.method}, from step {job.sweep.prune.warmup_steps}"))
    print("\n".join([f"{job.name}: what would be searched", "", *labelled(rows), ""]))
    told = "every trial" if found.whole else "such trials, for example (what is learned on the way decides)"
    print("\n".join([f"{told}:", *(f"  {number}  {in_short(each)}" for number, each in enumerate(found.sample[:SHOWN]))]))
    if len(found.sample) > SHOWN:
        print(f"  ... and {len(found.sample) - SHOWN} more")


def cost(found: Any) -> str | None:
    """Of the whole, as steps: how long one takes is not known before it is tried."""
    if found.steps is None or found.trials is None:
        return f"{found.trials} trainings of {found.ranks} rank(s)" if found.trials else None
    runs = found.trials * found.folds
    hours = f"; at 0.1 s a step {runs * found.steps * found.ranks * 0.1 / 3600:.2g} process-hours"
    return f"{runs} trainings x {found.steps} steps x {found.ranks} rank(s){hours}"


def facts(run: RunDir, summary: Summary, job: Job) -> Iterator[Row]:
    from launcher.search.tally import tally

    assert job.sweep is not None
    known = tally(ledger(run), job.sweep)
    yield "trials", f"{len(known.ended)} ended{f': {known.counted()}' if known.ended else ''}"
    if (best := known.best) is not None:
        spread = f" ± {best['spread']:.2g}" if best.get("spread") is not None else ""
        given = f": {in_short(best['parameters'])}" if best["parameters"] else ""
        yield "best", f"{job.sweep.metric} {best['value']:.6g}{spread} in trial {best['trial']}{given}"
    yield from files(run)
    yield "run", shown_path(run.path)
    name = shlex.quote(called(run.path))
    if summary.state in ("stopped", "cancelled", "failed"):
        yield "next", f"launch resume {name}"
    if known.best is not None:
        yield "next", f"launch {shlex.quote(shown_path(run.path / 'best.yaml'))}"
        yield "next", f"launch status {shlex.quote(shown_path(run.path / 'trials' / str(known.best['trial'])))}"


def files(run: RunDir) -> Iterator[Row]:
    for label, path in (("results", run.path / "results.csv"), ("best job", run.path / "best.yaml"), ("plots", run.plots)):
        if path.exists() and not is_empty(path):
            yield label, shown_path(path)


def is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
