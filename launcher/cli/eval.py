from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from launcher.cli import options
from launcher.errors import LaunchError


@click.command("eval")
@options.one_run()
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
@options.checkpoint_option
@options.runs_option
@options.json_option
def command(run: str, split: str, checkpoint: str | None, runs: str | None, as_json: bool) -> int:
    """Evaluate a checkpoint of a run on one split, each sample once, in one process.

    \b
    launch eval resnet-digits
    launch eval last --split val --json
    """
    from launcher.cli.terminal import labelled, print_json
    from launcher.runs import find_run, runs_folder

    code, values = evaluated(find_run(run, runs_folder(runs)), split, checkpoint)
    if values is None:
        return code or LaunchError.exit_code
    if as_json:
        print_json(values)
    else:
        numbers = [(key, in_words(value)) for key, value in values.items() if not isinstance(value, list)]
        tables = [line for key, value in values.items() if isinstance(value, list) for line in matrix(key, value)]
        print("\n".join([*labelled(numbers), *tables]))
    return code


def in_words(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6g}"


def matrix(key: str, counts: list[list[int]]) -> Iterator[str]:
    width = max((len(str(count)) for row in counts for count in row), default=1)
    yield f"{key}, a row for each class wanted, a column for each found:"
    yield from ("  " + "  ".join(f"{count or '.':>{width}}" for count in row) for row in counts)


def evaluated(run: Any, split: str, checkpoint: str | None) -> tuple[int, dict[str, Any] | None]:
    """The worker's exit code, and what it found. What else it prints goes to stderr. Raises UsageError, BackendError."""
    from launcher.cli.one_process import on_run, shell_code

    child = on_run(run, "eval", "--split", split, "--json", checkpoint=checkpoint)
    done = subprocess.run(
        child.argv, cwd=child.cwd, env=child.env, stdout=subprocess.PIPE, text=True, errors="replace", check=False
    )
    values, others = last_object(done.stdout, split)
    if any(others):
        print("\n".join(others).rstrip("\n"), file=sys.stderr)
    return shell_code(done.returncode), values


def last_object(printed: str, split: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The last line that holds the split's values as JSON, and the others: the user's code may print some, at its exit too."""
    lines = printed.splitlines()
    for number in reversed(range(len(lines))):
        with suppress(ValueError):
            found = json.loads(lines[number])
            if isinstance(found, dict) and f"{split}/loss" in found:
                return found, [*lines[:number], *lines[number + 1 :]]
    return None, lines
