"""A training that is stopped anywhere and goes on ends with the bits and the history of one that was not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import a_job, on_ranks, run_of, train_run

from launcher import rank
from launcher.rundir import RunDir
from launcher.worker import control

STOPS = (3, 8, 9, 14)
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
    "images, augmented, read by processes": (2, {
        "model": CNN,
        "data": {"train": {"target": "digits"}, "batch_size": 300, "num_workers": 1,
                 "augment": [{"target": "random_crop", "size": 8, "padding": 2}]},
    }),
    "a stream": (2, {
        "model": {"target": "mlp", "in_features": 6, "out_features": 5, "dropout": 0.3},
        "data": {"train": {"target": "sets:Stream", "samples": 95}, "batch_size": 20},
    }),
}  # fmt: skip


def job(**train: Any) -> dict[str, Any]:
    described = a_job(
        model=MLP, optimizer={"target": "adamw", "lr": 0.003}, schedule={"target": "cosine", "warmup": "20%"},
        data={"train": FLAT, "val": FLAT | {"split": "val"}, "batch_size": 250}, metrics=["accuracy"], max_steps=16,
        clip_grad_norm=1.0, **{},
    )  # fmt: skip
    described["train"] |= train
    return described | {"checkpoint": {"every": "5 steps"}, "log": {"every": "4 steps", "plots": False}}


def stopped_at(run: RunDir, step: int) -> int:
    """Trains as if somebody asked to stop during a step."""
    done = []
    pulse: Callable[[int | None], None] = rank.pulse

    def noted(step: int | None = None) -> None:
        done.append(step or 0)
        pulse(step)

    rank.pulse, control.ASK_EVERY_S = noted, 0.0
    control.asked_to_stop = lambda: max(done) >= step
    return train_run(run)


def outcome(run: RunDir) -> tuple[str, dict[str, str], str]:
    newest = max(run.checkpoints.glob("step-*"))
    tensors = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.glob("*.safetensors")}
    return newest.name, tensors, run.metrics.read_text()


@pytest.mark.parametrize("case", CASES)
def test_stopped_again_and_again_it_ends_the_same(tmp_path: Path, case: str) -> None:
    world_size, train = CASES[case]
    undisturbed, disturbed = (run_of(tmp_path / name, job(**train)) for name in ("undisturbed", "disturbed"))
    assert set(on_ranks(world_size, train_run, undisturbed)) == {0}
    for step in STOPS:
        assert set(on_ranks(world_size, stopped_at, disturbed, step)) == {75}
    assert set(on_ranks(world_size, train_run, disturbed)) == {0}
    assert outcome(disturbed) == outcome(undisturbed)
