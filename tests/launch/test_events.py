from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.events import fold, ledger, record, summarize
from launcher.rundir import RunDir, json_lines, locked

T = "2026-01-01T00:00:00.000+00:00"


def entries(*events: str) -> list[dict[str, Any]]:
    return [{"time": T, "event": event, "attempt": None} for event in events]


@pytest.mark.parametrize(
    ("happened", "state"),
    [
        ([], "stopped"),
        (["prepared"], "stopped"),
        (["prepared", "supervising", "attempt"], "starting"),
        (["supervising", "attempt", "running", "checkpoint"], "running"),
        (["supervising", "attempt", "running", "failure"], "restarting"),
        (["supervising", "attempt", "running", "stopping"], "stopping"),
        (["supervising", "attempt", "running", "stopping", "stopped"], "stopped"),
        (["supervising", "attempt", "running", "done"], "done"),
        (["supervising", "attempt", "failure", "failed", "supervising"], "starting"),
    ],
)
def test_the_state_is_a_fold_over_the_ledger(happened: list[str], state: str) -> None:
    assert fold(entries(*happened)).state == state


def test_ranks_that_saved_are_not_the_end_of_a_run_that_another_job_goes_on_with() -> None:
    saved = [*entries("supervising", "attempt", "running", "stopping"), {"time": T, "event": "stopped", "attempt": 1, "step": 7}]
    assert fold(saved).state == "stopping"
    assert fold([*saved, *entries("queued")]).state == "queued"
    assert fold([*entries("running"), saved[-1]]).state == "stopped"  # under plain torchrun


def test_a_dead_supervisor_leaves_a_stopped_run_with_the_reason(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    record(run, "supervising", backend="local")
    record(run, "running", attempt=1, step=3)
    with locked(run):
        assert (summarize(run).state, summarize(run).step) == ("running", 3)
    summary = summarize(run)
    assert summary.state == "stopped"
    assert "stale lock" in (summary.reason or "")


def test_an_event_is_one_line_with_a_utc_time(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    record(run, "failure", attempt=2, reason="a\nb")
    assert len(run.events.read_text().splitlines()) == 1
    entry = next(json_lines(run.events))
    assert entry["time"].endswith("+00:00")
    assert (entry["event"], entry["attempt"], entry["reason"]) == ("failure", 2, "a\nb")


@pytest.mark.parametrize(
    "garbage", [b"\xff\xfe\x00", b"17\n[]\n{}\n", b'{"event": "run', bytes(100), b'\n{"event": 1, "time": 2}\n']
)
def test_spoiled_lines_cost_no_other_line(tmp_path: Path, garbage: bytes) -> None:
    run = RunDir(tmp_path)
    record(run, "supervising", backend="local")
    with run.events.open("ab") as file:
        file.write(garbage)
    record(run, "done", attempt=1)
    assert [entry["event"] for entry in ledger(run)] == ["supervising", "done"]
    assert summarize(run).state == "done"


def test_an_event_for_which_there_was_no_room_is_not_lost_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda to, line: write(to, line[:10]))  # as the kernel does where a disk fills up on the way
        with pytest.raises(OSError, match="No space left"):
            record(RunDir(tmp_path), "done")
    record(RunDir(tmp_path), "stopped")
    assert [entry["event"] for entry in ledger(RunDir(tmp_path))] == ["stopped"]
