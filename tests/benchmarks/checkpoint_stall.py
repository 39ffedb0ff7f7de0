"""How long training stands still for a checkpoint of 400 MB, against torch.save and fsync. Reach: <= 0.20x.

A model with Adam, 403 MB. Standing still is the time inside save(); what the writing behind it takes from the next steps, with
which it shares the cores, is told beside it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from paired import report
from torch import nn

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.checkpoint import Saver
from launcher.worker.state import TrainState
from launcher.worker.world import World

PAIRS = 8
STEPS_BEHIND = 8
WIDTH, DEPTH = 1024, 32
DATA = {"train": "my_pkg.data:Set", "batch_size": 16}
OPTIMIZER = {"target": "adam", "lr": 1e-3}
TRAIN = {"model": "my_pkg.nets:Net", "loss": "mse", "optimizer": OPTIMIZER, "data": DATA, "max_steps": 1}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Training:
    def __init__(self) -> None:
        model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        self.state = TrainState(model=model, optimizer=torch.optim.Adam(model.parameters()))
        self.batch = torch.randn(16, WIDTH)
        self.step()

    def step(self) -> None:
        self.state.optimizer.zero_grad()
        self.state.model(self.batch).square().mean().backward()
        self.state.optimizer.step()
        self.state.step += 1

    def steps(self) -> None:
        for _ in range(STEPS_BEHIND):
            self.step()


def torch_save(state: TrainState, path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    training = Training()
    job = Job.model_validate({"name": "stall", "workdir": "/", "train": TRAIN})
    ours, theirs, after_ours, after_theirs = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(RunDir(folder), World(), job.checkpoint, job=job)
        saver.prepare(training.state)
        saver.wait()
        for _ in range(1 + PAIRS):
            theirs.append(seconds(lambda: torch_save(training.state, Path(folder) / "torch.pt")))
            after_theirs.append(seconds(training.steps))
            ours.append(seconds(lambda: saver.save(training.state, metrics={}, rows=0, attempt=1)))
            after_ours.append(seconds(training.steps))
            saver.wait()
        saver.close()
    names = ("ours: copy, written behind", "torch.save and fsync")
    report("checkpoint of 403 MB, standing still", ours[1:], theirs[1:], names, "ms", 1e3)
    report(
        f"the next {STEPS_BEHIND} steps", after_ours[1:], after_theirs[1:], ("while it is written", "nothing going on"), "ms", 1e3
    )
    whole = [a + b for a, b in zip(ours, after_ours, strict=True)], [a + b for a, b in zip(theirs, after_theirs, strict=True)]
    report("both together", whole[0][1:], whole[1][1:], names, "ms", 1e3)


main()
