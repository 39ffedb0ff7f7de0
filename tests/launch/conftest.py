from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from launcher.errors import Problem, SpecError
from launcher.load import parse_job

TRAIN = """
train:
  model: {target: mlp, in_features: 64, out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1}
  data:
    train: {target: digits, flatten: true}
    val: {target: digits, split: val, flatten: true}
    batch_size: 128
  metrics: [accuracy]
  epochs: 2
"""


@pytest.fixture
def train() -> str:
    """A job that trains, as text to add to."""
    return TRAIN


@pytest.fixture
def problems() -> Callable[..., list[Problem]]:
    """What is wrong with a job's text, which must be something."""

    def found(text: str, **given: Any) -> list[Problem]:
        with pytest.raises(SpecError) as refused:
            parse_job(text, "job.yaml", **given)
        return refused.value.problems

    return found
