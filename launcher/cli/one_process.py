"""The worker, or a user's program, as one ordinary child process in the terminal: for debug, eval, export and predict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from launcher.errors import BackendError, UsageError
from launcher.load import load_job
from launcher.plan import Plan, settle
from launcher.prepare import plan_for
from launcher.references import filled
from launcher.rundir import RunDir
from launcher.spec import Job

PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def alone(job: Job) -> tuple[Job, Plan]:
    """The job on one rank of this machine."""
    one = job.resources.model_copy(update={"nodes": 1, "spares": 0, "procs_per_node": 1, "backend": "local"})
    job = job.model_copy(update={"resources": one})
    plan = plan_for(job)
    return settle(job, plan), plan


def environment(plan: Plan) -> dict[str, str]:
    """The caller's, with what the spec adds. Raises BackendError where it refers to a variable that is not set."""
    added = {**plan.env, **plan.nodes[0].env}
    return {**os.environ, **{name: filled(name, value, os.environ) for name, value in added.items()}}


def program(plan: Plan, *, pdb: bool) -> list[str]:
    """The entry as its user would start it by hand. Raises UsageError."""
    python = [sys.executable, "-m", "pdb", "-c", "continue"] if pdb else [sys.executable]
    entry = plan.entry
    if entry.kind == "program":
        if pdb:
            raise UsageError("--pdb needs a Python script or module, and run.program is any program")
        return [entry.target, *entry.argv]
    return [*python, *(["-m"] if entry.kind == "module" else []), entry.target, *entry.argv]


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process to be started."""

    argv: list[str]
    cwd: str
    env: dict[str, str]


def on_run(run: RunDir, command: str, *arguments: str, checkpoint: str | None) -> Child:
    """The worker's `command` on a run, in this environment, whatever the run's own was; where its folder is gone, without it.

    Raises UsageError where it is none of the built-in worker, BackendError.
    """
    job = load_job(run.job)
    if job.train is None:
        raise UsageError(f"run {run.id} is a program of its own: {command} is for train:, the built-in worker")
    here = job.environment.model_copy(update={"container": None, "python": None})
    _, plan = alone(job.model_copy(update={"environment": here}))
    chosen = ["--checkpoint", checkpoint] if checkpoint else []
    cwd = run.fill(plan.entry.cwd)
    argv = worker(command, str(run.path), *arguments, *chosen)
    return Child(argv=argv, cwd=cwd if Path(cwd).is_dir() else str(Path.cwd()), env=environment(plan))


def worker(*arguments: str) -> list[str]:
    """Its own modules first (-P): a queue.py in the user's folder is not the library's."""
    return [sys.executable, "-P", "-m", "launcher.worker", *arguments]


def of_run(run: RunDir, command: str, *arguments: str, checkpoint: str | None) -> int:
    """The exit code of the worker's `command` on a run. Raises UsageError, BackendError."""
    child = on_run(run, command, *arguments, checkpoint=checkpoint)
    return run_in_foreground(child.argv, child.cwd, child.env)


def run_in_foreground(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> int:
    """Its exit code, as a shell reports it. Ctrl-C is the child's affair: the terminal sends it to both."""
    try:
        with subprocess.Popen(argv, cwd=cwd, env=env) as child, handed_to(child):
            return shell_code(child.wait())
    except OSError as error:
        raise BackendError(f"cannot start {argv[0]} in {cwd}: {error.strerror}") from None


@contextmanager
def handed_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """While the child lives, an interrupt is its own affair and what asks us to end is passed on."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def shell_code(code: int) -> int:
    return 128 - code if code < 0 else code
