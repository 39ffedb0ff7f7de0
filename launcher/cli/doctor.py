from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.backends.check import Check
    from launcher.spec import Job

ANY_PROGRAM = "name: doctor\nrun: {program: ['true']}\n"
"""The job that is checked for where none is given: every default."""


@click.command("doctor")
@click.argument("spec", type=click.Path(), required=False, metavar="[SPEC]")
@options.backend_option
@options.nodes_option
@options.set_option
@click.option("--allreduce", is_flag=True, help="Prove it: a run of two seconds on the nodes that a job would have.")
@options.runs_option
@options.json_option
def command(spec: str | None, backend: str | None, nodes: str | None, overrides: tuple[str, ...], allreduce: bool,
            runs: str | None, as_json: bool) -> int:  # fmt: skip
    """What a training needs here, in the order in which it would fail. Exit code 3 where something does.

    \b
    launch doctor
    launch doctor jobs/resnet.yaml --backend slurm
    launch doctor jobs/resnet.yaml --backend slurm --nodes 2 --allreduce
    """
    from dataclasses import asdict

    from launcher.cli.terminal import print_json
    from launcher.errors import BackendError
    from launcher.load import load_job, parse_job
    from launcher.runs import runs_folder

    flags = {"nodes": nodes, "backend": backend}
    if spec is None:
        job = parse_job(ANY_PROGRAM, "the command line", overrides=overrides, flags=flags)
    else:
        job = load_job(spec, overrides=overrides, flags=flags)
    found = []
    for check in looked(job, runs_folder(runs), allreduce=allreduce):
        found.append(check)
        if not as_json:
            show(check)
    failed = [check.what for check in found if check.verdict == "fails"]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in found]})
    elif failed:
        print(f"what fails: {', '.join(failed)}")
    return BackendError.exit_code if failed else 0


def looked(job: Job, runs: Path, *, allreduce: bool) -> Iterator[Check]:
    """The all-reduce last, and only where nothing failed before it."""
    from launcher import backends

    sound = True
    for check in backends.of(job).check(job, runs):
        sound = sound and check.verdict != "fails"
        yield check
    if allreduce and sound:
        from launcher.cli.allreduce import prove

        yield from prove(job, runs)


def show(check: Check) -> None:
    from launcher.cli.terminal import GREEN, RED, YELLOW, coloured, say

    colour = {"ok": GREEN, "warning": YELLOW, "fails": RED}[check.verdict]
    say(f"{coloured(f'{check.verdict:<8}', colour)} {check.what:<14} {check.found}\n", sys.stdout)
    if check.remedy is not None:
        say(f"{'':<23} -> {check.remedy}\n", sys.stdout)
