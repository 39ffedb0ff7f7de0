"""What a trial is worth: the metric at its last evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.search.trials import State, Trial, concluded
from launcher.spec.sweep import Sweep

SWEEP = Sweep.model_validate({"metric": "val/loss", "goal": "minimize", "trials": 1, "parameters": {"seed": [1]}})


@pytest.mark.parametrize(
    ("last", "before", "after", "value"),
    [("0.25", "done", "done", 0.25), ("null", "done", "failed", None), ("null", "pruned", "pruned", None)],
)
def test_one_whose_last_value_is_not_finite_is_not_given_an_earlier_one(
    last: str, before: State, after: State, value: float | None, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    rows = ('{"step": 6, "val/loss": 0.5}', f'{{"step": 12, "val/loss": {last}}}', '{"step": 18, "train/loss": 0.1}')
    run.metrics.write_text("".join(f"{row}\n" for row in rows))
    trial = Trial(0, {}, {"seed": 1}, [run], before)
    concluded(trial, SWEEP)
    assert (trial.state, trial.value) == (after, value)
    assert (after == "failed") == ("is not finite" in (trial.reason or ""))
