from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli import main
from launcher.events import record
from launcher.load import load_job
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir


def test_logs_of_a_sweep_are_a_line_for_each_trial(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\nsweep: {method: grid, metric: val/loss, goal: minimize, parameters: {seed: [1, 2]}}\n"
    )
    run = RunDir(folder / "runs/20261129-042433-small-3d2o")
    run.path.mkdir(parents=True)
    job = load_job(folder / "sweep.yaml")
    write(run, job, plan_for(job))
    record(run, "supervising")
    record(run, "trying", trial=0, parameters={"seed": 1})
    record(run, "trial", trial=0, state="done", value=0.5, parameters={"seed": 1})
    record(run, "done")
    for words in (["logs", str(run.path)], ["logs", str(run.path), "--follow"]):
        assert main(words) == 0
        assert capsys.readouterr().out == "trial 0 done val/loss 0.5 the best so far  seed 1\n"
