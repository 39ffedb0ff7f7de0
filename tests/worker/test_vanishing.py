"""Gradients that vanish or explode show in the rows and are told of; the cures that the spec has cure them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.diagnosis import verdicts_of
from launcher.rundir import RunDir
from launcher.worker.errors import WorkerError
from launcher.worker.job import read_job
from launcher.worker.train import train
from tests.worker.worlds import ALONE, a_job, run_of

FLAT = {"train": {"target": "digits", "flatten": True}, "val": {"target": "digits", "split": "val", "flatten": True},
        "batch_size": 128}  # fmt: skip
ROWS = {"train": "sets:rows_of_digits", "val": {"target": "sets:rows_of_digits", "split": "val"}, "batch_size": 128}
DEEP = {"target": "mlp", "in_features": 64, "hidden": [32] * 30, "out_features": 10}
RNN = {"target": "rnn", "input_size": 8, "hidden_size": 32, "out_features": 10, "activation": "relu"}


def run_with(folder: Path, every: int, **described: Any) -> RunDir:
    log = {"every": f"{every} steps", "gradients": f"{every} steps", "plots": False}
    return run_of(folder / "run", a_job(metrics=["accuracy"], **described) | {"log": log})


def rows(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def trained(run: RunDir) -> list[dict[str, Any]]:
    assert train(run, read_job(run), ALONE) == 0
    return rows(run)


def told(run: RunDir) -> list[str]:
    return [verdict.name for verdict in verdicts_of(run)]


def test_thirty_sigmoid_layers_vanish(tmp_path: Path) -> None:
    run = run_with(tmp_path, 5, model=DEEP | {"activation": "sigmoid"}, data=FLAT, max_steps=60)
    last = trained(run)[-1]
    assert 0 < last["grad/0"] < 1e-15
    assert last["grad/60"] > 1e-3
    assert last["val/accuracy"] < 0.2
    assert told(run) == ["vanishing gradients"]


@pytest.mark.long
def test_relu_kaiming_and_batch_norm_train_thirty_layers(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, 1, model=DEEP | {"hidden": [64] * 30, "activation": "relu", "batch_norm": True}, data=FLAT, max_steps=180,
        init={"target": "kaiming_normal", "nonlinearity": "relu"}, optimizer={"target": "sgd", "lr": 0.01, "momentum": 0.9},
    )  # fmt: skip
    first, *_, last = trained(run)
    assert first["grad/0"] > 100 > last["grad/0"] > 1e-3
    assert last["val/accuracy"] > 0.6
    assert not {"vanishing gradients", "exploding gradients"} & set(told(run))


def test_a_recurrent_network_with_a_rate_of_ten_explodes(tmp_path: Path) -> None:
    run = run_with(tmp_path, 1, model=RNN, data=ROWS, optimizer={"target": "sgd", "lr": 10.0}, max_steps=120)
    with pytest.raises(WorkerError, match="became infinite or NaN"):
        train(run, read_job(run), ALONE)
    assert max(row["grad/layers.0"] for row in rows(run)) > 1e6
    (verdict,) = verdicts_of(run)
    assert (verdict.name, verdict.field) == ("exploding gradients", "train.clip_grad_norm")


def test_and_trains_with_clipping(tmp_path: Path) -> None:
    run = run_with(tmp_path, 1, model=RNN, data=ROWS, optimizer={"target": "sgd", "lr": 10.0}, max_steps=120, clip_grad_norm=0.03)
    assert trained(run)[-1]["val/accuracy"] > 0.6
    assert "exploding gradients" not in told(run)
