"""Options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from launcher.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class RunName(click.ParamType[str]):
    """A run as a person names it; completed with ids, newest first, and names."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        from launcher.runs import all_runs, name_of, runs_folder

        runs = all_runs(runs_folder(ctx.params.get("runs")))[::-1]
        words = ["last", *dict.fromkeys(name_of(run) for run in runs), *(run.id for run in runs)]
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def one_run(*, default: str | None = None) -> Decorator:
    return click.argument(
        "run", type=RunName(), required=default is None, default=default, metavar="RUN" if default is None else "[RUN]"
    )


def many_runs() -> Decorator:
    return click.argument("run", type=RunName(), required=True, nargs=-1, metavar="RUN...")


spec_file: Decorator = click.argument("spec", type=click.Path(), metavar="SPEC")
runs_option: Decorator = click.option("--runs", metavar="DIR", help="Where runs lie (default: LAUNCHER_RUNS, or runs/).")
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to stdout.")
set_option: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field (repeatable, YAML value)."
)
nodes_option: Decorator = click.option(
    "--nodes", metavar="N", help="Machines; on this machine alone, more than one is a rehearsal."
)
backend_option: Decorator = click.option("--backend", metavar="NAME", help="Where it executes: auto, local, slurm, hosts.")
follow_option: Decorator = click.option(
    "--follow", is_flag=True, help="Stay and show a run that waits in a queue; Ctrl-C leaves it there."
)
checkpoint_option: Decorator = click.option(
    "--checkpoint", metavar="NAME", help="Such as step-00000120 (default: the best where keep_best is set, else the newest)."
)
detach_option: Decorator = click.option("--detach", is_flag=True, help="Run in the background; see it with launch logs --follow.")
ranks_option: Decorator = click.option("--ranks", metavar="all|0,3", help="Whose output is shown (default: rank 0).")


def parse_ranks(text: str | None, world_size: int) -> tuple[int, ...]:
    """`all`, `0,3` or `0-3,7` -> ranks, in order. Raises UsageError."""
    if text is None:
        return (0,)
    if text == "all":
        return tuple(range(world_size))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--ranks: expected all, or ranks such as 0,3 or 0-3, got '{text}'")
        if int(last or first) >= world_size:
            raise UsageError(f"--ranks: there is no rank {last or first}: the run has ranks 0 to {world_size - 1}")
        chosen |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(chosen))


def called(run_path: Path) -> str:
    """How a command that is suggested names a run: by its id where that finds it, else by its path."""
    from launcher.cli.terminal import shown_path
    from launcher.runs import runs_folder

    if run_path.parent == runs_folder():
        return run_path.name
    return shown_path(run_path)
