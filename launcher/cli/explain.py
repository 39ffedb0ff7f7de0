from __future__ import annotations

from dataclasses import asdict

import click
from click.shell_completion import CompletionItem

from launcher.cli import options


class FieldPath(click.ParamType[str]):
    """A dotted path into a job, completed key by key."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        from launcher.errors import UsageError
        from launcher.spec.docs import explain

        above, dot, begun = incomplete.rpartition(".")
        try:
            told = explain(above)
        except UsageError:
            return []
        names = [key.name for key in told.keys] + [entry.name for entry in told.built_in]
        return [CompletionItem(f"{above}{dot}{name}") for name in names if name.startswith(begun)]


@click.command("explain")
@click.argument("path", type=FieldPath(), default="", metavar="[PATH]")
@options.json_option
def command(path: str, as_json: bool) -> None:
    """What a field of a job means, what it accepts, and its default; for a target, the built-in ones.

    \b
    launch explain
    launch explain train.optimizer
    launch explain train.optimizer.sgd
    """
    from launcher.spec.docs import explain, render

    explanation = explain(path)
    if as_json:
        from launcher.cli.terminal import print_json

        print_json(asdict(explanation))
    else:
        print(render(explanation))
