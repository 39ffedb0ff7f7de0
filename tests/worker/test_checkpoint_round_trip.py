"""What is restored is what was saved, to the bit, and the training goes on as if nothing had been."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from launcher.worker.errors import WorkerError
from launcher.worker.restore import load_model_weights, restore
from launcher.worker.state import Best
from tests.worker.trainings import ALONE, network, new_run, same, saved, saver, step, training

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    "adam": (torch.optim.Adam, {}),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}),
    "fused": (torch.optim.AdamW, {"fused": True}),
    "tensor lr": (torch.optim.Adam, {"lr": torch.tensor(1e-2), "capturable": False, "foreach": False}),
    "rmsprop": (torch.optim.RMSprop, {"centered": True, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "adamax": (torch.optim.Adamax, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "rprop": (torch.optim.Rprop, {}),
    "asgd": (torch.optim.ASGD, {}),
    "lbfgs": (torch.optim.LBFGS, {"history_size": 3, "max_iter": 2}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    optimizer, settings = OPTIMIZERS[name]
    run, undisturbed, resumed = (
        new_run(tmp_path),
        training(None, optimizer, **settings),
        training(network(1), optimizer, **settings),
    )
    for _ in range(5):
        step(undisturbed)
    saved(run, undisturbed)
    assert restore(run, resumed, ALONE) == 0
    assert same(resumed, undisturbed)
    for _ in range(5):
        step(undisturbed), step(resumed)
    assert same(resumed, undisturbed)


def test_settings_of_each_parameter_group_come_back(tmp_path: Path) -> None:
    def grouped() -> Any:
        model = network()
        groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[4].parameters(), "betas": (0.5, 0.9)}]
        return training(model, lambda _, lr: torch.optim.AdamW(groups, lr=lr))

    run, one, other = new_run(tmp_path), grouped(), grouped()
    step(one)
    one.optimizer.param_groups[0]["lr"] = 0.123
    saved(run, one)
    restore(run, other, ALONE)
    assert [group["lr"] for group in other.optimizer.param_groups] == [0.123, 1e-2]
    assert other.optimizer.param_groups[1]["betas"] == (0.5, 0.9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), training(network().to(dtype)), training(network(1).to(dtype))
    step(one)
    saved(run, one)
    restore(run, other, ALONE)
    assert same(one, other)


def test_state_kept_wider_than_its_parameter_keeps_its_bits(tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), training(network().bfloat16()), training(network(1).bfloat16())
    step(one)
    for state in one.optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].float() + 1e-7
    saved(run, one)
    restore(run, other, ALONE)
    assert same(one, other)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, batch: Tensor) -> Tensor:
        return self.head(self.embedding(batch.flatten(1).long().abs() % 5))


def test_tied_weights_stand_under_both_names_and_stay_tied(tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), training(Tied()), training(Tied())
    step(one)
    assert load_file(saved(run, one) / "model.safetensors").keys() == one.model.state_dict().keys()
    restore(run, other, ALONE)
    step(one), step(other)
    assert other.model.head.weight is other.model.embedding.weight
    assert same(one, other)


class Counting(nn.Linear):
    """A module whose state holds more than tensors."""

    seen: Any = None

    def get_extra_state(self) -> Any:
        return self.seen

    def set_extra_state(self, state: Any) -> None:
        self.seen = state


@pytest.mark.parametrize("seen", [{"names": ("a", 1), 3: None}, torch.arange(3), {"mean": torch.ones(2)}, float("inf")])
def test_extra_state_of_modules_comes_back(seen: Any, tmp_path: Path) -> None:
    run, one, other, evaluated = new_run(tmp_path), *(training(Counting(2, 2)) for _ in range(3))
    one.model.seen = seen
    folder = saved(run, one)
    restore(run, other, ALONE)
    load_model_weights(folder, evaluated.model)
    assert repr(other.model.seen) == repr(evaluated.model.seen) == repr(seen)


def test_memory_format_of_the_optimizer_state_comes_back(tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), *(training(network().to(memory_format=torch.channels_last)) for _ in range(2))
    one.optimizer.zero_grad()
    step(one)
    saved(run, one)
    restore(run, other, ALONE)
    weight, again = one.model[0].weight, other.model[0].weight
    assert other.optimizer.state[again]["exp_avg"].stride() == one.optimizer.state[weight]["exp_avg"].stride()


def test_loss_scale_comes_back(tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), training(), training()
    one.scaler, other.scaler = (torch.amp.GradScaler("cpu", init_scale=scale) for scale in (4096.0, 2.0))
    saved(run, one)
    restore(run, other, ALONE)
    assert other.scaler.state_dict()["scale"] == 4096.0


def test_what_the_loop_counts_comes_back(tmp_path: Path) -> None:
    run, one, other = new_run(tmp_path), training(), training()
    one.step, one.epoch, one.batch, one.evaluated = 30, 2, 6, 24
    one.best, one.metrics = {"val/accuracy": {"value": 1 / 3, "step": 24}}, {"val/accuracy": 1 / 3}
    one.sums = {"loss": 0.1 + 0.2, "weight": 64.0}
    saved(run, one)
    restore(run, other, ALONE)
    one.collect(ALONE), other.collect(ALONE)
    assert other.to_json() == one.to_json()


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    torch.randn(3), random.random(), np.random.rand()
    saved(run, state)
    drawn = torch.randn(3).tolist(), random.random(), np.random.rand()
    restore(run, state, ALONE)
    assert (torch.randn(3).tolist(), random.random(), np.random.rand()) == drawn


def test_nothing_in_a_checkpoint_needs_pickle(tmp_path: Path) -> None:
    state = training()
    step(state)
    for file in saved(new_run(tmp_path), state).iterdir():
        assert load_file(file) if file.suffix == ".safetensors" else json.loads(file.read_text())


def test_the_manifest_says_what_it_covers(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    step(state)
    manifest = json.loads((saved(run, state) / "manifest.json").read_text())
    expected = {"step": 1, "attempt": 1, "rows": 0, "metrics": {}, "world_size": 1}
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["files"].keys() == {"model.safetensors", "optimizer.safetensors", "state.json"}


def test_state_that_only_pickle_could_hold_is_refused_by_its_place(tmp_path: Path) -> None:
    state = training()
    step(state)
    state.optimizer.state[state.model[0].weight]["odd"] = object()
    with pytest.raises(WorkerError, match=r"cannot be saved: optimizer\.state\.0\.odd holds a builtins\.object") as caught:
        saved(new_run(tmp_path), state)
    assert caught.value.kind == "spec"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: training(nn.Linear(2, 2)), "does not fit the model that job.yaml describes"),
        (lambda: training(None, lambda parameters, lr: torch.optim.SGD([*parameters][:2], lr=lr)), "does not fit the optimizer"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(other: Any, words: str, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    saved(run, training())
    with pytest.raises(WorkerError, match=words):
        restore(run, other(), ALONE)


def test_without_a_checkpoint_the_training_starts_anew(tmp_path: Path) -> None:
    assert restore(new_run(tmp_path), training(), ALONE) is None


def test_what_the_training_counts_meanwhile_is_not_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, state, behind = new_run(tmp_path), training(), list[Any]()
    writer = saver(run)
    monkeypatch.setattr(writer, "_behind", behind.append)
    state.best["val/loss"] = Best(value=0.5, step=0)
    state.sums["loss"] = 3.0
    writer.save(state, metrics={}, rows=0, attempt=1)
    state.best["val/loss"] = Best(value=0.25, step=1)
    state.sums["loss"] += 1.0
    behind[0]()
    restored = training()
    restore(run, restored, ALONE)
    assert (restored.best["val/loss"]["value"], restored.sums["loss"]) == (0.5, 3.0)
