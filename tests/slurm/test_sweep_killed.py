"""A sweep as an array while ranks, agents, supervisors and nodes die at random: it comes to what it would have come to."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.project import Project
from tests.slurm.test_sweep import LR, by_one, nothing_left, results, sweep

DISTURBED_S = 1200.0


def killed(cluster: Cluster, dice: random.Random, word: str) -> str:
    """Of the processes with that word in their command line, on whichever node."""
    there = [(name, pid) for name, node in cluster.nodes.items() if node.alive for pid in node.processes() if says(pid, word)]
    if not there:
        return f"no {word} to kill"
    name, pid = dice.choice(there)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"killed a {word} on {name}"


def says(pid: int, word: str) -> bool:
    with suppress(OSError):
        return word in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return False


def crashed(cluster: Cluster, dice: random.Random) -> str:
    name = dice.choice([name for name, node in cluster.nodes.items() if node.alive])
    cluster.crash(name)
    time.sleep(dice.uniform(0, 15))
    cluster.boot(name)
    return f"crashed {name}"


def frozen(cluster: Cluster, dice: random.Random) -> str:
    name, node = dice.choice(sorted((name, node) for name, node in cluster.nodes.items() if node.alive))
    node.freeze()
    time.sleep(dice.uniform(1, 20))
    node.thaw()
    return f"froze {name}"


FAULTS: list[Callable[[Cluster, random.Random], str]] = [
    lambda cluster, dice: killed(cluster, dice, "multiprocessing.forkserver"),  # ranks, and what they are forked from
    lambda cluster, dice: killed(cluster, dice, "launcher.agent"),
    lambda cluster, dice: killed(cluster, dice, "launcher supervise"),
    crashed,
    frozen,
]


@pytest.mark.long
@pytest.mark.timeout(2 * DISTURBED_S)
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_twenty_faults_in_thirty_trials_change_no_value(project: Project, method: str) -> None:
    trials, faults = (int(os.environ.get(name, count)) for name, count in (("SWEEP_TRIALS", 30), ("SWEEP_FAULTS", 20)))
    dice = random.Random(int(os.environ.get("SWEEP_SEED", "7")))
    run = sweep(
        project, f"method: {method}\n  trials: {trials}\n  {LR}", "--set", "train.epochs=30", "--set", "checkpoint.every=1 epoch"
    )
    until = time.monotonic() + DISTURBED_S
    for number in range(faults):
        time.sleep(dice.uniform(1, 8))
        print(f"{number}: {dice.choice(FAULTS)(project.cluster, dice)}", flush=True)
        if project.status(run)["state"] == "done":
            break
    while (now := project.status(run))["state"] != "done":
        assert time.monotonic() < until, now
        project.cluster.bring_back()
        if now["state"] in ("stopped", "failed"):
            print(f"resumed: {now['state']}: {now['reason']}", flush=True)
            assert project.launch("resume", str(run)).returncode == 0
        time.sleep(1)
    nothing_left(project, run)
    assert results(run) == by_one(project, "--set", "train.epochs=30")
