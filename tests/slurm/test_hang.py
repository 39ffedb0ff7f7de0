"""Hung on a real cluster: who keeps the others waiting is said, and the training goes on to the same end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.rundir import RunDir, read_json
from tests.slurm.counting import Counting, events, wait, wait_for, wait_for_end

HANG_TIMEOUT = "20s"
"""Three times as long until the first step: before that torch is imported, and not only once."""
HANGS = """\
import ctypes, os, sys, time
from pathlib import Path
from launcher import pulse, should_stop

def in_python():
    time.sleep(1000)

def in_c():
    lock, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)

first = os.environ["LAUNCHER_ATTEMPT"] == "1"
for step in range(10):
    time.sleep(0.05)
    pulse(step)
if first and sys.argv[1] == "for a while":
    print("here", flush=True)
    while not Path("asked").exists():
        time.sleep(0.1) or pulse(step)
elif first:
    in_c() if os.environ["RANK"] == "1" else in_python()
"""
REDUCES = """\
import os, time
import torch, torch.distributed as dist
from launcher import pulse

def load_batch():
    time.sleep(1000)

dist.init_process_group("gloo")
total = torch.ones(1)
for step in range(4):
    if step == 2 and os.environ["RANK"] == "1" and os.environ["LAUNCHER_ATTEMPT"] == "1":
        load_batch()
    dist.all_reduce(total)
    pulse(step)
print("total", int(total), flush=True)
"""
ITEMS = """\
import os, time
import torch

class Items:
    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == 40 and os.environ.get("HANGS") and os.environ["LAUNCHER_ATTEMPT"] == "1":
            time.sleep(1000)
        return torch.arange(8.0) * index / 64, index % 2
"""
TRAIN = {
    "model": {"target": "mlp", "in_features": 8, "out_features": 2}, "loss": "cross_entropy",
    "optimizer": {"target": "sgd", "lr": 0.1}, "max_steps": 12,
    "data": {"train": "items:Items", "batch_size": 8, "num_workers": 1},
}  # fmt: skip


@pytest.fixture
def counting(counting: Counting, tmp_path: Path) -> Counting:
    (tmp_path / "hangs.py").write_text(HANGS)
    (tmp_path / "reduces.py").write_text(REDUCES)
    (tmp_path / "items.py").write_text(ITEMS)
    return counting


def submit(counting: Counting, script: str, *args: str, hang_timeout: str = HANG_TIMEOUT) -> RunDir:
    return counting.submit({
        "run": {"script": script, "args": list(args)}, "resources": {"nodes": 2}, "retry": {"hang_timeout": hang_timeout},
    })  # fmt: skip


@pytest.mark.long
def test_in_python_and_in_c(counting: Counting) -> None:
    run = submit(counting, "hangs.py", "for ever")
    told = wait_for(run, "failure")
    assert (told["kind"], told["counts"]) == ("hang", True)
    assert "rank 0 in in_python: hangs.py:6, rank 1 in in_c: hangs.py:11" in told["reason"]
    wait_for_end(run, "done")
    failure = read_json(run.failure)
    assert failure["details"] == {"stacks": "logs/attempt-1/stacks.txt"}
    assert "== rank 1" in (run.path / failure["details"]["stacks"]).read_text()
    assert len(events(run, "supervising")) == 1  # in the same job


def test_in_a_collective(counting: Counting) -> None:
    run = submit(counting, "reduces.py")
    assert "rank 0 in all_reduce, rank 1 in load_batch: reduces.py:6" in wait_for(run, "failure")["reason"]
    failure = read_json(run.failure)
    assert (failure["rank"], failure["node"], failure["host"]) == (1, 1, counting.hosts(run)[1])
    wait_for_end(run, "done")
    assert "total 16\n" in run.rank_log(2, 0).read_text()


def trained(counting: Counting, **parts: Any) -> RunDir:
    job = {"train": TRAIN, "retry": {"hang_timeout": HANG_TIMEOUT}, "checkpoint": {"every": "2 steps"}, **parts}
    run = counting.submit({**job, "resources": {"nodes": 2, "threads": 1, **parts.get("resources", {})}})
    wait_for_end(run, "done")
    return run


@pytest.mark.long
def test_a_training_that_hung_ends_as_if_it_had_not(counting: Counting) -> None:
    run = trained(counting, env={"HANGS": "1"})
    told = events(run, "failure")
    assert [each["kind"] for each in told] == ["hang"]
    assert "in DataLoader: items.py:10" in told[0]["reason"]
    plain = trained(counting, resources={"backend": "local"})
    weights = [(each.checkpoints / "step-00000012" / "model.safetensors").read_bytes() for each in (run, plain)]
    assert weights[0] == weights[1]


def test_a_living_run_shows_its_stacks_and_opens_a_shell(counting: Counting) -> None:
    run = submit(counting, "hangs.py", "for a while")
    logs = [run.rank_log(1, rank) for rank in range(2)]
    wait(run, lambda: all(log.exists() and log.read_text() for log in logs), "its ranks")
    told: dict[str, Any] = {}

    def are_together() -> bool:
        """One may be asked at another line, or not have come so far."""
        told.update(json.loads(counting.call("stacks", str(run.path), "--json")))
        return [group["ranks"] for group in told["groups"]] == [[0, 1]]

    wait(run, are_together, "both ranks in one place")
    assert told["groups"][0]["where"].startswith(str(counting.folder / "hangs.py"))
    shown = "2 ranks in <module>: hangs.py:"
    wait(run, lambda: counting.call("stacks", str(run.path)).startswith(shown), f"the words {shown}")
    said = 'echo "$SLURMD_NODENAME $LAUNCHER_RUN_DIR $PWD"'
    there = counting.call("shell", str(run.path), "--node", "1", "--", "sh", "-c", said)
    assert there.split() == [counting.hosts(run)[1], str(run.path), str(counting.folder)]
    (counting.folder / "asked").touch()
    wait_for_end(run, "done")
    assert not events(run, "failure")
    refused = subprocess.run([sys.executable, "-m", "launcher", "shell", str(run.path)], env=counting.environment,
                             capture_output=True, text=True, cwd=counting.folder)  # fmt: skip
    assert (refused.returncode, "it has no nodes now" in refused.stderr) == (2, True)


def test_a_node_with_other_code_is_named_and_left_out(counting: Counting, tmp_path: Path) -> None:
    (tmp_path / "count.py").rename(tmp_path / "mine.py")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "mine.py").write_text("print('older')\n")
    node = counting.cluster.nodes["n2"]
    node.run("mount", "--bind", str(other / "mine.py"), str(tmp_path / "mine.py"))
    try:
        entry = {"program": [sys.executable, "mine.py", "5"]}
        run = counting.submit({"run": entry, "resources": {"nodes": 2, "spares": 1}})
        told = wait_for(run, "failure")
        wait_for_end(run, "done")
    finally:
        node.run("umount", str(tmp_path / "mine.py"))
    assert (told["kind"], told["host"]) == ("environment", "n2")
    assert "its copy of the code is another one" in told["reason"]
    assert "n3 takes the place of n2" in told["reason"]
    assert not list(run.attempt(1).glob("rank-*.log"))  # nothing was started
