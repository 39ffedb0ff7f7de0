from __future__ import annotations

import click

from launcher.cli import options
from launcher.cli.asking import ask_all


@click.command("stop")
@options.many_runs()
@click.option("--wait", is_flag=True, help="Return once they have ended.")
@options.runs_option
def command(run: tuple[str, ...], wait: bool, runs: str | None) -> None:
    """Save at the next step boundary and end; `launch resume` goes on from there.

    \b
    launch stop last
    launch stop resnet-digits --wait
    """
    ask_all(run, runs, "stop", "is asked to save and stop", wait=wait)
