from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S

LAUNCH = (sys.executable, "-P", "-m", "launcher")
BASE = """
name: small
seed: 3
resources: {procs_per_node: 1, threads: 1, device: cpu, backend: local}
train:
  model: {target: mlp, in_features: 64, hidden: [8], out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1, momentum: 0.9}
  data:
    train: {target: digits, split: train, flatten: true}
    val: {target: digits, split: val, flatten: true}
    batch_size: 128
  metrics: [accuracy]
  epochs: 1
log: {plots: false}
retry: {lost_after: 4m}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


@pytest.fixture
def launch(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*LAUNCH, *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def results(sweep: Path) -> list[dict[str, Any]]:
    with (sweep / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def newest(folder: Path, runs: str = "runs") -> Path:
    return max((folder / runs).iterdir())
