"""The averages are torch.optim.swa_utils' own, stand in for the weights where they are evaluated, and outlive a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from launcher.rundir import RunDir
from launcher.worker.build import Training
from launcher.worker.evaluate import evaluate, evaluate_now
from launcher.worker.restore import load_model_weights
from launcher.worker.state import TrainState
from launcher.worker.step import take_step
from launcher.worker.train import advance
from tests.worker.trainings import bits
from tests.worker.worlds import a_job, in_world, on_ranks, run_of, train_run

DECAY = 0.7
NORMED = {"target": "mlp", "in_features": 64, "hidden": [16], "out_features": 10, "batch_norm": True}


def job(**ema: Any) -> dict[str, Any]:
    flat = {"target": "digits", "flatten": True}
    data = {"train": flat, "val": flat | {"split": "val"}, "test": flat | {"split": "all"}, "batch_size": 100}
    return a_job(model=NORMED, data=data, metrics=["accuracy"], freeze=["0.bias"], ema={"decay": DECAY} | ema)


def state_bits(state: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: bits(tensor) for name, tensor in state.items()}


def beside_torchs_own(training: Training, run: RunDir) -> None:
    state = TrainState(model=training.model, optimizer=training.optimizer, ema=training.ema)
    reference = AveragedModel(training.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    portions = training.train.portions()
    assert state.ema is not None
    for _ in range(4):
        portion = next(portions)
        take_step(run, training, state, portion)
        advance(state, portion)
        reference.update_parameters(training.model)
    averaged = reference.module.state_dict()
    assert state_bits(state.ema.over(training.model)) == state_bits(averaged)
    own = state_bits(training.model.state_dict())
    assert own != state_bits(averaged)
    values = evaluate_now(training, "val")
    assert state_bits(training.model.state_dict()) == own
    of_weights = evaluate(training, "val")
    training.model.load_state_dict(averaged)
    assert values == (of_weights if not state.ema.settings.evaluate else evaluate(training, "val"))
    assert of_weights != evaluate(training, "val")


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_average_is_torchs_and_is_what_is_evaluated(tmp_path: Path, world_size: int) -> None:
    runs = [run_of(tmp_path / str(evaluated), job(evaluate=evaluated)) for evaluated in (True, False)]
    on_ranks(world_size, in_world, runs, beside_torchs_own)


def weights_taken(training: Training, run: RunDir) -> tuple[dict[str, Tensor], dict[str, float]]:
    load_model_weights(run.checkpoints / "step-00000005", training.model)
    return training.model.state_dict(), evaluate(training, "test") | evaluate(training, "val")


@pytest.mark.parametrize(("evaluated", "file"), [(True, "ema.safetensors"), (False, "model.safetensors")])
def test_what_is_evaluated_is_what_is_taken_from_a_checkpoint(tmp_path: Path, evaluated: bool, file: str) -> None:
    run = run_of(tmp_path / "run", job(evaluate=evaluated))
    assert on_ranks(1, train_run, run) == [0]
    both = {name: load_file(run.checkpoints / "step-00000005" / name) for name in ("ema.safetensors", "model.safetensors")}
    assert both["ema.safetensors"].keys() == both["model.safetensors"].keys()
    changed = {
        name for name, tensor in both["model.safetensors"].items() if not torch.equal(tensor, both["ema.safetensors"][name])
    }
    assert changed == {"0.weight", "1.weight", "1.bias", "3.weight", "3.bias"}
    [(taken, values)] = on_ranks(1, in_world, [run], weights_taken)[0]
    assert state_bits(taken) == state_bits(both[file])
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert {key: last[key] for key in values} == values
