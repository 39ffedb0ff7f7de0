from __future__ import annotations

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
@options.ranks_option
@options.runs_option
@options.json_option
def command(spec: str, nodes: str | None, backend: str | None, overrides: tuple[str, ...], dry_run: bool, prepare: bool,
            detach: bool, ranks: str | None, runs: str | None, as_json: bool) -> int:  # fmt: skip
    """Train what a job file says. `launch SPEC` is short for `launch run SPEC`.

    \b
    launch jobs/resnet.yaml
    launch jobs/resnet.yaml --dry-run
    launch jobs/resnet.yaml --nodes 2 --set train.optimizer.lr=0.01
    launch jobs/resnet.yaml --detach
    """
    from launcher.cli import show_plan
    from launcher.load import load_job
    from launcher.plan import settle
    from launcher.prepare import plan_for
    from launcher.prepare import prepare as write_run
    from launcher.rundir import locked
    from launcher.runs import runs_folder

    if dry_run + prepare + detach > 1:
        raise UsageError("give one of --dry-run, --prepare and --detach")
    job = load_job(spec, overrides=overrides, flags={"nodes": nodes, "backend": backend})
    plan = plan_for(job)
    options.parse_ranks(ranks, plan.world.world_size)
    if dry_run:
        show_plan.show(plan, job, runs_folder(runs), as_json=as_json)
        return 0
    run = write_run(job, plan, runs_folder(runs))
    if prepare:
        show_plan.prepared(run, plan, job, as_json=as_json)
        return 0
    with locked(run) as lock:
        from launcher.cli import starting

        if plan.provisional:
            return starting.queued(run, job, plan, as_json=as_json)
        job = settle(job, plan)
        if detach:
            return starting.background(run, job, plan, as_json=as_json, lock=lock)
        return starting.foreground(run, job, plan, ranks=ranks, as_json=as_json)
