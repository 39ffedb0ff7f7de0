from __future__ import annotations

from typing import Any

import click

from launcher.cli import options
from launcher.cli.options import RunName


@click.command("diff")
@click.argument("first", type=RunName(), metavar="A")
@click.argument("second", type=RunName(), metavar="B")
@options.runs_option
@options.json_option
def command(first: str, second: str, runs: str | None, as_json: bool) -> None:
    """What differs between two runs: job, code, environment.

    \b
    launch diff resnet-digits last
    launch diff 20261124-19 20261125-08 --json
    """
    from launcher.cli.comparing import compared, rendered
    from launcher.cli.terminal import print_json
    from launcher.runs import find_run, runs_folder

    folder = runs_folder(runs)
    one, other = find_run(first, folder), find_run(second, folder)
    found: dict[str, Any] = compared(one, other)
    if as_json:
        print_json({"a": one.id, "b": other.id, **found})
    else:
        print(rendered(one.id, other.id, found))
