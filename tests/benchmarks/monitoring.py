"""What following a training costs: augmentation, metrics and gradient monitoring on, against the same without monitoring.

    python -m tests.benchmarks.monitoring

Both are the worker's own training, whole, over the same network, data, augmentation and evaluations, turn by turn in one process
on one thread; compared is the processor time that they take, which other load on the machine does not change. Monitored, every
10th step writes a row, every 50th also what it did to the layers, and an evaluation has two metrics.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.benchmarks.paired import in_turn, ratio, report
from tests.worker.worlds import a_job, run_of

PAIRS, REACH = 3, 1.05
STEPS = {"cnn": 100, "mlp": 500}
AUGMENT = [{"target": "random_crop", "size": 16, "padding": 2}, "random_horizontal_flip"]
NETWORKS: dict[str, dict[str, Any]] = {
    "cnn": {"target": "cnn", "in_channels": 3, "num_classes": 10, "channels": [16, 32, 64]},
    "mlp": {"target": "mlp", "in_features": 64, "hidden": [512, 512, 512], "out_features": 10},
}


def job(name: str, *, monitored: bool) -> dict[str, Any]:
    images = {"target": "fake_data", "samples": 1600, "shape": [3, 16, 16]}
    digits = {"target": "digits", "flatten": True}
    data: dict[str, Any] = {"train": digits if name == "mlp" else images, "batch_size": 32 if name == "cnn" else 256}
    data |= {"augment": [] if name == "mlp" else AUGMENT}
    more: dict[str, Any] = {}
    data["val"] = digits | {"split": "val"} if name == "mlp" else images | {"samples": 320}
    if monitored:
        more["metrics"] = ["accuracy", "f1"]
    described = a_job(model=NETWORKS[name], data=data, max_steps=STEPS[name], evaluate_every="50%", **more)
    log = {"every": "10 steps", "gradients": "50 steps"} if monitored else {"every": "100 steps"}
    return described | {"checkpoint": {"every": "10000 steps"}, "log": {"plots": False, **log}}


def seconds(name: str, *, monitored: bool) -> float:
    """Of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_of(Path(folder) / "run", job(name, monitored=monitored))
        with joined(read_job(run)) as world, redirect_stdout(None):
            began = time.process_time()
            train(run, read_job(run), world)
            return time.process_time() - began


def main() -> int:
    slow = False
    for name in NETWORKS:
        monitored, not_monitored = (partial(seconds, name, monitored=each) for each in (True, False))
        ours, theirs = in_turn(monitored, not_monitored, pairs=PAIRS)
        report(name, ours, theirs, ("monitored", "not monitored"))
        slow |= float(ratio(ours, theirs).partition("x")[0]) > REACH
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
