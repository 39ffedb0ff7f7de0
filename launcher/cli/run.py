from __future__ import annotations

from functools import partial

import click

from launcher.cli import options
from launcher.errors import UsageError


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
    from launcher import backends
    from launcher.cli import show_plan
    from launcher.cli.written import written_at
    from launcher.load import load_job
    from launcher.plan import settle
    from launcher.prepare import plan_for
    from launcher.prepare import prepare as write_run
    from launcher.rundir import locked
    from launcher.runs import find_run, runs_folder
    from launcher.weights import settled

    if objective is not None:
        from launcher.cli import searching

        return searching.search(spec, objective, overrides, as_json=as_json)
    if dry_run + prepare + detach > 1:
        raise UsageError("give one of --dry-run, --prepare and --detach")
    job = load_job(spec, overrides=overrides, flags={"nodes": nodes, "backend": backend})
    job = settled(job, runs_folder(runs), later=after is not None)
    if nodes is None:
        job = backends.on_all_nodes(job)
    other = find_run(after, runs_folder(runs)) if after else None
    plan = plan_for(job)
    options.parse_ranks(ranks, plan.world.world_size)
    if dry_run and job.sweep is not None:
        from launcher.cli import show_sweep

        show_sweep.show(plan, job, as_json=as_json)
        return 0
    if dry_run:
        show_plan.show(plan, job, runs_folder(runs), as_json=as_json)
        return 0
    if plan.provisional and not prepare:
        backends.QUEUES[plan.backend].examine(job, plan)
    run = write_run(job, plan, runs_folder(runs))
    if other is not None:
        from launcher.supervisor.following import follow as begin_after

        begin_after(run, other)
    if prepare:
        show_plan.prepared(run, plan, job, as_json=as_json)
        return 0
    from launcher.cli import starting

    with locked(run) as lock:
        if plan.provisional:
            number = starting.submitted(run, job, plan, other)
        elif detach:
            return starting.background(run, settle(job, plan), plan, as_json=as_json, lock=lock)
        else:
            written = partial(written_at, spec=spec, overrides=overrides)
            return starting.foreground(run, settle(job, plan), plan, ranks=ranks, as_json=as_json, written=written)
    return starting.queued(run, job, plan, number, follow=follow, ranks=ranks, as_json=as_json)
