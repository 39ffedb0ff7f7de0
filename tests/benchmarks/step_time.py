"""A training step, 2 gloo ranks on the CPU: the worker against a hand-written loop of DDP and DataLoader.

    python -m tests.benchmarks.step_time

Both train the same network on digits, turn by turn in the same two processes, so that a busy machine meets both; the
hand-written loop has a rank's heap with it (launcher/worker/heap.py), which its own process would not have. The worker's time is
its whole loop between two rows: data, step, rows, asking whether to stop.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from launcher.rundir import RunDir
from launcher.worker.data.digits import digits
from launcher.worker.job import read_job
from launcher.worker.models.cnn import cnn
from launcher.worker.models.mlp import mlp
from launcher.worker.train import train
from launcher.worker.world import World, joined
from tests.worker.worlds import a_job, on_ranks, run_of

TURNS = 7
STEPS = 200
BATCH = 128
REACH = 1.05
NETWORKS: dict[str, tuple[dict[str, Any], bool]] = {
    "mlp": ({"in_features": 64, "hidden": [256, 256], "out_features": 10}, True),
    "cnn": ({"in_channels": 1, "channels": [16, 32], "num_classes": 10}, False),
}


def by_hand(name: str, world: World) -> float:
    """Seconds a step, without the first epoch."""
    arguments, flatten = NETWORKS[name]
    torch.manual_seed(0)
    model = DistributedDataParallel({"mlp": mlp, "cnn": cnn}[name](**arguments))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    dataset = digits(flatten=flatten)
    sampler = DistributedSampler(dataset, seed=0)
    loader = DataLoader(dataset, BATCH // world.world_size, sampler=sampler)
    done, epoch, began = 0, 0, 0.0
    while done < STEPS + len(loader):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            if done == len(loader):
                began = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            done += 1
        epoch += 1
    return (time.perf_counter() - began) / (done - len(loader))


def by_worker(run: RunDir, world: World) -> float:
    """Seconds a step, by its own account, without the first row."""
    train(run, read_job(run), world)
    if not world.first:
        return 0.0
    rows = [json.loads(line) for line in run.timings.read_text().splitlines()][1:]
    return statistics.mean(max(row["step_s"]) for row in rows)


def turns(name: str, folder: str) -> list[tuple[float, float]]:
    runs = [RunDir(Path(folder) / f"{name}-{turn}") for turn in range(TURNS)]
    with joined(read_job(runs[0])) as world:
        return [(by_hand(name, world), by_worker(run, world)) for run in runs]


def job(name: str) -> dict[str, Any]:
    arguments, flatten = NETWORKS[name]
    data = {"train": {"target": "digits", "flatten": flatten}, "batch_size": BATCH}
    described = a_job(
        model={"target": name} | arguments, data=data, optimizer={"target": "sgd", "lr": 0.05, "momentum": 0.9},
        max_steps=STEPS + 50, sync_batch_norm=False,
    )  # fmt: skip
    return described | {"checkpoint": {"every": "10000 steps"}, "log": {"every": "50 steps", "plots": False}}


def main() -> int:
    slow = False
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(TURNS):
                run_of(Path(folder) / f"{name}-{turn}", job(name))
            pairs = on_ranks(2, turns, name, folder)[0]
        ratios = sorted(ours / theirs for theirs, ours in pairs)
        theirs, ours = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        slow |= ratio > REACH
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"{name}: by hand {theirs:.2f} ms, worker {ours:.2f} ms, ratio {ratio:.2f} ({spread}); reach {REACH}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
