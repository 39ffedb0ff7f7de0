"""The built-in schedules are torch's, at every step, for each group's own rate; test_plain.py has them in trainings."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from launcher.spec.train import Train
from launcher.worker.errors import WorkerError
from launcher.worker.plateau import make_plateau, nothing_lowered
from launcher.worker.schedules import Schedule, make_schedule
from tests.worker.plain import SCHEDULES as PLAIN
from tests.worker.plain import Plain
from tests.worker.test_plain import SCHEDULES, SEED, Case, cut_back, rows, trained
from tests.worker.worlds import run_of

STEPS, RATES = 60, (0.4, 0.05)
Torchs = Callable[[Optimizer, int], LRScheduler]
CASES: list[tuple[dict[str, Any], Torchs]] = [
    *((SCHEDULES.get(name, {"target": name}), PLAIN[name]) for name in ("cosine", "linear", "step", "restarts", "milestones")),
    ({"target": "cosine", "T_max": "20 steps", "eta_min": 0.01},
     lambda optimizer, _: lr_scheduler.CosineAnnealingLR(optimizer, 20, 0.01)),
    ({"target": "cosine_restarts", "T_0": "2 epochs"},
     lambda optimizer, _: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 14)),
    ({"target": "linear", "start_factor": 0.2, "end_factor": 0.9, "total_iters": "50%"},
     lambda optimizer, _: lr_scheduler.LinearLR(optimizer, 0.2, 0.9, 30)),
    ({"target": "polynomial", "total_iters": "40 steps", "power": 0.5},
     lambda optimizer, _: lr_scheduler.PolynomialLR(optimizer, 40, 0.5)),
    ({"target": "exponential", "gamma": 0.9, "step_size": "1 step"},
     lambda optimizer, _: lr_scheduler.ExponentialLR(optimizer, 0.9)),
    *(({"target": "one_cycle", **given}, lambda optimizer, steps, given=given: lr_scheduler.OneCycleLR(
        optimizer, [*RATES], steps, **given)) for given in (
            {}, {"three_phase": True, "pct_start": 0.4}, {"anneal_strategy": "linear", "div_factor": 5.0},
            {"max_momentum": 0.9, "base_momentum": 0.7, "three_phase": True, "pct_start": 0.25})),
]  # fmt: skip


def schedule(spec: dict[str, Any], **more: Any) -> Schedule:
    data = {"train": "digits", "val": "digits", "batch_size": 10}
    train = {"model": "my.Net", "loss": "mse", "optimizer": "sgd", "data": data, "schedule": spec, "max_steps": STEPS}
    return make_schedule(Train.model_validate(train | more), per_epoch=7)


def optimizer(kind: Any = SGD) -> Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(()))], "lr": rate, "initial_lr": rate} for rate in RATES]
    return kind(groups, **({"momentum": 0.9} if kind is SGD else {}))  # type: ignore[no-any-return]


def settings(groups: list[dict[str, Any]]) -> list[float]:
    return [number for group in groups for number in (group["lr"], group.get("momentum") or group["betas"][0])]


@pytest.mark.parametrize("warmup", [0, 9])
@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize(("spec", "torchs"), CASES, ids=lambda each: each["target"] if isinstance(each, dict) else "")
def test_every_step_has_the_rate_and_momentum_of_torchs_scheduler(spec: Any, torchs: Torchs, kind: Any, warmup: int) -> None:
    ours, theirs = optimizer(kind), optimizer(kind)
    own = schedule(spec | {"warmup": f"{warmup} steps"})
    beside = torchs(theirs, STEPS - warmup)
    for step in range(STEPS):
        own.apply(ours.param_groups, step)
        if step < warmup:
            assert settings(ours.param_groups)[::2] == pytest.approx([rate * (step + 1) / warmup for rate in RATES])
            continue
        assert settings(ours.param_groups) == pytest.approx(settings(theirs.param_groups), rel=1e-11, abs=1e-15)
        theirs.step()
        beside.step()


@pytest.mark.parametrize("rules", [
    {"patience": 0}, {"patience": 2, "factor": 0.5, "cooldown": 2}, {"mode": "max", "patience": 1, "threshold": 0.1},
    {"threshold_mode": "abs", "threshold": 0.05, "patience": 0}, {"min_lr": 0.01, "patience": 0, "eps": 1e-3},
    {"mode": "max", "threshold_mode": "abs", "patience": 0, "cooldown": 1},
])  # fmt: skip
def test_plateau_falls_as_torchs(rules: dict[str, Any]) -> None:
    draw, ours, theirs = random.Random(0), optimizer(), optimizer()
    own, held = make_plateau(monitor="val/loss", **rules), nothing_lowered()
    beside = ReduceLROnPlateau(theirs, **rules)
    for evaluation in range(60):
        value = float("nan") if evaluation % 13 == 5 else 1 / (evaluation + 1) + draw.random() / 2
        own.heed(held, {"val/loss": value}, ours.param_groups)
        beside.step(value)
        assert (held["rates"] or [*RATES]) == pytest.approx([group["lr"] for group in theirs.param_groups])


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/accuracy", "max")])
def test_what_is_better_follows_from_what_is_monitored(monitor: str, mode: str) -> None:
    assert make_plateau(monitor=monitor).mode == mode


def test_plateau_is_fed_once_per_evaluation_and_kept_over_a_kill(tmp_path: Path) -> None:
    """In a world of 1, 2 and 4 with accumulation; and its state is in the checkpoint."""
    plain = Plain(seed=SEED, samples=40, batch=10, steps=16, kind="vectors", loss="mse", optimizer="sgd")
    jobs = {world: Case(plain=plain, world=world, then=world, stop=9, micro=2).job() for world in (1, 2, 4)}
    rules = {"patience": 0, "threshold": 0.1, "factor": 0.5}
    for job in jobs.values():
        job["train"] |= {"schedule": {"target": "plateau", "warmup": "3 steps", **rules}, "evaluate_every": "2 steps"}
    runs = {str(world): run_of(tmp_path / str(world), job) for world, job in jobs.items()}
    trained(runs, int)
    continued = {world: cut_back(run, 9, tmp_path / f"{world}-continued") for world, run in runs.items()}
    trained(continued, int)
    for world, run in runs.items():
        torchs, rates = SGD([nn.Parameter(torch.zeros(()))], lr=0.2), [0.2 / 3, 0.4 / 3]
        beside = ReduceLROnPlateau(torchs, **rules)  # type: ignore[arg-type]
        for row in rows(run)[2:]:
            rates.append(torchs.param_groups[0]["lr"])
            if row["step"] > 3 and "val/loss" in row:
                beside.step(row["val/loss"])
        assert [row["lr"] for row in rows(run)] == pytest.approx(rates)
        assert len(set(rates)) > 4
        assert run.metrics.read_bytes() == continued[world].metrics.read_bytes()
    assert [row["lr"] for row in rows(runs["1"])] == [row["lr"] for row in rows(runs["4"])]


@pytest.mark.parametrize(("spec", "more", "message"), [
    ({"target": "step", "step_size": "9 epochs"}, {}, r"train\.schedule\.step_size: 9 epochs is 63 steps, and the run has 60"),
    ({"target": "cosine", "warmup": "20 epochs"}, {}, r"train\.schedule\.warmup: 20 epochs is 140 steps"),
    ({"target": "torch.optim.lr_scheduler:StepLR", "step_size": 3}, {}, "is constructed with an optimizer; a schedule here is f"),
])  # fmt: skip
def test_what_does_not_suit_the_run_is_refused(spec: Any, more: Any, message: str) -> None:
    with pytest.raises(WorkerError, match=message):
        schedule(spec, **more)


def test_a_smoke_test_needs_no_other_schedule() -> None:
    assert schedule({"target": "step", "step_size": "300 steps"}, limit_batches=2)(59) == 1.0


def test_momentum_is_moved_only_where_there_is_some() -> None:
    group = {"initial_lr": 0.1, "lr": 0.1}
    with pytest.raises(WorkerError, match="cycle_momentum: false"):
        schedule({"target": "one_cycle"}).apply([group], 0)
    schedule({"target": "one_cycle", "cycle_momentum": False}).apply([group], 0)
    assert group["lr"] == pytest.approx(0.004)
