"""The child that feeds the views: `python -m launcher.worker.views RUN_DIR`.

It reads its standard input for `finish SECONDS`. The end of file without that means that rank 0 is gone: then it shows what there
is, quickly, and ends. Rows that a view lacks are sent again by the next attempt's child.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from dataclasses import dataclass

from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.worker.views.follow import Follower
from launcher.worker.views.local import Local
from launcher.worker.views.weights_and_biases import WeightsAndBiases

POLL_S = 0.25
ORPHAN_S = 4.0
"""How long it lives on without rank 0: nothing of a run outlives it by more than 5 s."""
NICENESS = 10


@dataclass(frozen=True, kw_only=True)
class Ending:
    timeout_s: float
    exit_code: int
    """W&B shows a run that ended with another than 0 as failed."""


def main(path: str) -> int:
    os.nice(NICENESS)
    run, parent = RunDir(path), os.getppid()
    job = load_job(run.job)
    local = Local(run, job.log)
    remote = WeightsAndBiases(run, job) if job.log.wandb else None
    follower = Follower(run.metrics)
    rows, ending = follower.rows(), None
    if rows:
        local.draw()  # an attempt that was killed had no time for it
    while True:
        local.send(rows)
        if remote:
            remote.send(rows)
        if ending:
            return end(local, remote, ending)
        ending = asked_to_end(parent)
        rows = follower.rows()


def asked_to_end(parent: int) -> Ending | None:
    """Waits a moment for word from rank 0, or for its death."""
    readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
    line = sys.stdin.readline() if readable else None
    if line and line.startswith("finish "):
        return Ending(timeout_s=float(line.split()[1]), exit_code=0)
    # Processes that rank 0 forked may hold the pipe open after its death.
    return Ending(timeout_s=ORPHAN_S, exit_code=1) if line == "" or os.getppid() != parent else None


def end(local: Local, remote: WeightsAndBiases | None, ending: Ending) -> int:
    deadline = time.monotonic() + ending.timeout_s
    overdue = threading.Timer(ending.timeout_s, os._exit, (1,))
    overdue.daemon = True
    overdue.start()
    local.finish()
    overdue.cancel()  # W&B keeps to the time by itself, and says what it lacks
    taken = remote.finish(deadline - time.monotonic() - POLL_S, ending.exit_code) if remote else True
    return 0 if local.complete and taken else 1


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # W&B's own handlers at exit wait for its endpoint, for as long as that takes
