"""A training that is stopped anywhere and goes on ends with the bits and the history of one that was not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launcher import rank
from launcher.rundir import RunDir
from launcher.worker import control
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

STOPS = (3, 8, 9)
MLP = {"target": "mlp", "in_features": 64, "hidden": [32, 32], "out_features": 10, "dropout": 0.3, "batch_norm": True}
CNN = {"target": "cnn", "in_channels": 1, "channels": [4, 8], "num_classes": 10, "dropout": 0.2}
FLAT = {"target": "digits", "flatten": True}
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "one rank": (1, {}),
    "two ranks": (2, {}),
    "three ranks": (3, {}),
    "own batch norms": (2, {"sync_batch_norm": False}),
    "accumulation": (2, {"data": {"train": FLAT, "batch_size": 100, "micro_batch_size": 20}}),
    "bf16": (1, {"precision": "bf16"}),
    "an average of the weights, and early stopping": (2, {
        "ema": {"decay": 0.8}, "early_stopping": {"monitor": "val/loss", "patience": 50},
    }),
    "images, augmented, read by processes": (2, {
        "model": CNN,
        "data": {"train": {"target": "digits"}, "batch_size": 300, "num_workers": 1,
                 "augment": [{"target": "random_crop", "size": 8, "padding": 2}]},
    }),
    "imbalanced": (2, {"data": {"train": {"target": "sets:imbalanced_digits", "rare": 20}, "batch_size": 80, "smote": True,
                                "sampling": "weighted", "augment": ["noise", "mixup"]}}),
    "channels last, blocks computed anew": (2, {
        "model": CNN, "channels_last": True, "activation_checkpointing": True,
        "data": {"train": {"target": "digits"}, "batch_size": 300},
    }),
    "sequences": (2, {
        "model": {"target": "lstm", "input_size": 4, "hidden_size": 8, "num_layers": 2, "out_features": 5, "dropout": 0.3},
        "loss": "sets:of_sequences", "metrics": [], "data": {"train": {"target": "sets:Sequences"}, "batch_size": 12},
    }),
    "a stream": (2, {
        "model": {"target": "mlp", "in_features": 6, "out_features": 5, "dropout": 0.3},
        "data": {"train": {"target": "sets:Stream", "samples": 95}, "batch_size": 20},
    }),
}  # fmt: skip
IN_THE_SUITE = {"three ranks", "own batch norms", "an average of the weights, and early stopping",
                "images, augmented, read by processes", "imbalanced", "a stream"}  # fmt: skip


def job(**train: Any) -> dict[str, Any]:
    described = a_job(
        model=MLP, optimizer={"target": "adamw", "lr": 0.003}, schedule={"target": "cosine", "warmup": "20%"},
        data={"train": FLAT, "val": FLAT | {"split": "val"}, "batch_size": 250}, metrics=["accuracy"], max_steps=16,
        clip_grad_norm=1.0,
    )  # fmt: skip
    described["train"] |= train
    return described | {"checkpoint": {"every": "5 steps"}, "log": {"every": "4 steps", "plots": False}}


def train_with_stops(run: RunDir, stops: tuple[int, ...]) -> list[int]:
    """Exit codes of attempts that are asked to stop during these steps, and of a last one that is not."""
    done = [0]
    pulse: Callable[[int | None], None] = rank.pulse

    def noted(step: int | None = None) -> None:
        done.append(step or done[-1])
        pulse(step)

    rank.pulse, control.ASK_EVERY_S = noted, 0.0
    codes, job = [], read_job(run)
    with joined(job) as world:
        for stop in (*stops, math.inf):
            control.asked_to_stop = partial(lambda stop: done[-1] >= stop, stop)
            codes.append(train(run, job, world))
    return codes


def outcome(run: RunDir) -> tuple[str, dict[str, str], str]:
    newest = max(run.checkpoints.glob("step-*"))
    tensors = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.glob("*.safetensors")}
    return newest.name, tensors, run.metrics.read_text()


@pytest.mark.parametrize("case", [case if case in IN_THE_SUITE else pytest.param(case, marks=pytest.mark.long) for case in CASES])
def test_stopped_again_and_again_it_ends_the_same(tmp_path: Path, case: str) -> None:
    world_size, train = CASES[case]
    undisturbed, disturbed = (run_of(tmp_path / name, job(**train)) for name in ("undisturbed", "disturbed"))
    assert on_ranks(world_size, train_run, undisturbed) == [0] * world_size
    assert on_ranks(world_size, train_with_stops, disturbed, STOPS) == [[75, 75, 75, 0]] * world_size
    assert outcome(disturbed) == outcome(undisturbed)
