"""Digits of which five classes are twenty times rarer: what each remedy is worth, against the same steps without any."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.rundir import RunDir, json_lines
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

DIGITS = {"target": "digits", "flatten": True}
REMEDIES: dict[str, dict[str, Any]] = {
    **{name: {"data": {"sampling": name}} for name in ("weighted", "balanced", "oversample", "undersample")},
    "class weights": {"loss": {"target": "cross_entropy", "weight": "auto"}},
    "smote": {"data": {"smote": True}},
    "noise on the rare": {"data": {"sampling": "oversample", "augment": [{"target": "noise", "minority": True}]}},
}
WORTH = 0.3
"""Of macro-averaged F1."""


def job(*, data: Any = None, **train: Any) -> dict[str, Any]:
    sets = {"train": DIGITS | {"imbalance": 20}, "val": DIGITS | {"split": "val"}, "batch_size": 64}
    model = {"target": "mlp", "in_features": 64, "hidden": [64], "out_features": 10}
    return a_job(
        model=model, data=sets | (data or {}), optimizer={"target": "sgd", "lr": 0.02, "momentum": 0.9}, schedule="cosine",
        metrics=["f1"], max_steps=150, evaluate_every="150 steps", **train,
    )  # fmt: skip


def f1_of_each(runs: dict[str, RunDir]) -> dict[str, float]:
    found = {}
    for name, run in runs.items():
        assert train_run(run) == 0
        found[name] = list(json_lines(run.metrics))[-1]["val/f1"]
    return found


@pytest.fixture(scope="module", params=[3, pytest.param(17, marks=pytest.mark.long)])
def f1(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("imbalanced")
    jobs = {"plain": job(), **{name: job(**remedy) for name, remedy in REMEDIES.items()}}
    runs = {name: run_of(folder / name, described | {"seed": request.param}) for name, described in jobs.items()}
    [found] = on_ranks(1, f1_of_each, runs)
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("remedy", REMEDIES)
def test_each_remedy_finds_the_rare_classes(f1: dict[str, float], remedy: str) -> None:
    assert f1[remedy] > f1["plain"] + WORTH
