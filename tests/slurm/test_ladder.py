"""What a run outlives on a cluster, rung by rung."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from launcher.backends.distrust import hold_against
from launcher.rundir import read_json
from tests.slurm.counting import SOON_LOST, Counting, events, wait, wait_for, wait_for_end


def test_a_run_that_is_done_leaves_nothing_in_the_queue(counting: Counting) -> None:
    run = counting.launch(20)
    wait_for_end(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")
    assert [entry["job"] for entry in events(run, "successor")] == [entry["job"] for entry in events(run, "withdrawn")]


def test_a_spare_takes_the_place_of_a_lost_node(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2, "spares": 1}, retry=SOON_LOST)
        wait_for(run, "running")
        _, second, third = counting.hosts(run)
        counting.cluster.crash(second)
        assert f"{third} takes the place of {second}" in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    assert len(events(run, "supervising")) == 1


@pytest.mark.long
def test_a_lost_node_without_a_spare_is_left_behind_by_the_successor(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for(run, "running")
        _, second = counting.hosts(run)
        counting.cluster.crash(second)
        assert "in another job, without node 1" in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    assert second not in counting.hosts(run)
    remembered = read_json(counting.folder / "state" / "launcher" / "nodes.json")
    assert [(each["host"], each["weight"]) for each in remembered] == [(second, 1.0)]
    wait(run, lambda: not counting.queued(), "an empty queue")


def test_with_a_range_of_nodes_it_goes_on_with_fewer(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(100, resources={"nodes": {"min": 1, "max": 2}}, retry=SOON_LOST)
        wait_for(run, "running")
        _, second = counting.hosts(run)
        counting.cluster.nodes[second].freeze()
        assert "with 1 of 2 nodes" in wait_for(run, "failure")["reason"]
    wait_for(run, "running", 2)
    node = counting.cluster.nodes[second]
    node.thaw()
    wait(run, lambda: not [pid for pid in node.processes() if b"count.py" in command(pid)], "what was frozen to end itself")
    wait_for_end(run, "done")
    assert len(events(run, "supervising")) == 1


def test_a_dead_supervisor_is_followed_by_the_successor(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60)
        wait_for(run, "running")
        wait_for(run, "successor")
        os.kill(process(counting, b"supervise"), signal.SIGKILL)
        assert "ended without a word" in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")


def test_a_batch_host_that_froze_and_thaws_ends_nothing(counting: Counting) -> None:
    """The agents that are left cancel its job, for Slurm keeps it: to the supervisor that thaws this is nobody's scancel."""
    with counting.held():
        run = counting.launch(100, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for(run, "running")
        wait_for(run, "successor")
        job, node = counting.job(run), counting.cluster.nodes[counting.hosts(run)[0]]
        node.freeze()
        state = ("squeue", "-h", "-j", job, "-o", "%T")
        wait(run, lambda: counting.cluster.run(*state).strip() != "RUNNING", "the job to be cancelled")
        node.thaw()
    wait_for_end(run, "done")
    assert not events(run, "stopped")
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_a_batch_host_that_stays_frozen_is_left_behind(counting: Counting) -> None:
    """What it holds it goes on holding, the run's lock too; when it thaws at last, the run is in other hands."""
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for(run, "running")
        wait_for(run, "successor")
        node = counting.cluster.nodes[counting.hosts(run)[0]]
        node.freeze()
    wait(run, lambda: events(run, "done", "failed", "stopped"), "its end without the frozen node")
    node.thaw()
    wait_for_end(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")
    wait(run, lambda: not [pid for pid in node.processes() if b"count.py" in command(pid)], "what was frozen to end itself")
    assert {each["event"] for each in events(run)[-2:]} <= {"done", "withdrawn", "trained"}


def test_a_black_hole_is_left_out_by_the_second_attempt(counting: Counting) -> None:
    counting.cluster.nodes["n2"].run("touch", "/dev/shm/black-hole")
    try:
        run = counting.launch(20, resources={"nodes": 2})
        wait_for_end(run, "done")
    finally:
        counting.cluster.nodes["n2"].run("rm", "-f", "/dev/shm/black-hole")
    assert [entry["attempt"] for entry in events(run, "attempt")] == [1, 2]
    assert "n2" not in counting.hosts(run)


@pytest.mark.long
def test_a_controller_that_is_down_is_a_note(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60)
        wait_for(run, "successor")
        wait_for(run, "running")
        counting.cluster.stop_controller()
        try:
            os.kill(process(counting, b"supervise"), signal.SIGUSR1)
            assert "does not answer" in wait_for(run, "note")["reason"]
        finally:
            counting.cluster.start_controller()
    wait_for_end(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_a_bad_host_is_left_out_unless_the_job_needs_it(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", counting.environment["XDG_STATE_HOME"])
    hold_against("n1", "fell silent", run="another", weight=1.0)
    features = ("scontrol", "update", "nodename=n1,n2")
    counting.cluster.run(*features, "availablefeatures=big", "activefeatures=big")
    try:
        for nodes, hosts, notes in ((2, ["n1", "n2"], 0), (1, ["n2"], 2)):
            run = counting.launch(20, resources={"nodes": nodes, "slurm": {"constraint": "big"}})
            wait_for(run, "successor")
            wait_for_end(run, "done")
            assert counting.hosts(run) == hosts
            said = [note["reason"].partition("lately: ")[2] for note in events(run, "note")]
            assert said == ["n1 (fell silent)"] * notes
    finally:
        counting.cluster.run(*features, "availablefeatures=", "activefeatures=")
    wait(run, lambda: not counting.queued(), "an empty queue")


def process(counting: Counting, word: bytes) -> int:
    """The one process of all nodes whose command has this word."""
    found = {pid for node in counting.cluster.nodes.values() for pid in node.processes() if word in command(pid)}
    assert len(found) == 1
    return found.pop()


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
