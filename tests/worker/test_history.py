"""metrics.jsonl: a row for each logged step, once, through any number of attempts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.rundir import RunDir, json_lines
from launcher.worker.history import History
from launcher.worker.world import World


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def written(run: RunDir, steps: range) -> History:
    history = History(run, World())
    history.cut(steps.start)
    for step in steps:
        history.row(step, {"epoch": step / 4, "train/loss": 1 / (step + 1)})
    history.fsync()
    return history


def test_a_row_is_a_line_of_json(run: RunDir) -> None:
    written(run, range(2))
    assert (
        run.metrics.read_text() == '{"step": 0, "epoch": 0.0, "train/loss": 1.0}\n{"step": 1, "epoch": 0.25, "train/loss": 0.5}\n'
    )


@given(attempts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5), torn=st.binary(max_size=9))
def test_after_any_crashes_the_history_is_the_undisturbed_one(tmp_path_factory, attempts, torn) -> None:  # type: ignore[no-untyped-def]
    undisturbed, disturbed = (RunDir(tmp_path_factory.mktemp("run")) for _ in range(2))
    written(undisturbed, range(12))
    reached = 0
    for wanted, stop in attempts:
        start = min(wanted, reached)
        written(disturbed, range(start, stop)).close()
        reached = max(start, stop)
        with disturbed.metrics.open("ab") as file:
            file.write(torn.replace(b"\n", b""))
    written(disturbed, range(min(reached, 12), 12))
    assert disturbed.metrics.read_bytes() == undisturbed.metrics.read_bytes()


def test_a_process_of_an_earlier_attempt_that_wakes_up_writes_into_nothing(run: RunDir) -> None:
    frozen = written(run, range(5))
    written(run, range(3, 4))
    frozen.row(5, {})
    assert [row["step"] for row in json_lines(run.metrics)] == [0, 1, 2, 3]


def test_rows_are_counted_over_attempts(run: RunDir) -> None:
    assert written(run, range(5)).rows == 5
    assert written(run, range(3, 4)).rows == 4


def test_a_step_has_one_row(run: RunDir) -> None:
    with pytest.raises(AssertionError, match="row of step 2 after that of step 2"):
        written(run, range(3)).row(2, {})


def test_what_json_has_no_number_for_is_null(run: RunDir) -> None:
    history = written(run, range(0))
    history.row(1, {"a": float("nan"), "b": float("-inf"), "c": [1.0, float("inf")]})
    assert json.loads(run.metrics.read_text()) == {"step": 1, "a": None, "b": None, "c": [1.0, None]}


def test_rows_that_a_checkpoint_counts_and_nobody_has_are_told_of(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    History(run, World()).cut(3)
    assert "metrics.jsonl has 0 rows, where the checkpoint counts 3" in capfd.readouterr().err


def test_timings_carry_the_attempt_and_stay(run: RunDir) -> None:
    for attempt in (1, 2):
        history = History(run, World(attempt=attempt))
        history.cut(0)
        history.timing(10, {"samples_per_s": 3.5})
        history.close()
        with run.timings.open("ab") as file:
            file.write(b'{"torn')
    rows = list(json_lines(run.timings))
    assert rows == [{"step": 10, "attempt": attempt, "samples_per_s": 3.5} for attempt in (1, 2)]


def test_other_ranks_write_nothing(run: RunDir) -> None:
    history = History(run, World(rank=1, world_size=2))
    history.cut(0)
    history.row(1, {})
    history.timing(1, {})
    history.fsync()
    assert list(run.path.iterdir()) == []


def test_a_row_of_which_the_disk_takes_a_part_is_an_error_and_no_half_line(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    history = written(run, range(2))
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:7]))
    with pytest.raises(OSError, match="No space left on device"):
        history.row(2, {})
    monkeypatch.undo()
    assert [row["step"] for row in json_lines(run.metrics)] == [0, 1]
