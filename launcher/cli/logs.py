from __future__ import annotations

import sys

import click

from launcher.cli import options
from launcher.errors import UsageError


@click.command("logs")
@options.one_run(default="last")
@click.option("--follow", "-f", is_flag=True, help="Go on showing what is printed, until the run ends.")
@options.ranks_option
@click.option("--attempt", type=int, metavar="N", help="An earlier attempt (default: the newest).")
@options.runs_option
def command(run: str, follow: bool, ranks: str | None, attempt: int | None, runs: str | None) -> None:
    """What the ranks printed: rank 0, or others by --ranks.

    \b
    launch logs --follow
    launch logs resnet-digits --ranks all
    launch logs last --attempt 1 --ranks 3
    """
    from launcher.cli.reading_logs import follow_run, print_logs
    from launcher.plan import read_plan
    from launcher.runs import find_run, runs_folder

    if follow and attempt is not None:
        raise UsageError("--follow shows the newest attempt: leave out --attempt")
    found = find_run(run, runs_folder(runs))

    def chosen() -> tuple[int, ...]:
        return options.parse_ranks(ranks, read_plan(found).world.world_size)

    if follow:
        follow_run(found, chosen, sys.stdout)
    else:
        print_logs(found, chosen(), attempt, sys.stdout)
