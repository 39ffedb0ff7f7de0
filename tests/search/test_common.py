from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.load import load_job
from launcher.search.preview import preview


@pytest.mark.parametrize("path", ["resources.nodes", "sweep.trials", "resources.slurm.partition", "workdir"])
def test_what_the_trials_have_in_common_is_no_parameter(path: str, folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        f"extends: base.yaml\nsweep:\n  {{method: grid, metric: val/loss, goal: minimize, parameters: {{{path}: [1, 2]}}}}\n"
    )
    with pytest.raises(SpecError, match=f"sweep.yaml:3:65: .*the trials of a sweep have {path} in common"):
        load_job(folder / "sweep.yaml")


def test_a_dry_run_of_a_random_search_shows_nothing_twice(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\nsweep: {method: random, trials: 9, metric: val/loss, goal: minimize, parameters: {seed: [1, 2]}}\n"
    )
    assert sorted(each["seed"] for each in preview(load_job(folder / "sweep.yaml")).sample) == [1, 2]
