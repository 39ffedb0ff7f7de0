from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.plan import Plan
    from launcher.rundir import RunDir
    from launcher.spec import Job


@click.command("run")
@options.spec_file
@options.nodes_option
@options.backend_option
@options.set_option
@click.option("--dry-run", is_flag=True, help="Print the plan, start and write nothing.")
@click.option("--prepare", is_flag=True, help="Write the run directory, start nothing, print the commands that would.")
@options.detach_option
@options.follow_option
@click.option("--after", type=options.RunName(), metavar="RUN", help="Begin once that run is done; if it fails, do not begin.")
@click.option("--objective", metavar="MOD:FN", help="Search over a Python function instead: fn(**parameters) -> number.")
@options.ranks_option
@options.runs_option
@options.json_option
def command(spec: str, nodes: str | None, backend: str | None, overrides: tuple[str, ...], dry_run: bool,
            prepare: bool, detach: bool, follow: bool, after: str | None, objective: str | None, ranks: str | None,
            runs: str | None, as_json: bool) -> int:  # fmt: skip
    """Train what a job file says. `launch SPEC` is short for `launch run SPEC`.

    \b
    launch jobs/resnet.yaml
    launch jobs/resnet.yaml --dry-run
    launch jobs/resnet.yaml --nodes 2 --set train.optimizer.lr=0.01
    launch jobs/resnet.yaml --detach
    launch jobs/resnet.yaml --backend slurm --follow
    """
    if objective is not None:
        from launcher.cli import searching

        trains = {"--dry-run": dry_run, "--prepare": prepare, "--detach": detach, "--follow": follow, "--after": after,
                  "--nodes": nodes, "--backend": backend, "--ranks": ranks, "--runs": runs}  # fmt: skip
        if unfit := ", ".join(flag for flag, given in trains.items() if given):
            raise UsageError(f"--objective calls a Python function here and trains nothing: {unfit} has no meaning with it")
        return searching.search(spec, objective, overrides, as_json=as_json)
    if dry_run + prepare + detach > 1:
        raise UsageError("give one of --dry-run, --prepare and --detach")
    from launcher.planning import planned
    from launcher.runs import find_run, runs_folder

    folder = runs_folder(runs)
    job, plan = planned(spec, nodes=nodes, backend=backend, overrides=overrides, runs=folder, later=after is not None)
    other = find_run(after, folder) if after else None
    options.parse_ranks(ranks, plan.world.world_size)
    if dry_run:
        show(plan, job, folder, as_json=as_json)
        return 0
    run = made(job, plan, folder, other, waits=plan.provisional and not prepare)
    if prepare:
        from launcher.cli import show_plan

        show_plan.prepared(run, plan, job, as_json=as_json)
        return 0
    from launcher.cli import starting
    from launcher.cli.written import written_at
    from launcher.plan import settle
    from launcher.rundir import locked

    with locked(run) as lock:
        if plan.provisional:
            number = starting.submitted(run, job, plan, other)
        elif detach:
            return starting.background(run, settle(job, plan), plan, as_json=as_json, lock=lock)
        else:
            written = partial(written_at, spec=spec, overrides=overrides)
            return starting.foreground(run, settle(job, plan), plan, ranks=ranks, as_json=as_json, written=written)
    return starting.queued(run, job, plan, number, follow=follow, ranks=ranks, as_json=as_json)


def show(plan: Plan, job: Job, folder: Path, *, as_json: bool) -> None:
    if job.sweep is not None:
        from launcher.cli import show_sweep

        show_sweep.show(plan, job, folder, as_json=as_json)
    else:
        from launcher.cli import show_plan

        show_plan.show(plan, job, folder, as_json=as_json)


def made(job: Job, plan: Plan, folder: Path, other: RunDir | None, *, waits: bool) -> RunDir:
    """The run directory. Of one that `waits` in a queue the queue is asked first whether such a job could ever run."""
    from launcher import backends
    from launcher.prepare import prepare

    if waits:
        backends.QUEUES[plan.backend].examine(job, plan)
    run = prepare(job, plan, folder)
    if other is not None:
        from launcher.supervisor.following import follow

        follow(run, other)
    return run
