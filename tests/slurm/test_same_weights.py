"""A training that is disturbed on a cluster ends with the weights of one that was left alone, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from launcher.checkpoints import MODEL, newest_whole
from launcher.rundir import RunDir, json_lines
from tests.slurm.counting import SOON_LOST, Counting, events, wait, wait_for, wait_for_end

TRAIN = {
    "model": {"target": "mlp", "in_features": 64, "out_features": 10},
    "loss": "cross_entropy",
    "optimizer": {"target": "sgd", "lr": 0.1},
    "data": {"train": {"target": "digits", "split": "train", "flatten": True}, "batch_size": 64},
    "max_steps": 400,
}


def train(counting: Counting, backend: str, **resources: Any) -> RunDir:
    resources = {"nodes": 2, "backend": backend, "threads": 1, **resources}
    return counting.submit({"train": TRAIN, "checkpoint": {"every": "20 steps"}, "resources": resources, "retry": SOON_LOST})


def weights(run: RunDir) -> str:
    checkpoint, _ = newest_whole(run)
    assert checkpoint is not None
    assert checkpoint.step == TRAIN["max_steps"]
    return hashlib.sha256((checkpoint.path / MODEL).read_bytes()).hexdigest()


def steps(run: RunDir) -> list[int]:
    return [row["step"] for row in json_lines(run.metrics)]


def crash_another(counting: Counting, run: RunDir) -> None:
    counting.cluster.crash(counting.hosts(run)[1])


def crash_batch_host(counting: Counting, run: RunDir) -> None:
    counting.cluster.crash(counting.hosts(run)[0])


def preempt(counting: Counting, run: RunDir) -> None:
    counting.cluster.run("sbatch", "--partition=high", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def freeze_another(counting: Counting, run: RunDir) -> None:
    node = counting.cluster.nodes[counting.hosts(run)[1]]
    node.freeze()
    wait_for(run, "failure")
    node.thaw()


def cut_batch_host(counting: Counting, run: RunDir) -> None:
    """For so long that another job has the run when it is back."""
    host = counting.hosts(run)[0]
    counting.cluster.cut(host)
    wait_for(run, "supervising", 2)
    counting.cluster.heal(host)


def stop_and_resume(counting: Counting, run: RunDir) -> None:
    counting.call("stop", str(run.path), "--wait")
    counting.call("resume", str(run.path))


@pytest.mark.long
@pytest.mark.parametrize(
    ("disturb", "resources"),
    [
        (freeze_another, {"spares": 1}),
        (cut_batch_host, {}),
        (stop_and_resume, {}),
        (crash_another, {}),
        (crash_another, {"spares": 1}),
        (crash_batch_host, {}),
        (preempt, {"slurm": {"partition": "low"}}),
    ],
)
def test_disturbed_and_undisturbed(counting: Counting, disturb: Callable[..., None], resources: dict[str, Any]) -> None:
    alone = train(counting, "local")
    run = train(counting, "slurm", **resources)
    wait_for(run, "checkpoint")
    disturb(counting, run)
    wait(run, lambda: events(run, "done", "failed"), "its end")
    wait_for_end(run, "done")
    assert len(events(run, "attempt")) == 2
    assert weights(run) == weights(alone)
    assert steps(run) == steps(alone)
    wait(run, lambda: not counting.queued(), "an empty queue")
