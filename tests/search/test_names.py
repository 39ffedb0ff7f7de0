from __future__ import annotations

from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.worker.views.weights_and_biases import run_id


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/20261129-mlp-k3f9", "20261129-mlp-k3f9"),
        ("runs/20261129-mlp-k3f9/trials/3", "20261129-mlp-k3f9-3"),
        ("runs/20261129-mlp-k3f9/trials/3/fold-0", "20261129-mlp-k3f9-3-fold-0"),
        ("x", "x"),
    ],
)
def test_no_two_trials_have_the_same_name_in_wandb(path: str, name: str, tmp_path: Path) -> None:
    assert run_id(RunDir(tmp_path / path)) == name
