"""A sweep's mistakes are told before the first trial, each with its place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.load import dump_job, load_job, parse_job

JOB = """
name: small
train:
  model: {target: mlp, in_features: 64, hidden: [8], out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1}
  data: {train: digits, val: digits, batch_size: 64}
  metrics: [accuracy]
  epochs: 1
"""
SWEEP = "sweep: {{method: {method}, metric: {metric}, goal: minimize, trials: 3, parameters: {{{parameters}}}{more}}}\n"
LINE = 10


def problems(*, method: str = "random", metric: str = "val/loss", parameters: str = "seed: [1]", more: str = "") -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_job(JOB + SWEEP.format(method=method, metric=metric, parameters=parameters, more=more), "job.yaml")
    assert all((problem.source, problem.line) == ("job.yaml", LINE) for problem in caught.value.problems)
    assert all(problem.column for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("train.optimizr.lr: [0.1]", "Did you mean 'optimizer'"),
        ("train.optimizer.lr: [0.1, fast]", "expected a number >= 0, got 'fast'"),
        ("train.optimizer.lr: {min: -1.0, max: 1.0}", "expected a number >= 0, got -1.0"),
        ("train.model.hidden: [[16], big]", "expected a list of integers >= 1, got 'big'"),
        ("train.schedule: [{target: cosin}]", "Did you mean 'cosine'"),
        ("train.optimizer.lr: {min: 1, max: 0.1}", "min must be below max, got 1 and 0.1"),
        ("train.optimizer.lr: {min: 1, max: 0.1}", "write {min: 0.1, max: 1}"),
        ("train.optimizer.lr: {min: 0.1, max: 0.1}", "write a list of one value, [0.1]"),
        ("train.optimizer.lr: {min: 0.1, max: 0.2, step: 0.3}", "step 0.3 leads from min 0.1 beyond max 0.2"),
        ("train.optimizer.lr.x: [0.1]", "train.optimizer.lr has no fields"),
        ("train.optimizer.lr: {min: 0, max: 0.1, log: true}", "log needs a min above 0, got 0"),
        ("train.optimizer.lr: {min: 0.1, max: 1, log: true, step: 0.1}", "step and log exclude each other"),
        ("train.optimizer.lr: 0.1", "expected a list of values, or a range {min, max, log, step}, got 0.1"),
        ("train.optimizer.lr: []", "expected a list of values, or a range {min, max, log, step}, got an empty list"),
    ],
)
def test_what_it_would_try_is_checked_against_the_jobs_types(parameters: str, words: str) -> None:
    assert words in "\n".join(problems(parameters=parameters))


def test_every_mistake_is_told_at_once() -> None:
    found = problems(metric="val/los", parameters="train.optimizer.lr: [fast], train.modle.hidden: [[1]]")
    assert len(found) == 3


def test_a_grid_enumerates() -> None:
    assert "a grid needs values to enumerate" in problems(method="grid", parameters="train.optimizer.lr: {min: 0.1, max: 1.0}")[0]


def test_the_metric_is_one_that_is_logged() -> None:
    [told] = problems(metric="val/f1")
    assert told.startswith("'val/f1' is not logged while this job trains; it logs val/loss, val/accuracy")


def test_folds_hold_out_a_part_to_evaluate_on_and_are_not_pruned() -> None:
    text = JOB.replace("val: digits, ", "")
    assert parse_job(text + "sweep: {metric: val/accuracy, goal: maximize, folds: 5}\n").sweep is not None
    assert "folds and prune exclude each other" in problems(more=", folds: 3, prune: asha")[0]


def test_what_folds_alone_evaluate_is_monitored_and_what_would_be_tried_is_checked_all_the_same() -> None:
    text = JOB.replace("val: digits, ", "") + "checkpoint: {keep_best: val/accuracy}\n"
    sweep = "sweep: {metric: %s, goal: minimize, folds: 5, trials: 2, parameters: {train.optimizer.lr: [0.1%s]}}\n"
    assert parse_job(text + sweep % ("val/loss", "")).checkpoint.keep_best is not None
    with pytest.raises(SpecError) as caught:
        parse_job(text + sweep % ("val/los", ", fast"))
    metric, value = (problem.message for problem in caught.value.problems)
    assert metric.startswith("'val/los' is not logged")
    assert value == "expected a number >= 0, got 'fast'"


def test_a_sweep_needs_an_end_something_to_try_and_a_training() -> None:
    for sweep, words in (
        ("{metric: val/loss, goal: minimize}", "a sweep needs parameters to try, or folds"),
        ("{metric: val/loss, goal: minimize, parameters: {seed: [1, 2]}}", "say how long it goes on"),
    ):
        with pytest.raises(SpecError, match=words):
            parse_job(JOB + f"sweep: {sweep}\n")
    with pytest.raises(SpecError, match="a program of your own has none"):
        parse_job("run: {script: a.py}\nsweep: {metric: val/loss, goal: minimize, trials: 1, parameters: {seed: [1]}}\n")


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    parameters = "train.optimizer.lr: {min: 1e-4, max: 1, log: true}, train.schedule: [{target: cosine}, null]"
    job = parse_job(JOB + SWEEP.format(method="tpe", metric="val/loss", parameters=parameters, more=""))
    (tmp_path / "again.yaml").write_text(dump_job(job))
    assert load_job(tmp_path / "again.yaml") == job
