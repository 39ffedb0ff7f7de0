from __future__ import annotations

import click

from launcher.cli import options
from launcher.cli.asking import ask_all


@click.command("cancel")
@options.many_runs()
@click.option("--wait", is_flag=True, help="Return once they have ended.")
@options.runs_option
def command(run: tuple[str, ...], wait: bool, runs: str | None) -> None:
    """End at once; what came after the last checkpoint is lost. `launch stop` saves first.

    \b
    launch cancel last
    """
    ask_all(run, runs, "cancel", "is asked to end at once", wait=wait)
