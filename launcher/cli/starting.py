"""What run and resume share: a prepared run goes to the foreground or to the background."""

from __future__ import annotations

import sys
from contextlib import closing

from launcher.cli.options import called, parse_ranks
from launcher.cli.terminal import print_json, say
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job


def foreground(run: RunDir, job: Job, plan: Plan, *, ranks: str | None, as_json: bool) -> int:
    """Supervises a run that the caller holds until it ends. Returns the exit code. Raises BackendError."""
    from launcher.cli.ending import report
    from launcher.cli.screen import Screen
    from launcher.cli.show_plan import notes, world
    from launcher.runs import status
    from launcher.supervisor import supervise

    out = sys.stderr if as_json else sys.stdout
    with closing(Screen(run, parse_ranks(ranks, plan.world.world_size), out)) as screen:
        screen.note(f"{run.id}: {world(plan)}. Ctrl-C {'saves and stops' if job.train else 'stops it'}")
        for note in notes(job, plan):
            screen.note(note)
        outcome = supervise(run, screen=screen, holding=True)
        screen()
    say(report(run) + "\n", sys.stderr if outcome.state == "failed" else out)
    if as_json:
        print_json(status(run))
    return outcome.exit_code


def queued(run: RunDir, job: Job, plan: Plan, *, as_json: bool) -> int:
    """Into the queue. Raises BackendError."""
    from launcher import backends
    from launcher.runs import status

    number = backends.QUEUES[plan.backend].submit(run, job, plan)
    if as_json:
        print_json(status(run))
        return 0
    name = called(run.path)
    print(f"{run.id} is in the queue as job {number}")
    print(f"  launch logs {name} --follow\n  launch status {name}\n  launch cancel {name}")
    return 0


def background(run: RunDir, job: Job, plan: Plan, *, as_json: bool, lock: int) -> int:
    """A supervisor in a session of its own, which takes over `lock`. Raises LaunchError where it does not get to its work."""
    from launcher.api import start_detached
    from launcher.cli.show_plan import notes
    from launcher.runs import status

    start_detached(run, lock=lock)
    for note in notes(job, plan):
        say(f"note: {note}\n", sys.stderr)
    if as_json:
        print_json(status(run))
        return 0
    name = called(run.path)
    print(f"{run.id} runs in the background")
    print(f"  launch logs {name} --follow\n  launch status {name}\n  launch stop {name}")
    return 0
