"""Views of metrics.jsonl: Weights & Biases, TensorBoard, CSV and curves, fed by a child process of rank 0.

A child, so that a slow disk, a hanging endpoint or a crash in a plotting library costs the training nothing. It follows the file
by itself; the pipe to it says only when to finish, and its end of file that rank 0 is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.log import Log

LOG_NAME = "views.log"
GRACE_S = 1.0
"""What the child may take beyond its deadline before it is killed."""


class Views:
    """The running child, or nothing where the job asks for no view."""

    def __init__(self, process: subprocess.Popen[str] | None, log: Path | None) -> None:
        self.process, self.log = process, log

    def finish(self, timeout_s: float = 30.0) -> None:
        """Lets the child show the last rows; after `timeout_s` it is ended. What W&B has not taken by then stays in wandb/."""
        if self.process is None:
            return
        deadline = time.monotonic() + timeout_s + GRACE_S
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            print("finish", timeout_s, file=self.process.stdin, flush=True)
            self.process.stdin.close()
        try:
            code = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code:
            print(f"not every view of the metrics is complete: see {self.log}", file=sys.stderr, flush=True)


def start(run: RunDir, job: Job, *, attempt: int = 1) -> Views:
    """On rank 0 alone."""
    if not wanted(job.log):
        return Views(None, None)
    path = run.attempt(attempt) / LOG_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    # -P: in the folder where the training runs, a file of the user's may be called like a module of the library's.
    command = [sys.executable, "-P", "-m", "launcher.worker.views", str(run.path)]
    with path.open("a") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    return Views(process, path)


def wanted(log: Log) -> bool:
    return log.wandb is not None or bool(log.tensorboard) or log.csv or log.plots
