"""What a person sees of a sweep, while it runs and afterwards."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.sweep_screen import SweepScreen
from launcher.events import record
from launcher.load import load_job
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir, locked

SWEEP = "extends: base.yaml\nsweep: {method: grid, metric: val/loss, goal: minimize, parameters: {seed: [1, 2, 3, 4]}}\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """One trial is done, another runs."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "sweep.yaml").write_text(SWEEP)
    made = RunDir(folder / "runs/20261129-042433-small-3d2o")
    made.path.mkdir(parents=True)
    job = load_job(folder / "sweep.yaml")
    write(made, job, plan_for(job))
    record(made, "supervising")
    record(made, "searching", trials=4, parallel=2)
    record(made, "trying", trial=0, parameters={"seed": 1})
    record(made, "trying", trial=1, parameters={"seed": 2})
    record(made, "trial", trial=0, state="done", value=0.5, parameters={"seed": 1})
    trial = RunDir(made.path / "trials/1")
    trial.path.mkdir(parents=True)
    trial.metrics.write_text('{"step": 12, "val/loss": 0.25}\n')
    return made


def test_a_terminal_shows_how_far_each_trial_is_before_what_it_tries(run: RunDir) -> None:
    terminal = Terminal()
    screen = SweepScreen(run, load_job(run.job).sweep, terminal)  # type: ignore[arg-type]
    screen()
    first, second = terminal.getvalue().splitlines()
    assert first.startswith("1 of 4 trials: 1 done, 1 running")
    assert first.endswith("  best val/loss 0.5 (trial 0)")
    assert second == "  trial 1  step 12  val/loss 0.25  seed 2"
    screen.close()
    assert terminal.getvalue().endswith("\r\x1b[2A\x1b[J")


def test_of_many_folds_the_one_that_began_last_is_shown(run: RunDir) -> None:
    sweep = load_job(run.job).sweep
    assert sweep is not None
    for fold in range(11):
        part = RunDir(run.path / f"trials/1/fold-{fold}")
        part.path.mkdir(parents=True)
        part.metrics.write_text(f'{{"step": {fold}, "val/loss": 0.25}}\n')
    terminal = Terminal()
    SweepScreen(run, sweep.model_copy(update={"folds": 12}), terminal)()
    assert "  trial 1  fold-10  step 10  val/loss 0.25  seed 2" in terminal.getvalue()


def test_a_value_that_is_not_finite_is_shown_as_such(run: RunDir) -> None:
    with RunDir(run.path / "trials/1").metrics.open("a") as rows:
        rows.write('{"step": 24, "val/loss": null}\n')
    terminal = Terminal()
    SweepScreen(run, load_job(run.job).sweep, terminal)()  # type: ignore[arg-type]
    assert "  trial 1  step 24  val/loss not finite  seed 2" in terminal.getvalue()


def test_status_says_how_many_have_ended_and_which_run(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(run):
        assert main(["status", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "\ntrials     1 of 4 ended: 1 done\nrunning    trial 1\n" in said
    assert "attempts" not in said
    assert main(["status", str(run.path)]) == 0
    assert "running  " not in capsys.readouterr().out


def test_after_too_many_failures_the_first_failed_trial_comes_next(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    record(run, "trial", trial=1, state="failed", reason="no such net", parameters={"seed": 2})
    record(run, "failed", reason="1 of 2 trials failed (max_failures: 0): no such net")
    assert main(["status", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "reason     1 of 2 trials failed (max_failures: 0): no such net" in said
    assert "/trials/1\n" in said
    assert "launch resume" not in said
