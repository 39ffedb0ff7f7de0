"""Trials of a real training on two ranks that are ended early: by the pruner's rule alone, at one step of all ranks."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.search.conftest import newest, results

Launch = Callable[..., subprocess.CompletedProcess[str]]
Curve = dict[int, float]
"""Step -> value, as evaluated."""
STEPS = 12
"""Of an epoch."""
WARMUP, EPOCHS, SEED = 24, 4, 3
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_warmup_steps=WARMUP),
    "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=WARMUP, reduction_factor=2),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=WARMUP, reduction_factor=2),
}
NET = """
import os, time
from pathlib import Path
import torch

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
        self.steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            (Path(os.environ["LAUNCHER_RUN_DIR"]) / f"steps-of-{os.environ['RANK']}").write_text(str(self.steps))
            time.sleep(0.5 if self.steps > 24 and Path(os.environ["LAUNCHER_RUN_DIR"]).name in ("5", "6") else 0.05)
        return super().forward(x)
"""
"""Counts what each rank has trained, and takes an epoch longer than the supervisor does to look at it: in the trials
that are to be pruned, on a busy machine too."""
SWEEP = """
extends: base.yaml
resources: {procs_per_node: 2}
train: {model: {target: "mine:Net"}, epochs: %d, evaluate_every: 1 epoch}
sweep:
  method: grid
  metric: val/loss
  goal: minimize
  parallel: 1
  prune: {method: %s, warmup_steps: %d, reduction_factor: 2}
  parameters: {train.optimizer.lr: [0.1, 1e-7, 0.05, 0.02, 0.2, 1e-6, 0.3]}
"""


def evaluated(trial: Path) -> Curve:
    rows = (json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["val/loss"] for row in rows if "val/loss" in row}


def judged(trial: Path) -> tuple[int, float] | None:
    """Where the trial was found wanting, as its ledger tells."""
    told = [json.loads(line) for line in (trial / "events.jsonl").read_text().splitlines()]
    reason = next((entry["reason"] for entry in told if entry["event"] == "pruned"), None)
    found = re.match(r"val/loss (\S+) at step (\d+) is not among the best", reason or "")
    return (int(found[2]), float(found[1])) if found and int(found[2]) < EPOCHS * STEPS else None


def by_optuna_alone(method: str, curves: list[Curve]) -> list[int | None]:
    """The step at which Optuna itself, told the same in the same order, prunes each trial."""
    study = optuna.create_study(study_name=f"sweep-{SEED}", direction="minimize", pruner=PRUNERS[method]())
    found: list[int | None] = []
    for curve in curves:
        trial = study.ask()
        found.append(None)
        for step, value in sorted(curve.items()):
            trial.report(value, step)
            if trial.should_prune():
                found[-1] = found[-1] or step
        if found[-1] == EPOCHS * STEPS:  # too late
            found[-1] = None
        ended = optuna.trial.TrialState.COMPLETE if found[-1] is None else optuna.trial.TrialState.PRUNED
        study.tell(trial, curve[max(curve)] if found[-1] is None else None, state=ended)
    return found


@pytest.mark.parametrize(
    "method", ["hyperband", *(pytest.param(name, marks=pytest.mark.long) for name in PRUNERS if name != "hyperband")]
)
def test_what_the_rule_says_is_pruned_and_nothing_else(method: str, folder: Path, launch: Launch) -> None:
    (folder / "mine.py").write_text(NET)
    (folder / "sweep.yaml").write_text(SWEEP % (EPOCHS, method, WARMUP))
    launch("sweep.yaml")
    sweep = newest(folder)
    rows, trials = results(sweep), [sweep / f"trials/{number}" for number in range(7)]
    curves = [evaluated(trial) for trial in trials]
    told = [judged(trial) for trial in trials]
    assert [None if each is None else each[0] for each in told] == by_optuna_alone(method, curves)
    for trial, row, curve, each in zip(trials, rows, curves, told, strict=True):
        steps = {(trial / f"steps-of-{rank}").read_text() for rank in range(2)}
        [saved] = {int(path.name.removeprefix("step-")) for path in [max((trial / "checkpoints").iterdir())]}
        assert len(steps) == 1
        assert float(row["value"]) == curve[max(curve)]
        assert row["state"] == ("done" if saved == EPOCHS * STEPS else "pruned")  # on a busy machine it may be through before
        if row["state"] == "pruned":
            assert each is not None
            assert WARMUP <= each[0] <= saved < EPOCHS * STEPS
            assert each[1] == pytest.approx(curve[each[0]], rel=1e-5)
            assert worse(each[0], curve, others(rows, curves))
    assert "pruned" in {row["state"] for row in rows[5:]}


def others(rows: list[dict[str, Any]], curves: list[Curve]) -> list[Curve]:
    """Of trials that ran to their end."""
    return [curve for row, curve in zip(rows, curves, strict=True) if row["state"] == "done"]


def worse(step: int, curve: Curve, ended: list[Curve]) -> bool:
    """Whatever the rule: worse than the middle of those that were let go on."""
    return curve[step] > statistics.median(each[step] for each in ended)
