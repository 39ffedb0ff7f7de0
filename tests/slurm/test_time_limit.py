"""The time limit, and who ends a job before it."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.slurm.counting import Counting, events, wait, wait_for, wait_for_counting, wait_for_end

LEFT_S = 20.0
"""Half of what the job then has in all is for saving, as twice the grace is more than that: no less than one grace."""


def shorten(counting: Counting, job: str) -> None:
    """The job's end is moved, and it is warned as Slurm would do it."""
    end = datetime.fromtimestamp(time.time() + LEFT_S).isoformat(timespec="seconds")
    counting.cluster.run("scontrol", "update", f"JobId={job}", f"EndTime={end}")
    counting.cluster.run("scancel", "--batch", "--signal=USR1", job)


def test_at_its_time_limit_a_run_goes_on_in_the_next_job(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(200, resources={"nodes": 2, "time": "10m"})
        wait_for_counting(run, 2)
        first = counting.job(run)
        shorten(counting, first)
        assert "are for saving" in wait_for(run, "note")["reason"]
        wait_for(run, "supervising", 2)
    over = events(run, "queued")[-1]
    assert (over["after"], over["exit_code"]) == (first, 75)
    assert "at the time limit: saved" in over["reason"]
    assert int((run.path / "rank-0.count").read_text()) > 0
    wait_for_end(run, "done")
    assert [entry["attempt"] for entry in events(run, "attempt")] == [1, 2]
    assert not events(run, "failure")
    wait(run, lambda: not counting.queued(), "an empty queue")


def test_a_warning_that_comes_before_the_supervisor_ends_nothing(counting: Counting) -> None:
    """As it does at once where the limit is no longer than the warning before it."""
    setup = [f"touch {counting.folder}/setting-up", f"while [ ! -e {counting.folder}/go ]; do sleep 0.1; done"]
    run = counting.launch(5, environment={"setup": setup})
    wait(run, (counting.folder / "setting-up").exists, "the job's own shell lines")
    (job,) = [event["job"] for event in events(run, "queued")]
    counting.cluster.run("scancel", "--batch", "--signal=USR1", job)
    time.sleep(0.5)  # a shell without a trap ends once its sleep is over
    (counting.folder / "go").touch()
    wait_for_end(run, "done")
    assert counting.job(run) == job


@pytest.mark.long
def test_by_hand_with_sbatch_a_run_goes_on_in_the_next_job(counting: Counting) -> None:
    with counting.held():
        run = counting.by_hand(200, "--nodes=2", "--time=10", "--mem-per-cpu=50", "--exclude=n4")
        wait_for_counting(run, 2)
        first = counting.job(run)
        shorten(counting, first)
        wait_for(run, "supervising", 2)
        second = counting.job(run)
        third = wait_for(run, "successor", 2)["job"]
        asked = [counting.asked_for(number) for number in (first, second, third)]
    assert asked[0] == asked[1] == asked[2]
    assert counting.asked_for(second, "TimeLimit") == {"TimeLimit": "00:10:00"}
    wait_for_end(run, "done")
    assert [(entry["attempt"], entry["nodes"]) for entry in events(run, "attempt")] == [(1, 2), (2, 2)]
    assert not events(run, "failure")
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_torchrun_in_the_agents_place_goes_on_in_the_next_job(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(400, resources={"nodes": 2, "time": "10m", "agent": "torchrun"})
        wait_for_counting(run, 2)
        shorten(counting, counting.job(run))
        wait_for(run, "supervising", 2)
    assert "at the time limit" in events(run, "queued")[-1]["reason"]
    assert int((run.path / "rank-0.count").read_text()) > 0
    wait_for_end(run, "done")
    assert [entry["attempt"] for entry in events(run, "attempt")] == [1, 2]
    assert not events(run, "failure")


def test_at_its_time_limit_a_run_may_be_told_to_stop(counting: Counting) -> None:
    run = counting.launch(2000, resources={"time": "10m"}, retry={"when_time_is_up": "stop"})
    wait_for_counting(run)
    shorten(counting, counting.job(run))
    assert "when_time_is_up says stop" in wait_for_end(run, "stopped")["reason"]
    wait(run, lambda: not counting.queued(), "an empty queue")


def test_scancel_saves_stops_and_takes_the_successor_along(counting: Counting) -> None:
    run = counting.launch(2000, resources={"nodes": 2})
    wait_for_counting(run, 2)
    counting.cluster.run("scancel", counting.job(run))
    assert "saved" in wait_for_end(run, "stopped")["reason"]
    assert "scancel" in events(run, "stopping")[-1]["reason"]
    assert all((run.path / f"rank-{rank}.count").exists() for rank in range(2))
    wait(run, lambda: not counting.queued(), "an empty queue")
