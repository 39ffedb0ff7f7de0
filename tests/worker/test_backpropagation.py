"""The gradients of a step are those of autograd by hand and of finite differences; `debug --gradients` shows their norms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.worker.build import Training, build
from launcher.worker.debug import debug
from launcher.worker.job import read_job
from launcher.worker.step import gradient
from tests.worker.worlds import ALONE, a_job, run_of

RATE, SAMPLES, NUDGE = 0.1, 12, 1e-5


def job(**model: Any) -> dict[str, Any]:
    return a_job(
        model={"target": "mlp", "in_features": 6, "hidden": [4, 3], "out_features": 5, "activation": "tanh"} | model,
        data={"train": {"target": "sets:classes", "samples": SAMPLES}, "batch_size": SAMPLES, "micro_batch_size": 5},
        optimizer={"target": "sgd", "lr": RATE}, precision="fp64",
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return run_of(tmp_path / "run", job())


def loss_of(training: Training) -> Tensor:
    inputs, targets = training.train.fetch.dataset.tensors
    return F.cross_entropy(training.model(inputs.double()), targets)


@torch.no_grad()
def nudged(training: Training, parameter: nn.Parameter) -> Tensor:
    """The loss's slope along each element, by two evaluations."""
    slopes = torch.empty_like(parameter)
    flat = parameter.view(-1)
    for place in range(flat.numel()):
        value = flat[place].item()
        flat[place] = value + NUDGE
        above = loss_of(training)
        flat[place] = value - NUDGE
        slopes.view(-1)[place] = (above - loss_of(training)) / (2 * NUDGE)
        flat[place] = value
    return slopes


def test_gradients_are_the_slopes_of_the_loss(run: RunDir) -> None:
    training = build(run, read_job(run), ALONE)
    gradient(training, next(training.train.portions()), step=0)
    by_hand = torch.autograd.grad(loss_of(training), training.parameters)
    for parameter, own in zip(training.parameters, by_hand, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, own, rtol=1e-12, atol=1e-15)
        assert torch.allclose(parameter.grad, nudged(training, parameter), rtol=1e-6, atol=1e-9)


def test_debug_shows_each_layers_gradient_and_update(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    training = build(run, read_job(run), ALONE)
    weights = [float(parameter.detach().norm()) for parameter in training.parameters]
    norms = [float(each.norm()) for each in torch.autograd.grad(loss_of(training), training.parameters)]
    assert debug(run, gradients=True) == 0
    head, *rows = [line.split() for line in capsys.readouterr().out.split("\n\n")[1].splitlines()]
    assert head[:2] == ["layer", "shape"]
    assert [row[:2] for row in rows[:3]] == [["0.weight", "4x6"], ["0.bias", "4"], ["2.weight", "3x4"]]
    assert [float(row[2]) for row in rows] == pytest.approx(weights, rel=1e-4)
    assert [float(row[3]) for row in rows] == pytest.approx(norms, rel=1e-4)
    expected = [RATE * norm / weight for norm, weight in zip(norms, weights, strict=True)]
    assert [float(row[4]) for row in rows] == pytest.approx(expected, rel=1e-3)
