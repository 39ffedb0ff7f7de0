from __future__ import annotations

from dataclasses import asdict

import click
from click.shell_completion import CompletionItem

from launcher.cli import options
from launcher.errors import UsageError


class FieldPath(click.ParamType[str]):
    """A dotted path into a job, completed key by key."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
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
@click.option("--job", metavar="SPEC", help="Where each value of this job file comes from: a line, or a default and why.")
@options.set_option
@options.json_option
def command(path: str, job: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """What a field of a job means, what it accepts, and its default; for a target, the built-in ones. Of a job file: what
    came by default, and why.

    \b
    launch explain
    launch explain train.optimizer
    launch explain train.optimizer.sgd
    launch explain jobs/resnet.yaml
    launch explain train.optimizer --job jobs/resnet.yaml
    """
    from launcher.cli.commands import SPEC_ENDINGS
    from launcher.spec.docs import explain

    if job is None and path.endswith(SPEC_ENDINGS):
        path, job = "", path
    if job is not None:
        tell_origins(job, path, overrides, as_json=as_json)
        return
    if overrides:
        raise UsageError("--set changes a job file: name it, as in launch explain jobs/resnet.yaml --set seed=1")

    explanation = explain(path)
    if as_json:
        from launcher.cli.terminal import print_json

        print_json(asdict(explanation))
    else:
        from launcher.cli.explaining import render

        print(render(explanation))


def tell_origins(job: str, path: str, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """The values at and below a path. Raises SpecError, UsageError."""
    from launcher.load.origins import origins

    found = [each for each in origins(job, overrides) if not path or f"{each.path}.".startswith(f"{path}.")]
    if not found:
        from launcher.spec.docs import explain

        explain(path)
        raise UsageError(f"{job} has no {path}, and nothing comes by default. 'launch explain {path}' tells what it may say")
    if as_json:
        from launcher.cli.terminal import print_json

        print_json([asdict(each) for each in found])
    else:
        from launcher.cli.explaining import origins_in_words

        print(origins_in_words(found))
