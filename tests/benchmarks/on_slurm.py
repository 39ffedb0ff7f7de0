"""A cluster of four nodes for the benchmarks that need one, and a program whose ranks tell when they added up first."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slurm.cluster import Cluster, missing

LAUNCH = str(Path(sys.executable).with_name("launch"))
PROGRAM = """
import os, signal, sys, time
import torch, torch.distributed as dist
import launcher

folder, kills = sys.argv[1], int(sys.argv[2])

def mark(what):
    with open(f"{folder}/.{what}-{dist.get_rank()}", "w") as file:
        file.write(repr(time.time()))
    os.replace(file.name, f"{folder}/{what}")

attempt = len([name for name in os.listdir(folder) if name.startswith("step-")]) + 1
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
rank = dist.get_rank()
if rank == 0:
    mark(f"step-{attempt}")
step = 0
while True:
    stop = torch.tensor(float(launcher.should_stop() or os.path.exists(f"{folder}/stop")))
    dist.all_reduce(stop, op=dist.ReduceOp.MAX)
    if stop:
        break
    step += 1
    launcher.pulse(int(time.time()))
    if rank == 1 and step == 20 and attempt <= kills:
        mark(f"killed-{attempt}")
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
"""
"""rank 1 kills itself in each of the first attempts; it ends when a file `stop` is there."""


@contextmanager
def cluster() -> Iterator[tuple[Cluster, Path]]:
    """With a folder that all nodes see."""
    if why := missing():
        sys.exit(why)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, Cluster(Path(folder) / "cluster", nodes=4) as four:
        place = Path(folder) / "work"
        place.mkdir()
        (place / "program.py").write_text(PROGRAM)
        yield four, place


def told_at(path: Path, patience_s: float = 120.0) -> float:
    """The time in a mark, once it is there."""
    deadline = time.monotonic() + patience_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not come within {patience_s:g} s")
        time.sleep(0.02)
    return float(path.read_text())
