"""What resume writes: the changed job, the old one kept, and what was `auto` settled anew."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.cli.continuing import continued
from launcher.load import load_job
from launcher.plan import read_plan
from launcher.rundir import RunDir

FLAGS: dict[str, str | None] = {"nodes": None, "backend": None}


@pytest.fixture
def stopped(by_hand: Any, done: Any) -> RunDir:
    run: RunDir = by_hand(ledger=done[:5])
    return run


def test_the_old_job_is_kept_and_the_new_one_written(stopped: RunDir) -> None:
    old = stopped.job.read_text()
    continued(stopped, ["retry.max_restarts=9"], FLAGS)
    assert (stopped.path / "job-1.yaml").read_text() == old
    assert load_job(stopped.job).retry.max_restarts == 9
    continued(stopped, ["log.csv=true"], FLAGS)
    assert load_job(stopped.path / "job-2.yaml").retry.max_restarts == 9


def test_an_unchanged_job_is_not_kept_twice(stopped: RunDir) -> None:
    continued(stopped, [], FLAGS)
    assert not (stopped.path / "job-1.yaml").exists()


def test_another_number_of_nodes_settles_anew_but_keeps_threads(stopped: RunDir) -> None:
    continued(stopped, [], {"nodes": "2", "backend": None})
    world = read_plan(stopped).world
    assert (world.nodes, world.threads) == (2, 1)
    assert load_job(stopped.job).resources.nodes == 2


@pytest.mark.parametrize(
    "change", ["resources.procs_per_node=1", "log.every=5 steps", "checkpoint.keep_last=5", "env.A=b", "retry.max_restarts=0"]
)
def test_what_does_not_touch_the_mathematics_may_change(stopped: RunDir, change: str) -> None:
    assert continued(stopped, [change], FLAGS) is not None


@pytest.mark.parametrize(
    "schedule", ["", "  schedule: constant\n", "  schedule: {target: step, step_size: 10 steps, warmup: 5 steps}\n"]
)
def test_epochs_may_grow_where_the_schedule_does_not_depend_on_them(by_hand: Any, done: Any, train: str, schedule: str) -> None:
    run = by_hand(ledger=done, job=train + schedule)
    assert continued(run, ["train.epochs=4"], FLAGS) is not None
    assert load_job(run.job).train.epochs == 4  # type: ignore[union-attr]  # the job trains
