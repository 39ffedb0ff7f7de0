from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import click

from launcher.errors import UsageError

BATCH_WAITS_S = 60.0
"""For the run: the job before this one may still be ending, and who submitted it still be writing."""


@click.command("supervise", hidden=True)
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--lock", type=int, hidden=True)
def command(run_dir: Path, lock: int | None) -> int:
    """Drive a prepared run to its end: what --detach starts, and what a batch script holds."""
    from launcher.backends import array_of
    from launcher.backends.slurm import is_batch_script
    from launcher.backends.slurm.successor import FOLLOWS
    from launcher.cli.ending import report
    from launcher.cli.leading import lead, screen_of
    from launcher.cli.terminal import is_terminal, say
    from launcher.load import load_job
    from launcher.plan import read_plan
    from launcher.rundir import RunDir
    from launcher.runs import is_run
    from launcher.supervisor.arrival import held

    if not is_run(run_dir):
        raise UsageError(f"{run_dir} is not a run directory: it holds no job.yaml")
    run = RunDir(run_dir)
    ranks = (0,) if is_terminal(sys.stdout) else ()
    patience_s = BATCH_WAITS_S if FOLLOWS in os.environ or is_batch_script() else 0.25
    job = load_job(run.job)
    holding: AbstractContextManager[object] = nullcontext()
    if array_of(read_plan(run)) is None:  # else its tasks share the run
        holding = held(run, follows=os.environ.get(FOLLOWS), inherited=lock, patience_s=patience_s)
    with holding, closing(screen_of(run, job, ranks, sys.stdout)) as screen:
        outcome = lead(run, job, screen)
        screen()
    say(report(run) + "\n", sys.stdout)
    return outcome.exit_code
