from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import click

from launcher.cli import options
from launcher.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.plan import Node, Plan
    from launcher.rundir import RunDir


@click.command("shell")
@options.one_run(default="last")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--node", type=click.IntRange(min=0), default=0, metavar="N", help="Which of the run's nodes (default: 0).")
@options.runs_option
def command(run: str, program: tuple[str, ...], node: int, runs: str | None) -> None:
    """A shell on a node of a run, in its folder and with its environment; or one command there.

    \b
    launch shell last --node 1
    launch shell last --node 1 -- nvidia-smi
    """
    from launcher import backends
    from launcher.events import LIVE, summarize
    from launcher.plan import read_plan
    from launcher.runs import find_run, runs_folder

    found = find_run(run, runs_folder(runs))
    plan, summary = read_plan(found), summarize(found)
    if node >= len(plan.nodes):
        raise UsageError(f"--node {node}: the run's nodes are 0 to {len(plan.nodes) - 1}")
    if plan.backend in backends.QUEUES and summary.state not in LIVE:
        raise UsageError(f"run {found.id} is {summary.state}: it has no nodes now that a shell could be on")
    script = entering(found, plan, plan.nodes[node], program)
    backend, terminal = backends.BACKENDS[plan.backend], sys.stdin.isatty()
    argv = backend.shell(plan.nodes[node], summary.job, ("bash", "-c", script), terminal=terminal)
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606  (argv as it is, no shell)
    except OSError as error:
        raise UsageError(f"cannot start {argv[0]}: {error.strerror}") from None


def entering(run: RunDir, plan: Plan, node: Node, program: Sequence[str]) -> str:
    """For bash. Values that refer to the environment are left to what is there: they may be secrets."""
    from launcher.references import referred

    env = {name: value for name, value in {**plan.env, **node.env}.items() if not referred([value])}
    exports = [
        f"export {name}={shlex.quote(run.fill(value))}" for name, value in {**env, "LAUNCHER_RUN_DIR": str(run.path)}.items()
    ]
    last = shlex.join(program) if program else '"${SHELL:-bash}" -i'
    return "\n".join([f"cd {shlex.quote(run.fill(plan.entry.cwd))}", *exports, f"exec {last}"])
