"""A sweep whose spec was edited after it began is not gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli import main
from launcher.events import record
from launcher.load import load_job
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir
from launcher.search.trials import copied

SWEEP = (
    "extends: base.yaml\nsweep: {method: grid, metric: val/loss, goal: minimize, parameters: {train.optimizer.lr: [0.5, 0.2]}}\n"
)


@pytest.fixture
def run(folder: Path) -> RunDir:
    (folder / "sweep.yaml").write_text(SWEEP)
    made = RunDir(folder / "runs/20261129-042433-small-3d2o")
    made.path.mkdir(parents=True)
    job = load_job(folder / "sweep.yaml")
    write(made, job, plan_for(job))
    record(made, "supervising")
    copied(made.job, made.begun)
    return made


@pytest.mark.parametrize(
    ("was", "edited", "told"),
    [
        ("lr: [0.5, 0.2]", "lr: [0.4, 0.2]", "sweep.parameters.train.optimizer.lr: [0.5, 0.2] -> [0.4, 0.2]"),
        ("goal: minimize", "goal: maximize", "sweep.goal: minimize -> maximize"),
        ("seed: 3", "seed: 4", "seed: 3 -> 4"),
        ("epochs: 1", "epochs: 2", "train.epochs: 1 -> 2"),
    ],
)
def test_it_is_refused_with_the_lines_that_differ(
    was: str, edited: str, told: str, run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    text = run.job.read_text()
    assert text.count(was) == 1
    run.job.write_text(text.replace(was, edited))
    assert main(["resume", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "cannot be resumed with these changes" in said


def test_so_it_is_where_the_command_line_edits_it(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(run.path), "--set", "sweep.max_failures=9"]) == 2
    assert "sweep.max_failures: 3 -> 9" in capsys.readouterr().err
