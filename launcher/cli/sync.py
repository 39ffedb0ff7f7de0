from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options
from launcher.errors import BackendError, LaunchError, UsageError

if TYPE_CHECKING:
    from launcher.rundir import RunDir

MODULE = "launcher.worker.views.sync"


@click.command("sync")
@options.many_runs()
@options.runs_option
@options.json_option
def command(run: tuple[str, ...], runs: str | None, as_json: bool) -> int:
    """Send Weights & Biases what it has not got: rows that were kept offline. From a machine with a network and a key.

    \b
    launch sync last
    launch sync resnet-digits 20261124-193812 --json
    """
    from launcher.cli.terminal import print_json
    from launcher.runs import find_run, runs_folder

    found = list({each.path: each for each in (find_run(name, runs_folder(runs)) for name in run)}.values())
    code, answers = 0, []
    for each in found:
        try:
            answers.append({"id": each.id, **sent(each)})
            if not as_json:
                print(told(answers[-1]))
        except LaunchError as error:
            code = code or error.exit_code
            answers.append({"id": each.id, "error": str(error)})
            print(f"{each.id}: {error}", file=sys.stderr)
    if as_json:
        print_json(answers if len(answers) > 1 else answers[0])
    return code


def sent(run: RunDir) -> dict[str, Any]:
    """Raises UsageError where there is nothing to send, BackendError where W&B cannot be reached."""
    from launcher.events import summarize
    from launcher.load import load_job
    from launcher.rundir import refuse_live

    job = load_job(run.job)
    if job.log.wandb is None:
        raise UsageError(
            "its job has no W&B run: log.wandb is not set. Continue it with 'launch resume RUN --set log.wandb=true'"
        )
    if not run.metrics.exists():
        raise UsageError("it has logged no step yet: there is nothing to send")
    refuse_live(run)
    failed = summarize(run).state != "done"
    command = [sys.executable, "-P", "-m", MODULE, str(run.path), str(int(failed))]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False, cwd=Path.cwd())
    answer = last_line(done.stdout)
    if "error" in answer:
        raise BackendError(f"nothing was sent: {answer['error']}")
    return answer


def last_line(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text.splitlines()[-1]))
    except (IndexError, ValueError):
        return {"error": "the process that sends ended without a word: is wandb installed?"}


def told(answer: dict[str, Any]) -> str:
    if not answer["sent"]:
        return f"{answer['id']}: W&B has all {answer['rows']} rows already ({answer['url']})"
    return f"{answer['id']}: sent {answer['sent']} of {answer['rows']} rows to {answer['url']}"
