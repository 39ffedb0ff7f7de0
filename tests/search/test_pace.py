"""What a dry run says of the cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.rundir import RunDir
from launcher.search.pace import pace

SWEEP = "extends: base.yaml\nname: small\nsweep:\n  method: random\n  trials: 30\n  metric: val/loss\n  goal: minimize\n"
PARAMETERS = "  parameters: {train.optimizer.lr: {min: 0.1, max: 1}}\n"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def training(run: Path, *, seconds: float, step: int, end: str = "done", attempts: int = 1) -> None:
    run.mkdir(parents=True)
    entries = [("supervising", 0.0, {}), *(("attempt", 0.1, {"attempt": each + 1}) for each in range(attempts))]
    entries += [("checkpoint", seconds / 2, {"step": step}), (end, seconds, {})]
    told = [{"time": (BEGAN + timedelta(seconds=at)).isoformat(), "event": event, **more} for event, at, more in entries]
    RunDir(run).events.write_text("".join(f"{json.dumps(each)}\n" for each in told))


def test_a_step_took_what_the_newest_run_of_the_name_says(tmp_path: Path) -> None:
    assert pace("small", tmp_path) is None
    training(tmp_path / "20260101-000000-small-aaaa", seconds=20, step=10)
    training(tmp_path / "20260102-000000-other-aaaa", seconds=90, step=10)
    training(tmp_path / "20260103-000000-small-aaaa", seconds=90, step=10, end="failed")
    training(tmp_path / "20260104-000000-small-aaaa", seconds=90, step=10, attempts=2)
    found = pace("small", tmp_path)
    assert found is not None
    assert (found.seconds, found.run) == (2.0, "20260101-000000-small-aaaa")
    sweep = tmp_path / "20260105-000000-small-aaaa"
    training(sweep, seconds=1000, step=1)
    training(sweep / "trials/0", seconds=3, step=10)
    training(sweep / "trials/1/fold-0", seconds=1, step=30)
    training(sweep / "trials/2", seconds=9, step=1, end="stopped")
    found = pace("small", tmp_path)
    assert found is not None
    assert (found.seconds, found.run) == (0.1, sweep.name)


def cost(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.chdir(folder)
    (folder / "sweep.yaml").write_text(SWEEP + PARAMETERS)
    assert main(["sweep.yaml", "--dry-run", *words]) == 0
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cost"))


def test_what_nobody_measured_is_not_guessed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cost(folder, capsys, monkeypatch)
    assert said.split(None, 1)[1] == (
        "30 training(s) of 1 rank(s) and 12 steps; how long a step takes is known once a run called small has ended"
    )
    training(folder / "runs/20260101-000000-small-aaaa", seconds=60, step=12)
    said = cost(folder, capsys, monkeypatch)
    assert "12 steps: 0.5 process-hours at the 5 s a step of 20260101-000000-small-aaaa" in said


def test_what_time_ends_costs_that_time(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--set", "sweep.trials=null", "--set", "sweep.max_time=2h", "--set", "sweep.parallel=1")
    assert "1 process(es) for 2h: 2 process-hours" in cost(folder, capsys, monkeypatch, *words)
