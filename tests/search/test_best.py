"""best.yaml alone, and cross-validation beside scikit-learn's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from launcher.load import dump_job, load_job
from launcher.rundir import RunDir
from launcher.search.trials import Trial, trial_job, write_best
from tests.search.conftest import newest, results

Launch = Callable[..., subprocess.CompletedProcess[str]]


def weights(run: Path) -> dict[str, bytes]:
    last = max((run / "checkpoints").iterdir())
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(last / "model.safetensors").items()}


@pytest.mark.parametrize(
    "how", ["{procs_per_node: 2, threads: 1}", pytest.param("{procs_per_node: auto, threads: auto}", marks=pytest.mark.long)]
)
def test_alone_it_gives_the_best_trials_weights(how: str, folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(
        f"extends: base.yaml\nresources: {how}\nsweep:\n"
        "  {method: grid, metric: val/loss, goal: minimize, parameters: {train.optimizer.lr: [1e-3, 0.2]}}\n"
    )
    launch("sweep.yaml")
    sweep = newest(folder)
    job = load_job(sweep / "best.yaml")
    assert job.sweep is None
    assert job.resources == load_job(sweep / "trials/1/job.yaml").resources
    assert "auto" not in (job.resources.procs_per_node, job.resources.threads)
    launch(str(sweep / "best.yaml"), "--runs", "alone")
    assert weights(newest(folder, "alone")) == weights(sweep / "trials/1") != weights(sweep / "trials/0")


@pytest.mark.long
def test_with_folds_it_is_the_job_with_the_best_parameters_on_all_the_data(folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\nsweep:\n  {method: grid, metric: val/loss, goal: minimize, folds: 2, parallel: 1,\n"
        "   parameters: {train.optimizer.lr: [1e-3, 0.2]}}\n"
    )
    launch("sweep.yaml")
    sweep = newest(folder)
    assert [float(row["value"]) for row in results(sweep)] == sorted(
        (float(row["value"]) for row in results(sweep)), reverse=True
    )
    launch(str(sweep / "best.yaml"), "--runs", "alone")
    launch("base.yaml", "--set", "train.optimizer.lr=0.2", "--runs", "by-hand")
    assert weights(newest(folder, "alone")) == weights(newest(folder, "by-hand"))


IRIS = {
    "model": "{target: mlp, in_features: 4, hidden: [], out_features: 3}",
    "train": "{target: iris, split: all, normalize: true}",
    "batch": 150,
    "epochs": 150,
    "lr": 0.05,
}
DIGITS = {
    "model": "{target: mlp, in_features: 64, hidden: [], out_features: 10}",
    "train": "{target: digits, split: all, flatten: true}",
    "batch": 128,
    "epochs": 30,
    "lr": 0.02,
}
JOB = """
extends: base.yaml
train:
  model: {model}
  optimizer: {{target: adam, lr: {lr}, weight_decay: 0}}
  data: {{train: {train}, val: null, batch_size: {batch}}}
  epochs: {epochs}
  evaluate_every: {epochs} epochs
checkpoint: {{every: {epochs} epochs, keep_best: val/accuracy}}
sweep: {{metric: val/accuracy, goal: maximize, folds: 5}}
"""


@pytest.mark.parametrize(
    ("given", "data", "theirs"),
    [
        (IRIS, datasets.load_iris, make_pipeline(StandardScaler(), LogisticRegression(C=10))),
        pytest.param(DIGITS, datasets.load_digits, LogisticRegression(max_iter=3000), marks=pytest.mark.long),
    ],
    ids=["iris", "digits"],
)
def test_cross_validation_is_scikit_learns(given: Any, data: Any, theirs: Any, folder: Path, launch: Launch) -> None:
    """Logistic regression as an mlp without hidden layers, as far regularised by its few epochs as theirs by its penalty."""
    (folder / "folds.yaml").write_text(JOB.format(**given))
    launch("folds.yaml")
    [row] = results(newest(folder))
    inputs, classes = data(return_X_y=True)
    found = cross_val_score(theirs, inputs, classes, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    assert float(row["value"]) == pytest.approx(found.mean(), abs=0.01)
    assert float(row["spread"]) == pytest.approx(found.std(), abs=0.02)
    assert load_job(newest(folder) / "best.yaml").checkpoint.keep_best is None  # nothing is held out of all the data


def test_a_best_checkpoint_may_be_kept_by_what_folds_alone_evaluate(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\ntrain: {data: {val: null}}\ncheckpoint: {keep_best: val/accuracy}\n"
        "sweep: {method: grid, metric: val/loss, goal: minimize, folds: 2, parameters: {train.optimizer.lr: [0.2]}}\n"
    )
    sweep = load_job(folder / "sweep.yaml")
    made = trial_job(sweep, {"train.optimizer.lr": 0.2}, group="g", fold=1)
    assert made == load_job(written(folder / "trial.yaml", dump_job(made)))
    assert (made.sweep, made.checkpoint.keep_best) == (None, sweep.checkpoint.keep_best)
    run = RunDir(folder / "trials/0/fold-0")
    run.path.mkdir(parents=True)
    written(run.job, dump_job(made))
    write_best(RunDir(folder), sweep, Trial(0, {}, {"train.optimizer.lr": 0.2}, [run]))
    assert load_job(folder / "best.yaml").checkpoint == load_job(folder / "base.yaml").checkpoint
    both = "train.data.val={target: digits, split: val, flatten: true}"
    write_best(RunDir(folder), load_job(folder / "sweep.yaml", overrides=[both]), Trial(0, {}, {}, [run]))
    assert load_job(folder / "best.yaml").checkpoint == sweep.checkpoint


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
