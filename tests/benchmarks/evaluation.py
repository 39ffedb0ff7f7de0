"""An evaluation of 1e5 samples with metrics: against a bare loop of inference over the same batches.

    python -m tests.benchmarks.evaluation [SAMPLES [PAIRS]]

Turn by turn in one process: on a GPU where there is one, else by one CPU thread, whose time of work is taken: a busy machine then
disturbs less.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from launcher.worker.build import Training, build
from launcher.worker.data.nested import on_device
from launcher.worker.ddp import call_model
from launcher.worker.evaluate import evaluate
from launcher.worker.heap import keep_what_is_freed
from launcher.worker.job import read_job
from launcher.worker.world import World, choose_device
from tests.benchmarks.paired import in_turn, report
from tests.worker.worlds import a_job, run_of

SAMPLES = 100_000
BATCH = 128
PAIRS = 5
REACH = 1.05
METRICS: dict[str, list[Any]] = {
    "loss and accuracy": ["accuracy"],
    "loss and seven metrics": ["accuracy", {"target": "top_k", "top_k": 3}, "precision", "recall", "f1", "specificity",
                               "confusion_matrix"],
    "loss, accuracy and a curve": ["accuracy", "auroc"],
}  # fmt: skip


def training(folder: Path, samples: int, metrics: list[Any]) -> Training:
    data = {"target": "fake_data", "samples": samples, "shape": [1, 28, 28]}
    described = a_job(
        model={"target": "cnn", "in_channels": 1, "channels": [16, 32], "num_classes": 10},
        data={"train": data, "val": data, "batch_size": BATCH}, metrics=metrics,
    )  # fmt: skip
    described["resources"] = {"threads": 1}
    run = run_of(folder, described)
    return build(run, read_job(run), World(device=choose_device("auto", 0)))


def now(training: Training) -> float:
    return time.process_time() if training.world.device.type == "cpu" else time.perf_counter()


def bare(training: Training) -> float:
    """Batches from the same loader, through the model; nothing is compared or kept."""
    began = now(training)
    training.model.eval()
    with torch.no_grad():
        for portion in training.loaders["val"].portions():
            for batch in portion.micro:
                output = call_model(training.model, training.inputs, on_device(batch, training.world.device, None))
            if portion.last:
                break
    output.sum().item()  # waits for the device
    return now(training) - began


def evaluated(training: Training) -> float:
    began = now(training)
    evaluate(training, "val")
    return now(training) - began


def main(samples: int, pairs: int) -> None:
    torch.set_num_threads(1)
    keep_what_is_freed()  # as in every rank on the CPU: how many page faults each side has would otherwise be chance
    for name, metrics in METRICS.items():
        with tempfile.TemporaryDirectory() as folder:
            each = training(Path(folder) / "run", samples, metrics)
            ours, theirs = in_turn(lambda each=each: evaluated(each), lambda each=each: bare(each), pairs=pairs)
            report(f"{name} of {samples:,} samples", ours, theirs, ("launcher's evaluation", "bare inference"))
    print(f"reach: {REACH}x")


if __name__ == "__main__":
    given = list(map(int, sys.argv[1:]))
    main(*(given + [SAMPLES, PAIRS][len(given) :]))
