"""Pushed out by a job of a higher partition: saved, and continued once there is room again."""

from __future__ import annotations

import pytest

from tests.slurm.counting import Counting, events, wait_for, wait_for_counting, wait_for_end


@pytest.mark.parametrize("partition", ["low", *(pytest.param(name, marks=pytest.mark.long) for name in ("swift", "scav"))])
def test_a_preempted_run_saves_and_comes_back(counting: Counting, partition: str) -> None:
    """With 30 s of grace where Slurm would requeue (low) or cancel (scav), and with none (swift)."""
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2, "slurm": {"partition": partition}})
        wait_for_counting(run, 2)
        counting.cluster.run("sbatch", "--partition=high", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
        wait_for(run, "queued", 2)
    over = events(run, "queued")[-1]
    assert over["reason"].startswith("preempted: saved")
    assert (run.path / "rank-1.count").exists()
    wait_for_end(run, "done")
    assert not events(run, "failure")
