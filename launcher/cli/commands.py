"""The verbs. A command's module is imported when it is called: help and --dry-run import little."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "train what a job file says (launch SPEC is short for launch run SPEC)",
    "resume": "continue a run from its newest checkpoint",
    "status": "how a run stands",
    "list": "all runs",
    "logs": "what the ranks printed",
    "stop": "save at the next step and end",
    "cancel": "end at once, saving nothing",
    "stacks": "where every rank of a living run is",
    "shell": "a shell on a node of a run",
    "debug": "the first steps in one process, with breakpoints",
    "preview": "a picture of what the network will see",
    "eval": "evaluate a run's checkpoint",
    "predict": "a run's outputs for data of yours",
    "export": "a run's model as a file for others",
    "diagnose": "what is wrong with a run, and what to change",
    "diff": "what differs between two runs",
    "rm": "remove runs",
    "sync": "send what W&B has not got yet",
    "doctor": "what is needed here, and whether it is there",
    "init": "write starter jobs into ./jobs",
    "validate": "check job files",
    "explain": "what a field of a job means",
    "schema": "the JSON Schema of job files, for editors",
    "completion": "the line that completes commands in your shell",
    "supervise": "drive a prepared run to its end",
}
"""Name -> what it does. Its module is launcher.cli.NAME and holds `command`."""

HIDDEN = frozenset({"supervise"})
SPEC_ENDINGS = (".yaml", ".yml")


class Group(click.Group):
    """Commands by name, imported when called; what is no command but looks like a job file is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"launcher.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, text in COMMANDS.items() if name not in HIDDEN])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {option for param in self.get_params(ctx) for option in param.opts}
        if args and args[0].startswith("-") and args[0] not in own and any(map(looks_like_spec, args)):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS:
            return super().resolve_command(ctx, args)
        if looks_like_spec(name):
            return "run", self.get_command(ctx, "run"), args
        raise click.UsageError(no_command(name), ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=COMMANDS[name]) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")]


def looks_like_spec(word: str) -> bool:
    return word.endswith(SPEC_ENDINGS) or (not word.startswith("-") and Path(word).exists())


def no_command(name: str) -> str:
    from difflib import get_close_matches

    files = [str(path) for folder in (".", "jobs") for ending in SPEC_ENDINGS for path in sorted(Path(folder).glob(f"*{ending}"))]
    near_files = [file for file in files if Path(file).stem == name]
    near = get_close_matches(name, list(COMMANDS), n=1)
    hint = f" Did you mean '{(near_files or near)[0]}'?" if near_files or near else ""
    return f"'{name}' is neither a command nor a job file.{hint}"


@click.group(
    cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, help="Show the version.")
@click.pass_context
def launch(ctx: click.Context, *, version: bool) -> None:
    """From one YAML file to a supervised distributed PyTorch training.

    \b
    launch jobs/resnet.yaml                 train
    launch jobs/resnet.yaml --dry-run       show the plan, start nothing
    launch jobs/resnet.yaml --nodes 2       rehearse two nodes on this machine
    launch status                           how the newest run stands
    """
    if version:
        import launcher

        click.echo(f"launcher {launcher.__version__}")
    elif ctx.invoked_subcommand is None:
        click.echo(what_next())


def what_next() -> str:
    """What to type when one does not know what to type."""
    jobs = sorted(str(path) for ending in SPEC_ENDINGS for path in Path("jobs").glob(f"*{ending}"))
    if not jobs:
        first = [("launch init", "write starter jobs into ./jobs"), ("launch explain", "what a job file may say")]
    else:
        first = [(f"launch {jobs[0]}", "train it"), (f"launch {jobs[0]} --dry-run", "show the plan, start nothing")]
    lines = [*first, ("launch status", "how the newest run stands"), ("launch --help", "all commands")]
    width = max(len(command) for command, _ in lines)
    return "\n".join(f"  {command:<{width}}   {what}" for command, what in lines)
