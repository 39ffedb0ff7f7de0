"""A search over a function that was ended, and is gone on with."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher.errors import UsageError
from launcher.search import objective
from launcher.search.gaussian import GaussianProcess
from launcher.search.objective import search_function
from launcher.spec.sweep import Sweep
from tests.search.conftest import results

SWEEP = Sweep.model_validate(
    {"method": "tpe", "metric": "y", "goal": "minimize", "trials": 6, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
)


def test_what_was_called_is_not_called_again(tmp_path: Path) -> None:
    called: list[float] = []

    def function(x: float) -> float:
        called.append(x)
        if len(called) == 4:
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        search_function(function, SWEEP, seed=1, name="s", folder=tmp_path)
    assert len(results(tmp_path)) == 3
    study = search_function(function, SWEEP, seed=1, name="s", folder=tmp_path)
    assert called[3] == called[4]
    assert len(called) == 7
    assert [row["state"] for row in results(tmp_path)] == ["done"] * 6
    assert study.best_value == min(called)


def test_time_is_counted_over_all_that_went_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, interrupted = [1000.0], [False]
    monkeypatch.setattr(objective, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sweep = Sweep.model_validate({**SWEEP.model_dump(mode="json"), "trials": None, "max_time": "35s"})

    def takes_ten_seconds(x: float) -> float:
        now[0] += 10
        assert now[0] < 1100, "it never ends"
        if now[0] == 1020 and not interrupted[0]:
            interrupted[0] = True
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        search_function(takes_ten_seconds, sweep, seed=1, name="s", folder=tmp_path)
    now[0] = 5.0  # on another machine
    search_function(takes_ten_seconds, sweep, seed=1, name="s", folder=tmp_path)
    assert now[0] == 25.0  # the one that was interrupted, and one more: begun after 30 s
    rows = results(tmp_path)
    assert len(rows) == 3
    assert len(search_function(takes_ten_seconds, sweep, seed=1, name="s", folder=tmp_path).trials) == 3
    assert results(tmp_path) == rows


def test_a_value_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    search_function(lambda x: float("nan") if x < 0.5 else x, SWEEP, seed=1, name="s", folder=tmp_path)
    assert {row["state"] for row in results(tmp_path)} == {"done", "failed"}


def test_a_second_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    def again(x: float) -> float:
        with pytest.raises(UsageError, match="another process searches in"):
            search_function(again, SWEEP, seed=1, name="s", folder=tmp_path)
        return x

    search_function(again, SWEEP, seed=1, name="s", folder=tmp_path)
    assert [row["state"] for row in results(tmp_path)] == ["done"] * 6


def test_a_terminals_interrupt_does_not_reach_the_gaussian_process() -> None:
    asked = GaussianProcess(SWEEP, 1, frozenset())
    assert os.getsid(asked.process.pid) != os.getsid(0)
    asked.close()
