"""What is left to do for the last ones of a job whose batch host died: Slurm keeps a job that outlives its nodes running.

Its successor would wait until the time limit. The host may only have stood still: the job is marked before it is cancelled, so
that a supervisor that goes on there does not take that for its user's wish. Nothing here is heavy: it runs in an agent's wrapper.
"""

from __future__ import annotations

import os
import re
import subprocess
import time

from launcher.protocol import GIVEN_UP

LOOKS_S = 2.0
WATCH_S = 1200.0
"""Slurm may take minutes to believe that a node is dead (SlurmdTimeout; 300 s by default)."""
ANSWER_S = 20.0
BATCH_HOST = re.compile(r"\bBatchHost=(\S+)")
RUNNING = re.compile(r"\bJobState=RUNNING\b")
STATE = re.compile(r"\bState=(\S+)")


def watch(job: str) -> None:
    """Cancels the job once Slurm says that its batch host is dead. A node that was itself cut off finds that host well."""
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        told = ask("show", "job", "-o", job)
        host = BATCH_HOST.search(told)
        if told and (not RUNNING.search(told) or host is None or host[1] == os.environ.get("SLURMD_NODENAME")):
            return
        if host is not None and dead(ask("show", "node", "-o", host[1])):
            run("scontrol", "update", f"JobId={job}", f"Comment={GIVEN_UP}")
            run("scancel", job)
            return
        time.sleep(LOOKS_S)


def dead(node: str) -> bool:
    """Of what `scontrol show node -o` says."""
    state = STATE.search(node)
    return state is not None and any(word in state[1] for word in ("DOWN", "NOT_RESPONDING", "FAIL", "*"))


def ask(*argv: str) -> str:
    return run("scontrol", *argv)


def run(*argv: str) -> str:
    """Its output; nothing where the controller does not answer."""
    try:
        env = {name: value for name, value in os.environ.items() if not name.startswith("SCANCEL_")}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=ANSWER_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
