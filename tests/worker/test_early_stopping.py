"""A training ends in the epoch in which the textbook's loop breaks, on every rank, through any number of stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from launcher import checkpoints
from launcher.events import ledger, summarize
from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.spec.early_stopping import EarlyStopping
from launcher.worker.chosen import choose
from launcher.worker.patience import waited
from launcher.worker.state import Waiting
from tests.worker.test_plain import cut_back
from tests.worker.test_resume import outcome, train_with_stops
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

FLAT = {"target": "digits", "flatten": True}
NAN = math.nan


def textbook(values: list[float], *, patience: int, min_delta: float, mode: str) -> int | None:
    """The index of the evaluation after which one breaks out of the loop."""
    best, waits = math.inf if mode == "min" else -math.inf, 0
    for index, value in enumerate(values):
        if (value < best - min_delta) if mode == "min" else (value > best + min_delta):
            best, waits = value, 0
        else:
            waits += 1
            if waits >= patience:
                return index
    return None


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize(("values", "min_delta", "mode"), [
    ([3, 2, 1, 2, 1, 3, 4, 5, 6], 0, "min"), ([1, 1, 1, 1], 0, "min"), ([1, 0.9, 0.8, 0.7, 0.6, 0.5], 0.15, "min"),
    ([1, 2, 3, 2, 1, 4, 1, 1, 1, 1], 0, "max"), ([0.5, 0.55, 0.6, 0.62, 0.63, 0.64], 0.04, "max"),
    ([NAN, NAN, 2, NAN, 1, NAN, NAN, NAN], 0, "min"), ([5, 4, 3, 2, 1], 0, "min"), ([1, math.inf, 2, 0.5, 3, 3, 3], 0, "min"),
])  # fmt: skip
def test_it_ends_where_the_textbook_breaks(values: list[float], min_delta: float, mode: Any, patience: int) -> None:
    settings = EarlyStopping(monitor="val/x", patience=patience, min_delta=min_delta, mode=mode)
    waiting, ended = Waiting(best=None, step=0, evaluations=0, ended=None), None
    for index, value in enumerate(values):
        waiting = waited(settings, waiting, value, index)
        if waiting["ended"] is not None:
            ended = index
            break
    assert ended == textbook(values, patience=patience, min_delta=min_delta, mode=mode)


def job(**train: Any) -> dict[str, Any]:
    data = {"train": FLAT, "val": FLAT | {"split": "val"}, "test": FLAT | {"split": "all"}, "batch_size": 250}
    described = a_job(data=data, optimizer={"target": "sgd", "lr": 0.8, "momentum": 0.9}, epochs=30, max_steps=None, **train)
    return described | {"checkpoint": {"every": "4 steps"}, "log": {"every": "5 steps", "plots": False}}


def rows(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_a_training_ends_early_with_all_that_an_end_has(tmp_path: Path) -> None:
    stopping = {"monitor": "val/loss", "patience": 3, "restore_best": True}
    whole = run_of(tmp_path / "whole", job())
    early, again = (run_of(tmp_path / name, job(early_stopping=stopping)) for name in ("early", "again"))
    assert on_ranks(1, train_run, whole) == [0]
    assert on_ranks(1, train_run, early) == [0]
    losses = [row["val/loss"] for row in rows(whole) if "val/loss" in row]
    end = textbook(losses, patience=3, min_delta=0, mode="min")
    assert end is not None
    last = rows(early)[-1]
    assert last["epoch"] == end + 1
    assert [row["val/loss"] for row in rows(early) if "val/loss" in row] == losses[: end + 1]
    assert {"val/loss", "test/loss"} <= last.keys()
    assert max(each.step for each in checkpoints.checkpoints(early)) == last["step"]
    best = min(range(end + 1), key=losses.__getitem__)
    assert choose(early, load_job(early.job), None) == f"step-{6 * (best + 1):08d}"
    summary = summarize(early)
    assert summary.step == last["step"]
    assert str(summary.reason).startswith("stopped early: val/loss was evaluated 3 times since its best")

    at = last["step"]
    killed = cut_back(early, at - 1, tmp_path / "killed")
    assert max(each.step for each in checkpoints.checkpoints(killed)) > at - 6  # with one evaluation to go
    assert on_ranks(1, train_run, killed) == [0]
    assert outcome(killed) == outcome(early)
    assert choose(killed, load_job(killed.job), None) == f"step-{6 * (best + 1):08d}"

    assert on_ranks(2, train_with_stops, again, (3, 7, at - 7, at - 1)) == [[75, 75, 75, 75, 0]] * 2
    assert [row["step"] for row in rows(again)] == [row["step"] for row in rows(early)]
    before = outcome(again)
    assert on_ranks(2, train_run, again) == [0, 0]
    assert outcome(again) == before
    assert len([entry for entry in ledger(again) if entry["event"] == "early_stop"]) == 1
