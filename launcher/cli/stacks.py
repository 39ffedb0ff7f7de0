from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.rundir import RunDir

POLL_S = 0.1
ANSWER_S = 30.0


@click.command("stacks")
@options.one_run(default="last")
@options.json_option
@options.runs_option
def command(run: str, as_json: bool, runs: str | None) -> None:
    """Where every rank of a living run is now; it goes on undisturbed.

    \b
    launch stacks last
    """
    from launcher.api import ask
    from launcher.cli.terminal import print_json, shown_path
    from launcher.events import ledger
    from launcher.plan import read_plan
    from launcher.runs import find_run, runs_folder
    from launcher.supervisor import stacks

    found = find_run(run, runs_folder(runs))
    ask(found, "stacks")
    wait(found)
    attempt = max((number for number in found.attempts() if found.stacks(number).exists()), default=0)
    size = next(
        (entry["world_size"] for entry in ledger(found) if entry["event"] == "attempt" and entry["attempt"] == attempt), 0
    )
    texts = stacks.read(found, attempt, range(size))
    folded = stacks.fold(texts)
    root = found.fill(read_plan(found).entry.cwd)
    if as_json:
        print_json({
            "id": found.id, "attempt": attempt, "line": folded.line(root),
            "groups": [{"ranks": list(each.ranks), "in": each.place.what, "where": each.place.where} for each in folded.groups],
            "file": str(found.stacks(attempt)),
        })  # fmt: skip
        return
    print(folded.line(root))
    print(f"all of it: {shown_path(found.stacks(attempt))}")


def wait(run: RunDir) -> None:
    """Until the supervisor has taken the request away. Raises UsageError where the run ends instead, and BackendError."""
    from launcher.errors import BackendError, UsageError
    from launcher.rundir import owner

    until = time.monotonic() + ANSWER_S
    while run.request("stacks").exists():
        if owner(run) is None:
            run.request("stacks").unlink(missing_ok=True)
            raise UsageError(f"run {run.id} ended before its ranks were asked. See how: launch status {run.id}")
        if time.monotonic() > until:
            run.request("stacks").unlink(missing_ok=True)
            raise BackendError(f"the supervisor of run {run.id} did not answer within {ANSWER_S:g} s: is its machine well?")
        time.sleep(POLL_S)
