from __future__ import annotations

import click

from launcher.cli import options


@click.command("resume")
@options.one_run(default="last")
@options.nodes_option
@options.backend_option
@options.set_option
@options.detach_option
@options.follow_option
@options.ranks_option
@options.runs_option
@options.json_option
def command(run: str, nodes: str | None, backend: str | None, overrides: tuple[str, ...], detach: bool, follow: bool,
            ranks: str | None, runs: str | None, as_json: bool) -> int:  # fmt: skip
    """Continue a run in its directory, from its newest whole checkpoint; also on another number of nodes.

    \b
    launch resume last
    launch resume resnet-digits --nodes 2
    launch resume last --set train.epochs=40
    """
    from launcher.cli import starting
    from launcher.cli.continuing import continued, may_grow, stopped_early
    from launcher.rundir import forget_requests, locked
    from launcher.runs import find_run, runs_folder
    from launcher.standing import refuse_busy
    from launcher.supervisor.following import follow as begin_after
    from launcher.supervisor.following import followed_run

    found = find_run(run, runs_folder(runs))
    with locked(found) as lock:  # handed on: of two that resume at once, one is refused before it changes anything
        refuse_busy(found, holding=True)
        forget_requests(found)
        job_and_plan = continued(found, overrides, {"nodes": nodes, "backend": backend})
        if job_and_plan is not None and followed_run(found) is not None:
            begin_after(found, None)
        if job_and_plan is not None and job_and_plan[1].provisional:
            number = starting.submitted(found, *job_and_plan)
        elif job_and_plan is not None and detach:
            return starting.background(found, *job_and_plan, as_json=as_json, lock=lock)
        elif job_and_plan is not None:
            return starting.foreground(found, *job_and_plan, ranks=ranks, as_json=as_json)
    if job_and_plan is not None:
        return starting.queued(found, *job_and_plan, number, follow=follow, ranks=ranks, as_json=as_json)
    if as_json:
        from launcher.cli.terminal import print_json
        from launcher.runs import status

        print_json(status(found))
    else:
        name = options.called(found.path)
        why = f", it {reason}" if (reason := stopped_early(found)) else ""
        print(f"{found.id} is done{why}: there is nothing left to train. See it with 'launch status {name}'")
        if field := may_grow(found):
            print(f"To train it longer: launch resume {name} --set {field}=N")
    return 0
