"""What is kept, what is removed, and in which order it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher import checkpoints
from launcher.rundir import RunDir, json_lines
from launcher.worker.errors import WorkerError
from launcher.worker.restore import restore
from tests.worker.trainings import ALONE, new_run, saved, saver, step, training

SCORES = [0.5, 0.9, 0.7, 0.9, 0.6, 0.8]


def kept(run: RunDir) -> list[int]:
    return [each.step for each in checkpoints.checkpoints(run)]


@pytest.mark.parametrize(
    ("keeping", "steps"),
    [
        ({"keep_last": 1}, [6]),
        ({"keep_last": 3}, [4, 5, 6]),
        ({"keep_last": 9}, [1, 2, 3, 4, 5, 6]),
        ({"keep_last": 2, "keep_best": "val/accuracy"}, [2, 5, 6]),
        ({"keep_last": 1, "keep_best": {"monitor": "val/accuracy", "mode": "min"}}, [1, 6]),
    ],
)
def test_the_newest_and_the_best_are_kept(keeping: dict[str, Any], steps: list[int], tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    writer = saver(run, **keeping)
    for score in SCORES:
        step(state)
        writer.save(state, metrics={"val/accuracy": score}, rows=state.step, attempt=1)
    writer.close()
    assert kept(run) == steps


def test_a_metric_that_was_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    writer = saver(run, keep_last=1, keep_best="val/accuracy")
    for score in (0.1, float("nan"), 0.05):
        step(state)
        writer.save(state, metrics={"val/accuracy": score}, rows=0, attempt=1)
    writer.close()
    assert kept(run) == [1, 3]


def test_a_save_while_another_is_written_waits_and_both_are_whole(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    writer = saver(run, keep_last=9)
    for _ in range(8):
        step(state)
        writer.save(state, metrics={}, rows=0, attempt=1)
    writer.close()
    assert [each["step"] for each in json_lines(run.events)] == list(range(1, 9))
    assert all(each.damage() is None for each in checkpoints.checkpoints(run))


def test_what_changes_after_save_has_returned_is_not_in_it(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    writer, before = saver(run), state.model[0].weight.detach().clone()
    writer.save(state, metrics={}, rows=0, attempt=1)
    state.model[0].weight.data.zero_()
    writer.close()
    restore(run, state, ALONE)
    assert state.model[0].weight.equal(before)


def test_memory_can_be_taken_ahead(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    step(state)
    writer = saver(run)
    writer.prepare(state)
    writer.save(state, metrics={}, rows=0, attempt=1)
    writer.close()
    assert checkpoints.newest_whole(run)[0] is not None


def test_the_same_step_saved_again_replaces_the_older(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    saved(run, state)
    writer = saver(run)
    writer.save(state, metrics={"test/accuracy": 0.5}, rows=7, attempt=1, block=True)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000000"]
    assert restore(run, state, ALONE) == 7


def test_nothing_of_an_older_attempt_is_taken_once_a_newer_one_has_begun(tmp_path: Path) -> None:
    """A node that froze comes back and would go on writing."""
    run, state = new_run(tmp_path), training()
    writer = saver(run)
    step(state)
    run.attempt(2).mkdir(parents=True)
    with pytest.raises(WorkerError, match="attempt 2 of this run has begun"):
        writer.save(state, metrics={}, rows=0, attempt=1, block=True)
    assert list(run.checkpoints.iterdir()) == []
    writer.save(state, metrics={}, rows=0, attempt=2, block=True)
    assert kept(run) == [1]
