"""What run and resume share: a prepared run goes to the foreground or to the background."""

from __future__ import annotations

import sys
from contextlib import closing

from launcher.cli.options import called, parse_ranks
from launcher.cli.terminal import print_json, say
from launcher.cli.written import Written
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job


def foreground(run: RunDir, job: Job, plan: Plan, *, ranks: str | None, as_json: bool, written: Written | None = None) -> int:
    """Supervises a run that the caller holds until it ends. Returns the exit code. Raises BackendError."""
    from launcher.cli.ending import report
    from launcher.cli.leading import lead, screen_of
    from launcher.cli.show_plan import notes, world
    from launcher.runs import status

    out = sys.stderr if as_json else sys.stdout
    with closing(screen_of(run, job, parse_ranks(ranks, plan.world.world_size), out)) as screen:
        what = "a sweep" if job.sweep else world(plan)
        screen.note(f"{run.id}: {what}. Ctrl-C {'saves and stops' if job.train else 'stops it'}")
        for note in notes(job, plan):
            screen.note(note)
        outcome = lead(run, job, screen)
        screen()
    say(report(run, seen=screen.seen, written=written) + "\n", sys.stderr if outcome.state == "failed" else out)
    if as_json:
        print_json(status(run))
    return outcome.exit_code


def submitted(run: RunDir, job: Job, plan: Plan, other: RunDir | None = None) -> str:
    """Puts a run that the caller holds into the queue, behind the jobs of the run `other`. Raises BackendError."""
    from launcher import backends
    from launcher.standing import standing
    from launcher.supervisor.following import jobs_of

    return backends.QUEUES[plan.backend].submit(run, job, plan, after=jobs_of(standing(other)) if other else ())


def queued(run: RunDir, job: Job, plan: Plan, number: str, *, follow: bool, ranks: str | None, as_json: bool) -> int:
    """Tells of a run that was submitted; with `follow` it stays and shows the run, whose job has to be free to hold it."""
    from launcher.cli.show_plan import notes
    from launcher.events import ledger

    said = [entry["reason"] for entry in ledger(run) if entry["event"] == "note" and entry.get("job") == number]
    for note in [*notes(job, plan), *said]:
        say(f"note: {note}\n", sys.stderr)
    if follow:
        return followed(run, number, ranks=ranks, as_json=as_json)
    tell_where(run, f"is in the queue as job {number}", as_json=as_json)
    return 0


def tell_where(run: RunDir, it: str, *, as_json: bool) -> None:
    """Of a run that goes on without this process, and the commands that see it."""
    from launcher.runs import status

    if as_json:
        print_json(status(run))
        return
    name = called(run.path)
    print(f"{run.id} {it}")
    print(f"  launch logs {name} --follow\n  launch status {name}\n  launch stop {name}")


def followed(run: RunDir, number: str, *, ranks: str | None, as_json: bool) -> int:
    """Shows a queued run until it has ended; its exit code. Ctrl-C leaves the job where it is."""
    from launcher.cli.reading_logs import exit_code, follow_run
    from launcher.plan import read_plan
    from launcher.runs import status

    name = called(run.path)
    out = sys.stderr if as_json else sys.stdout
    say(f"{run.id} is in the queue as job {number}. Ctrl-C leaves it there\n", out)
    try:
        follow_run(run, lambda: parse_ranks(ranks, read_plan(run).world.world_size), out)
    except KeyboardInterrupt:
        say(f"\njob {number} goes on without you: launch logs {name} --follow, launch stop {name}\n", out)
        return 0
    if as_json:
        print_json(status(run))
    return exit_code(run)


def background(run: RunDir, job: Job, plan: Plan, *, as_json: bool, lock: int) -> int:
    """A supervisor in a session of its own, which takes over `lock`. Raises LaunchError where it does not get to its work."""
    from launcher.api import start_detached
    from launcher.cli.show_plan import notes

    start_detached(run, lock=lock)
    for note in notes(job, plan):
        say(f"note: {note}\n", sys.stderr)
    tell_where(run, "runs in the background", as_json=as_json)
    return 0
