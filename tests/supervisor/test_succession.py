"""What is remembered over the jobs of a run, and over the runs of a user."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from launcher.backends import distrust
from launcher.backends.distrust import Grievance, distrusted, hold_against, remembered
from launcher.backends.slurm.limit import parse
from launcher.protocol import GIVEN_UP
from launcher.supervisor.errands import Errands
from launcher.supervisor.ladder import carried, jobs_without_progress
from tests.patience import PATIENCE_S

RUNNING = (
    "JobId=1 JobName=a b=c JobState=RUNNING Reason=None RunTime=00:00:02 TimeLimit=00:05:00 "
    "StartTime=2026-11-25T01:35:28 EndTime=2026-11-25T01:40:28 Deadline=N/A"
)


@pytest.mark.parametrize(
    ("text", "state", "left_s", "preempted"),
    [
        (RUNNING, "RUNNING", 300.0, False),
        (RUNNING.replace("RUNNING", "COMPLETING"), "COMPLETING", None, False),
        (RUNNING.replace("00:05:00", "UNLIMITED"), "RUNNING", None, False),
        (RUNNING + " PreemptTime=2026-11-25T01:36:00", "RUNNING", 300.0, True),
        (RUNNING + " PreemptTime=None", "RUNNING", 300.0, False),
        ("", "", None, False),
    ],
)
def test_a_jobs_standing_is_read(text: str, state: str, left_s: float | None, preempted: bool) -> None:
    standing = parse(text)
    assert (standing.state, standing.preempted) == (state, preempted)
    assert (standing.ends - standing.began if standing.ends and standing.began else None) == left_s


def test_a_job_that_its_agents_gave_up_is_told_from_one_that_its_user_cancelled() -> None:
    assert not parse(RUNNING + " Comment=mine").given_up
    assert parse(f"{RUNNING} Comment={GIVEN_UP}").given_up


def ledger(*kinds: str) -> list[dict[str, Any]]:
    """`supervising:4` has job 4, `queued:4` follows job 4."""
    parts = [kind.partition(":") for kind in kinds]
    return [{"event": event, ("after" if event == "queued" else "job"): which or None} for event, _, which in parts]


@pytest.mark.parametrize(
    ("kinds", "used", "jobs"),
    [
        (["prepared", "queued", "supervising:1", "failure"], 1, 1),
        (["prepared", "queued", "supervising:1", "failure", "checkpoint", "failure", "supervising:2"], 1, 1),
        (["queued", "supervising:1", "failure", "queued:1", "supervising:2", "failure"], 2, 2),
        (["queued", "supervising:1", "failure", "failed", "queued", "supervising:2"], 0, 1),
        (["queued", "supervising:1", "queued:1", "supervising:2", "queued:2", "supervising:3"], 0, 3),
    ],
)
def test_what_earlier_jobs_used_up(kinds: list[str], used: int, jobs: int) -> None:
    assert carried(ledger(*kinds), allowed=3, progress=5).used == used
    assert jobs_without_progress(ledger(*kinds)) == jobs


def against(host: str, weight: float) -> Grievance:
    return Grievance(host=host, time=0.0, weight=weight, what="", run="")


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        ([], ()),
        ([against("n1", 1.0)], ("n1",)),
        ([against("n1", 0.5)], ()),
        ([against("n1", 0.5), against("n1", 0.5)], ("n1",)),
        ([against("n1", 1.0), against("n2", 1.5), against("n3", 2.0)], ("n3", "n2")),
        ([against("elsewhere", 9.0)], ()),
    ],
)
def test_the_worst_are_left_out_and_no_more_than_a_quarter(said: list[Grievance], left_out: tuple[str, ...]) -> None:
    assert distrusted(said, [f"n{number}" for number in range(1, 9)]) == left_out


def test_a_host_is_forgiven_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hold_against("n1", "fell silent", run="a-run", weight=1.0)
    assert [each.host for each in remembered(time.time())] == ["n1"]
    assert remembered(time.time() + distrust.EXPIRES_S) == []


def test_a_spoiled_memory_remembers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    distrust.memory().parent.mkdir()
    distrust.memory().write_text('[{"host": 3}, 7, ')
    assert remembered(0.0) == []


def test_answers_are_handed_out_in_the_askers_own_time() -> None:
    errands, told = Errands(), []
    errands.send(lambda: 1, told.append, told.append)
    errands.send(lambda: Path("/nowhere").read_text(), told.append, told.append)
    assert errands.settle(PATIENCE_S)
    assert told[0] == 1
    assert "No such file" in told[1]
