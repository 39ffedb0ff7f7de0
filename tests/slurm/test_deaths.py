"""Who dies under a run on a cluster, and who asks it to stop: what follows, and that nothing is left."""

from __future__ import annotations

import os
import signal

import pytest

from tests.slurm.counting import SOON_LOST, Counting, events, wait, wait_for, wait_for_counting, wait_for_end
from tests.slurm.test_ladder import command


def ours(counting: Counting, host: str, words: bytes = b"launcher") -> list[int]:
    """Processes on a node whose command has these words."""
    return [pid for pid in counting.cluster.nodes[host].processes() if words in command(pid)]


@pytest.mark.parametrize(
    ("words", "says"), [(b"count.py", "killed by SIGKILL"), (b"-m\0launcher.agent", "with a new agent on node 1")]
)
def test_a_rank_or_an_agent_is_replaced_where_it_was(counting: Counting, words: bytes, says: str) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2})
        wait_for_counting(run, 2)
        os.kill(max(ours(counting, counting.hosts(run)[1], words)), signal.SIGKILL)
        assert says in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    assert (len(events(run, "attempt")), len(events(run, "supervising"))) == (2, 1)
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_no_node_is_blamed_where_srun_stands_still(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for_counting(run, 2)
        for pid in ours(counting, counting.hosts(run)[0], b"srun\0"):
            os.kill(pid, signal.SIGSTOP)
        assert "with a new agent on node 0 (n1), node 1 (n2)" in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    assert (len(events(run, "attempt")), len(events(run, "supervising"))) == (2, 1)
    wait(run, lambda: not counting.queued(), "an empty queue")


def test_stopped_from_the_login_node_and_continued(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2})
        wait_for_counting(run, 2)
        counting.call("stop", str(run.path), "--wait")
        assert "saved" in wait_for_end(run, "stopped")["reason"]
    wait(run, lambda: not counting.queued(), "an empty queue")
    saved = int((run.path / "rank-1.count").read_text())
    assert 0 < saved < 60
    counting.call("resume", str(run.path))
    wait_for(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_what_was_cut_off_has_ended_when_another_takes_its_place(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2, "spares": 1}, retry=SOON_LOST)
        wait_for_counting(run, 2)
        _, second, third = counting.hosts(run)
        counting.cluster.cut(second)
        try:
            assert f"{third} takes the place of {second}" in wait_for(run, "failure")["reason"]
            assert not ours(counting, second, b"count.py")
        finally:
            counting.cluster.heal(second)
    wait_for_end(run, "done")
    wait(run, lambda: not counting.queued(), "an empty queue")


@pytest.mark.long
def test_a_batch_host_that_lost_its_power_is_followed_by_the_successor(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for_counting(run, 2)
        first, second = counting.hosts(run)
        counting.cluster.crash(first)
        assert "ended without a word" in wait_for(run, "failure")["reason"]
    wait_for_end(run, "done")
    wait(run, lambda: not ours(counting, second) and not counting.queued(), "nothing to be left")
