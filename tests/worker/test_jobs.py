"""The starter jobs: each trains here for some steps, and whole under `long`, where its third line of comment has to be true."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.diagnosis import speed, verdicts_of
from launcher.load import dump_job, load_job
from launcher.rundir import RunDir
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.faults.conftest import LAUNCH
from tests.patience import PATIENCE_S
from tests.worker.worlds import on_ranks

JOBS = Path(__file__).parents[2] / "jobs"
NAMES = sorted(path.stem for path in JOBS.glob("*.yaml"))
SHORT = [
    "resources.procs_per_node=1", "resources.nodes=1", "resources.device=cpu", "resources.threads=1", "log.plots=false",
    "log.wandb=false", "log.tensorboard=false", "train.limit_batches=2", "train.epochs=2",
]  # fmt: skip

EXPECTED: dict[str, tuple[str, float, float]] = {
    # what its third line of comment says: metric, and from where to where it may end
    "augmentation": ("val/accuracy", 0.8, 1.0),
    "ctc": ("val/error_rate", 0.0, 0.05),
    "digits": ("val/accuracy", 0.95, 1.0),
    "early-stopping": ("epoch", 6, 60),
    "imbalanced": ("val/f1", 0.8, 1.0),
    "mlp": ("val/loss", 0.50, 0.56),
    "resnet": ("val/accuracy", 0.98, 1.0),
    "rnn": ("val/accuracy", 0.95, 1.0),
    "sweep": ("val/loss", 0.50, 0.56),
    "transfer": ("val/accuracy", 0.7, 1.0),
    "transfer-base": ("val/accuracy", 0.97, 1.0),
}  # fmt: skip
WELL_KNOWN = {"augmentation": {"data-bound"}}
BEFORE = {"transfer": "transfer-base"}
"""What has to be run first."""


def a_few_steps(folder: Path) -> dict[str, list[str]]:
    """On a rank: the verdicts on each job's short training, in which a moment that the machine takes is no sickness."""
    speed.WORTH_S = PATIENCE_S
    return {name: [verdict.name for verdict in verdicts_of(shortened(name, folder / name))] for name in NAMES}


def shortened(name: str, folder: Path) -> RunDir:
    run = RunDir(folder)
    run.path.mkdir()
    run.job.write_text(
        dump_job(load_job(str(JOBS / f"{name}.yaml"), overrides=[*SHORT, *(["train.weights=null"] if name in BEFORE else [])]))
    )
    job = read_job(run)
    with joined(job) as world:
        assert train(run, job, world) == 0, name
    return run


def test_each_trains_and_is_not_thought_ill(tmp_path: Path) -> None:
    assert on_ranks(1, a_few_steps, tmp_path) == [{name: [] for name in NAMES}]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_in_three_lines_what_it_shows_and_what_to_expect(name: str) -> None:
    lines = (JOBS / f"{name}.yaml").read_text().splitlines()
    comment = [line for line in lines[:4] if line.startswith("#")]
    assert len(comment) == 3
    assert comment[1].startswith("# Shows ")
    assert comment[2].startswith("# Expect ")
    assert name in EXPECTED


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_whole_it_does_what_it_says(name: str, tmp_path: Path) -> None:
    row, verdicts = trained(name, tmp_path)
    metric, least, most = EXPECTED[name]
    assert least <= row[metric] <= most
    # A search's trials are not all well, and so small a network waits for its augmentation.
    assert set(verdicts) <= WELL_KNOWN.get(name, set()) or name == "sweep"


def trained(name: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Its last row, and what is said of it; of a sweep its best trial's."""
    environment = {**os.environ, "LAUNCHER_RUNS": str(folder)}
    for each in filter(None, (BEFORE.get(name), name)):
        subprocess.run([LAUNCH, str(JOBS / f"{each}.yaml"), "--set", "resources.device=cpu"], env=environment, check=True)
    run = max(path for path in folder.iterdir() if not path.name.startswith("."))
    trials = [RunDir(path) for path in run.glob("trials/*")] or [RunDir(run)]
    ends = [(json.loads(trial.metrics.read_text().splitlines()[-1]), trial) for trial in trials]
    row, best = min(ends, key=lambda end: end[0].get("val/loss", 0.0))
    return row, [verdict.name for verdict in verdicts_of(best)]
