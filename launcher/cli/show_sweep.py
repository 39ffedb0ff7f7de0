"""A sweep as a person wants to read it: what it would try, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.options import called
from launcher.cli.sweep_screen import in_short
from launcher.cli.terminal import labelled, print_json, shown_path
from launcher.events import LIVE, Summary, ledger
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.sweep import Sweep

if TYPE_CHECKING:
    from launcher.search.pace import Pace
    from launcher.search.preview import Preview

SHOWN = 20
"""Trials of a dry run."""
Row = tuple[str, str]


def show(plan: Plan, job: Job, runs: Path, *, as_json: bool) -> None:
    """The trials that it would make: all of a grid, a sample otherwise."""
    from launcher.search.pace import pace
    from launcher.search.preview import preview

    found, measured = preview(job), pace(job.name, runs)
    if as_json:
        print_json(found.to_json() | {"seconds_per_step": measured and measured.seconds, "plan": plan.to_json()})
        return
    assert job.sweep is not None
    of = str(found.trials) if found.trials is not None else "as many as max_time allows"
    folds = f" x {job.sweep.folds} folds" if job.sweep.folds else ""
    rows = [
        ("method", f"{job.sweep.method}: {job.sweep.goal} {job.sweep.metric}"),
        ("trials", f"{of}{folds}, {found.parallel} at a time, each of {found.ranks} rank(s)"),
    ]
    rows.append(("cost", cost(found, job.sweep, measured)))
    if job.sweep.prune.method != "none":
        rows.append(("prune", f"{job.sweep.prune.method}, from step {job.sweep.prune.warmup_steps}"))
    print("\n".join([f"{job.name}: what would be searched", "", *labelled(rows), ""]))
    if found.whole:
        told = "every trial"
    elif job.sweep.method == "random":
        told = "the first trials"
    else:
        told = "such trials, for example (what is learned on the way decides)"
    print("\n".join([f"{told}:", *(f"  {number}  {in_short(each)}" for number, each in enumerate(found.sample[:SHOWN]))]))
    if len(found.sample) > SHOWN:
        print(f"  ... and {len(found.sample) - SHOWN} more")


def cost(found: Preview, sweep: Sweep, measured: Pace | None) -> str:
    """Of the whole. How long a step takes is not guessed: it was measured, or is not known."""
    if found.trials is None:
        assert sweep.max_time is not None
        processes = found.parallel * found.ranks
        hours = processes * sweep.max_time.seconds / 3600
        return f"{processes} process(es) for {sweep.max_time}: {hours:.2g} process-hours, and the last trials to their end"
    trainings = found.trials * found.folds
    told = f"{trainings} training(s) of {found.ranks} rank(s)"
    if found.steps is None:
        return told
    told = f"{told} and {found.steps} steps"
    if measured is None:
        return f"{told}; how long a step takes is known once a run called {found.name} has ended"
    hours = trainings * found.steps * found.ranks * measured.seconds / 3600
    return f"{told}: {hours:.2g} process-hours at the {measured.seconds:.2g} s a step of {measured.run}"


def facts(run: RunDir, summary: Summary, job: Job) -> Iterator[Row]:
    from launcher.search.tally import tally

    assert job.sweep is not None
    known = tally(ledger(run), job.sweep)
    of = f" of {known.total}" if known.total else ""
    yield "trials", f"{len(known.ended)}{of} ended{f': {known.counted()}' if known.ended else ''}"
    if known.running and summary.state in LIVE:
        yield "running", ", ".join(f"trial {number}" for number in sorted(known.running))
    if (best := known.best) is not None:
        spread = f" ± {best['spread']:.2g}" if best.get("spread") is not None else ""
        given = f": {in_short(best['parameters'])}" if best["parameters"] else ""
        yield "best", f"{job.sweep.metric} {best['value']:.6g}{spread} in trial {best['trial']}{given}"
    yield from files(run)
    yield "run", shown_path(run.path)
    name = shlex.quote(called(run.path))
    failed = [number for number, entry in sorted(known.ended.items()) if entry["state"] == "failed"]
    if summary.state == "failed" and failed:  # which no resume would run again
        yield "next", f"launch status {shlex.quote(shown_path(run.trial(failed[0]).path))}"
    elif summary.state in ("stopped", "cancelled", "failed"):
        yield "next", f"launch resume {name}"
    if known.best is not None:
        yield "next", f"launch {shlex.quote(shown_path(run.path / 'best.yaml'))}"
        yield "next", f"launch status {shlex.quote(shown_path(run.trial(known.best['trial']).path))}"


def files(run: RunDir) -> Iterator[Row]:
    for label, path in (("results", run.path / "results.csv"), ("best job", run.path / "best.yaml"), ("plots", run.plots)):
        if path.exists() and not is_empty(path):
            yield label, shown_path(path)


def is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
