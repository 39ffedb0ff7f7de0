"""Trainings made to have a disease are told so, and the same ones cured as they are told are not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from launcher.diagnosis import speed, verdicts_of
from launcher.load import parse_job
from launcher.rundir import RunDir, json_lines
from tests.worker.worlds import HERE, MANY_MAY_TAKE_S, a_job, on_ranks, run_of, train_run

Given = dict[str, Any]

DIGITS: Given = {"train": {"target": "digits", "flatten": True}, "val": {"target": "digits", "split": "val", "flatten": True},
                 "batch_size": 64}  # fmt: skip
NOISE: Given = {"train": {"target": "fake_data", "samples": 100, "shape": [64]},
                "val": {"target": "fake_data", "samples": 100, "shape": [64], "seed": 1}, "batch_size": 20}  # fmt: skip
ROWS: Given = {"train": {"target": "digits"}, "val": {"target": "digits", "split": "val"}, "batch_size": 64}
MLP = {"target": "mlp", "in_features": 64, "hidden": [32], "out_features": 10}
DEEP = MLP | {"hidden": [48] * 30}
RNN = {"target": "tests.worker.sets:Rows",
       "of": {"target": "rnn", "input_size": 8, "hidden_size": 64, "out_features": 10}}  # fmt: skip
SLOW: Given = {"train": {"target": "tests.worker.sets:Slow", "samples": 400}, "batch_size": 20}
FEW: Given = {"train": {"target": "tests.worker.sets:classes", "samples": 1200}, "batch_size": 40}


def trained(*, gradients: bool = False, save: str = "2 epochs", **train: Any) -> Given:
    log = {"gradients": "5 steps"} if gradients else {}
    job = a_job(
        **{"data": DIGITS, "metrics": ["accuracy"] if "val" in train.get("data", DIGITS) else [], "max_steps": 160} | train
    )
    return job | {"checkpoint": {"every": save}, "log": {"every": "5 steps", "plots": False, **log}}


def sgd(lr: float) -> Given:
    return {"target": "sgd", "lr": lr}


TRAININGS: dict[str, tuple[Given, list[str]]] = {
    "healthy": (trained(model=MLP, optimizer=sgd(0.1)), []),
    "overfitting": (trained(model=MLP | {"hidden": [256]}, data=NOISE, optimizer={"target": "adam", "lr": 0.003}),
                    ["overfitting"]),
    "underfitting": (trained(model=MLP | {"hidden": [1]}, optimizer={"target": "sgd", "lr": 0.1, "momentum": 0.9},
                             max_steps=400), ["underfitting"]),
    "a rate that is too high": (trained(model=MLP, optimizer={"target": "sgd", "lr": 10.0, "momentum": 0.9}), ["diverging"]),
    "a rate that is too low": (trained(model=MLP, optimizer=sgd(1e-4)), ["rate too low"]),
    "30 sigmoids": (trained(model=DEEP | {"activation": "sigmoid"}, gradients=True, optimizer=sgd(0.1)), ["vanishing gradients"]),
    "30 sigmoids, cured": (trained(model=DEEP | {"activation": "relu", "batch_norm": True}, init="kaiming_normal", gradients=True,
                                   optimizer={"target": "adam", "lr": 0.003}, max_steps=300), []),
    "rnn, lr 10": (trained(model=RNN, data=ROWS, gradients=True, optimizer=sgd(10.0)), ["exploding gradients"]),
    "rnn, lr 10, cured": (trained(model=RNN, data=ROWS, gradients=True, optimizer=sgd(10.0), clip_grad_norm=0.05), []),
    "units that are never above 0": (
        trained(model=MLP, gradients=True, init={"0.bias": {"target": "constant", "val": -50.0}}), ["dead units"]),
    "a slow data set": (trained(model="tests.worker.sets:OfFeatures", data=SLOW, max_steps=20), ["data-bound"]),
    "a slow model, its data read by a process": (
        trained(model="tests.worker.sets:SlowOnEachRank", data=FEW | {"num_workers": 1}, max_steps=20), []),
    "a checkpoint after each step": (
        trained(model=MLP | {"hidden": [1000, 1000]}, save="1 step", max_steps=30), ["checkpoint-bound"]),
}  # fmt: skip
LIMITS = {
    "a slow data set": {"WORTH_S": 0.3},
    "a slow model, its data read by a process": {"WORTH_S": 1.0},  # of the 1.5 s that its steps compute
    "a checkpoint after each step": {"WORTH_S": 0.3, "WAITING": math.inf},  # so short, they wait for any data on a busy machine
}
"""Of `speed`, for trainings of a second or two."""
EACH_STEP: Given = {"log": {"every": "1 steps", "plots": False}}
LEARNS = {"healthy": 0.9, "30 sigmoids, cured": 0.3, "rnn, lr 10, cured": 0.6}
"""Validation accuracy that those come to which can learn; 0.1 is chance."""


def train_all(runs: list[RunDir]) -> None:
    for run in runs:
        assert train_run(run) == 0, run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """All trainings, in one process."""
    folder = tmp_path_factory.mktemp("sick")
    made = {name: run_of(folder / name, job) for name, (job, _) in TRAININGS.items()}
    on_ranks(1, train_all, list(made.values()), may_take_s=MANY_MAY_TAKE_S)
    return made


@pytest.mark.parametrize("name", TRAININGS)
def test_what_is_told(runs: dict[str, RunDir], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in LIMITS.get(name, {}).items():
        monkeypatch.setattr(speed, limit, value)
    assert [verdict.name for verdict in verdicts_of(runs[name])] == TRAININGS[name][1]


@pytest.mark.parametrize("name", [name for name, (_, names) in TRAININGS.items() if names])
def test_what_to_change_is_a_field_that_loads(runs: dict[str, RunDir], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WORTH_S", 0.3)
    for verdict in verdicts_of(runs[name]):
        if verdict.field != "train.model":  # which is told in words
            parse_job(runs[name].job.read_text(), workdir=HERE, overrides=[f"{verdict.field}={verdict.to}"])


@pytest.mark.parametrize("name", LEARNS)
def test_the_cure_learns(runs: dict[str, RunDir], name: str) -> None:
    last = [row["val/accuracy"] for row in json_lines(runs[name].metrics) if "val/accuracy" in row][-1]
    assert last > LEARNS[name]


def test_a_rank_that_lags_behind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WORTH_S", 0.3)
    run = run_of(tmp_path / "run", trained(model="tests.worker.sets:SlowOnRankOne", data=FEW, max_steps=12) | EACH_STEP)
    assert on_ranks(2, train_run, run) == [0, 0]
    (verdict,) = [each for each in verdicts_of(run) if each.name == "straggling rank"]
    assert verdict.words.startswith("rank 1 computes")
