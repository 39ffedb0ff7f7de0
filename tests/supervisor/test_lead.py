from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.events import record
from launcher.rundir import RunDir
from launcher.supervisor.lead import Pace, lead_s, measured


@pytest.mark.parametrize(
    ("pace", "given", "lead"),
    [
        (Pace(), {}, 15),
        (Pace(step_s=1.0, checkpoint_s=2.0), {}, 16),
        (Pace(step_s=10.0, evaluation_s=60.0, checkpoint_s=30.0), {}, 150),
        (Pace(checkpoint_s=900.0), {}, 600),
        (Pace(checkpoint_s=900.0), {"whole_s": 300.0}, 150),
        (Pace(), {"whole_s": 20.0}, 10),
        (Pace(), {"grace_s": 60.0}, 70),
    ],
)
def test_the_lead_covers_what_saving_takes(pace: Pace, given: dict[str, Any], lead: float) -> None:
    assert lead_s(pace, **{"grace_s": 0.0, "whole_s": 86_400.0, **given}) == lead


def test_the_pace_is_the_slowest_that_was_measured(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.timings.write_text(
        '{"step": 1, "step_s": [0.1, 0.4], "evaluation_s": 3.0, "checkpoint_s": 0.2}\n{"step": 2, "step_s": [0.2, 0.1]}\n'
    )
    record(run, "checkpoint", step=2, seconds=1.5)
    assert measured(run) == Pace(step_s=0.4, evaluation_s=3.0, checkpoint_s=1.5)


def test_nothing_measured_is_no_pace(tmp_path: Path) -> None:
    assert measured(RunDir(tmp_path)) == Pace()
