"""Frozen parts stay bit for bit, statistics included; everything else learns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from launcher.rundir import RunDir
from launcher.worker.build import Training
from launcher.worker.data.digits import digits
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.freezing import freeze
from launcher.worker.models.cnn import cnn
from launcher.worker.state import TrainState
from launcher.worker.step import take_step
from tests.worker.worlds import a_job, in_world, on_ranks, run_of

CNN = {"target": "cnn", "in_channels": 1, "channels": [4, 8], "num_classes": 10}
FIRST = {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
SECOND = {"4.weight", "5.weight", "5.bias", "5.running_mean", "5.running_var", "5.num_batches_tracked"}
HEAD = {"10.weight", "10.bias"}
STATISTICS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a block by path": ({"freeze": ["0", "1"]}, FIRST),
    "patterns": ({"freeze": ["[01].*"]}, FIRST),
    "only the head": ({"train_only": ["10"]}, FIRST | SECOND),
    "only the head's bias": ({"train_only": ["10"], "freeze": ["*.weight"]}, FIRST | SECOND | {"10.weight"}),
    "a norm that learns follows its batches": ({"freeze": ["1.weight"]}, {"1.weight"}),
    "a norm's parameters alone": ({"freeze": ["1.weight", "1.bias"]}, {"1.weight", "1.bias"} | STATISTICS),
}  # fmt: skip


def changed(training: Training, run: RunDir) -> tuple[set[str], int]:
    """Names of the tensors that three steps and evaluations between them change, and how many parameters the optimizer has."""
    training.optimizer.zero_grad()
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    state, portions = TrainState(model=training.model, optimizer=training.optimizer), training.train.portions()
    for _ in range(3):
        take_step(run, training, state, next(portions))
        evaluate(training, "val")
        state.step += 1
    after = training.model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}, len(training.parameters)


@pytest.mark.parametrize("world_size", [1, 2])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(tmp_path: Path, world_size: int) -> None:
    data = {"train": "digits", "val": {"target": "digits", "split": "val"}, "batch_size": 64}
    optimizer = {"target": "adamw", "lr": 0.01, "weight_decay": 0.1}
    runs = [
        run_of(tmp_path / str(number), a_job(model=CNN, data=data, optimizer=optimizer, **fields))
        for number, (fields, _) in enumerate(CASES.values())
    ]
    buffers = {name for name in FIRST | SECOND if "running" in name or "tracked" in name}
    for of_rank in on_ranks(world_size, in_world, runs, changed):
        for (case, (_, still)), (moved, learning) in zip(CASES.items(), of_rank, strict=True):
            assert moved == (FIRST | SECOND | HEAD) - still, case
            assert learning == len((FIRST | SECOND | HEAD) - still - buffers), case


@pytest.mark.parametrize(("fields", "words"), [
    ({"freeze": ["layer1"]}, "train.freeze: 'layer1' matches nothing of train.model. It has 0, 1, 4, 5, 10"),
    ({"train_only": ["10.weigth"]}, "train.train_only: '10.weigth' matches nothing"),
    ({"freeze": ["*"]}, "leave nothing to learn"),
])  # fmt: skip
def test_a_pattern_that_means_nothing_is_refused(fields: dict[str, list[str]], words: str) -> None:
    model = cnn(in_channels=1, channels=[4, 8], num_classes=10)
    with pytest.raises(WorkerError, match=re.escape(words)) as caught:
        freeze(model, fields.get("freeze", []), fields.get("train_only", []))
    assert caught.value.kind == "spec"


def test_a_norm_without_parameters_is_frozen_with_its_statistics() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2))
    freeze(model, [], ["2"])
    assert not model[1].training


def test_digits_of_some_classes_are_those_alone() -> None:
    every, some = digits(split="val"), digits(split="val", classes=[7, 5])
    images, labels = every.tensors
    chosen = (labels == 5) | (labels == 7)
    assert torch.equal(some.tensors[0], images[chosen])
    assert torch.equal(some.tensors[1], (labels[chosen] == 5).long())
