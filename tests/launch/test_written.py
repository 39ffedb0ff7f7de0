"""A message that names a field tells where in the user's file it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli.written import written_at

JOB = """train:
  model: {target: mlp, in_features: 4, out_features: 3}
  loss: mse
  optimizer: {target: sgd, lr: 0.1}
  data:
    train: iris
    batch_size: 8
  metrics:
    - f1
  epochs: 1
"""


@pytest.mark.parametrize(("message", "expected"), [
    ("train.loss: mse wants targets of the output's shape", "train.loss is written at job.yaml:3"),
    ("train.data.train (iris): ValueError", "train.data.train is written at job.yaml:6"),
    ("train.model (mlp) and train.loss (mse)", "train.model is written at job.yaml:2"),
    ("train.metrics: f1 compares classes", "train.metrics is written at job.yaml:9"),
    ("train.optimizer.lr has to be smaller", "train.optimizer.lr is written at --set 1"),
    ("train.precision: fp16 needs a GPU", None),
    ("CUDA is broken", None),
])  # fmt: skip
def test_the_first_field_that_a_message_names_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, expected: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(JOB)
    assert written_at(message, "job.yaml", ["train.optimizer.lr=0.2"]) == expected


def test_a_file_that_is_no_job_any_more_hides_no_message(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("train: 3\n")
    assert written_at("train.loss: no", str(path)) is None
