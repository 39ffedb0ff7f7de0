"""launch doctor on a real cluster: what is wrong is found before anything is submitted, the rest by a run of two seconds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import Cluster

LAUNCH = str(Path(sys.executable).with_name("launch"))
SMALL = ("--set", "resources.procs_per_node=1", "--set", "resources.device=cpu", "--set", "retry.lost_after=60s")
"""An agent that the machine holds up is not lost."""


@pytest.fixture
def idle(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    cluster.wait_idle()
    assert cluster.run("squeue", "-h") == ""


def doctor(cluster: Cluster, folder: Path, *words: str, inside: tuple[str, ...] = ()) -> tuple[int, dict[str, dict[str, Any]]]:
    argv = [*inside, LAUNCH, "doctor", "--json", *words]
    done = subprocess.run(argv, cwd=folder, env=cluster.environment, capture_output=True, text=True)
    return done.returncode, {each["what"]: each for each in json.loads(done.stdout)["checks"]}


def test_a_run_of_two_seconds_proves_it_and_leaves_nothing(idle: Cluster, tmp_path: Path) -> None:
    code, found = doctor(idle, tmp_path, "--backend", "slurm", "--nodes", "2", "--allreduce", *SMALL)
    assert code == 0
    assert found["submission"]["verdict"] == found["ranks"]["verdict"] == found["all-reduce"]["verdict"] == "ok"
    assert found["ranks"]["found"].startswith("2 on 2 hosts")
    assert "main: " in found["partition"]["found"]
    assert list(tmp_path.glob("runs/*")) + list(tmp_path.glob("runs/.*")) == []


def test_in_an_allocation_it_takes_that(idle: Cluster, tmp_path: Path) -> None:
    code, found = doctor(
        idle, tmp_path, "--nodes", "2", "--allreduce", *SMALL, inside=("salloc", "--quiet", "--nodes=2", "--cpus-per-task=2")
    )
    assert code == 0
    assert "submission" not in found
    assert re.fullmatch(r"job \d+ holds n\d n\d", found["allocation"]["found"])
    assert found["ranks"]["found"].startswith("2 on 2 hosts")


@pytest.mark.long
def test_a_run_directory_that_the_nodes_do_not_see_is_found(idle: Cluster, tmp_path: Path) -> None:
    """Every node has a /dev/shm of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as unseen:
        code, found = doctor(idle, tmp_path, "--backend", "slurm", "--runs", f"{unseen}/runs", "--allreduce", *SMALL)
    assert code == 3
    assert found["shared"]["verdict"] == "warning"
    assert "do its nodes see that folder?" in found["all-reduce"]["found"]
    assert unseen in found["all-reduce"]["found"]


@pytest.mark.parametrize(
    ("words", "what", "told"),
    [
        (("--set", "resources.slurm.partition=mian"), "partition", "there is no partition 'mian'"),
        (("--nodes", "9"), "partition", "asks for 9 nodes"),
        (("--set", "resources.slurm.partition=short", "--set", "resources.time=1h"), "partition", "resources.time is 1h"),
        (("--set", "resources.slurm.gpus_per_node=3"), "submission", "node configuration is not available"),
    ],
)
def test_what_would_never_start_is_found_before(
    idle: Cluster, tmp_path: Path, words: tuple[str, ...], what: str, told: str
) -> None:
    code, found = doctor(idle, tmp_path, "--backend", "slurm", *words)
    assert code == 3
    assert found[what]["verdict"] == "fails"
    assert told in found[what]["found"]
    assert found[what]["remedy"]


@pytest.mark.long
def test_a_controller_that_is_down_is_told(idle: Cluster, tmp_path: Path) -> None:
    idle.stop_controller()
    try:
        code, found = doctor(idle, tmp_path, "--backend", "slurm")
    finally:
        idle.start_controller()
    assert code == 3
    assert found["controller"]["verdict"] == "fails"
    assert "it does not answer" in found["controller"]["found"]
