"""What is drawn, made or changed of the data is the same at any world size: so are the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import TensorDataset

from launcher.rundir import RunDir
from launcher.spec.target import Target
from launcher.worker.data.smote import resampled
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate_run import evaluate_run
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker import sets
from tests.worker.worlds import ALONE, a_job, on_ranks, run_of

DATA: dict[str, dict[str, Any]] = {
    "weighted": {"sampling": "weighted"},
    "once": {"sampling": {"target": "weighted", "num_samples": 200, "replacement": False}},
    "balanced": {"sampling": "balanced", "micro_batch_size": 11},
    "oversample": {"sampling": "oversample"},
    "undersample": {"sampling": "undersample", "drop_last": True},
    "own": {"sampling": "sets:every_other"},
    "smote": {"smote": True},
    "augmented": {"sampling": "oversample", "augment": [{"target": "noise", "minority": True}, {"target": "mixup", "p": 0.5}]},
}


def job(**data: Any) -> dict[str, Any]:
    train = {"target": "sets:imbalanced_digits", "rare": 20}
    described = a_job(precision="fp64", max_steps=9, metrics=["accuracy"], data={"train": train, "batch_size": 60} | data)
    return described | {"checkpoint": {"every": "9 steps"}, "log": {"every": "1 steps", "plots": False}}


def train_all(runs: list[RunDir]) -> list[int]:
    with joined(read_job(runs[0])) as world:
        return [train(run, read_job(run), world) for run in runs]


def trained(folder: Path, world_size: int, described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Tensor]]:
    runs = [run_of(folder / f"{name}-{world_size}", each) for name, each in described.items()]
    assert on_ranks(world_size, train_all, runs) == [[0] * len(runs)] * world_size
    return {
        name: load_file(max(run.checkpoints.glob("step-*")) / "model.safetensors")
        for name, run in zip(described, runs, strict=True)
    }


def weights_of(run: RunDir) -> dict[str, Tensor]:
    return load_file(max(run.checkpoints.glob("step-*")) / "model.safetensors")


@pytest.mark.long
def test_the_weights_are_the_same_at_any_world_size(tmp_path: Path) -> None:
    described = {name: job(**data) for name, data in DATA.items()}
    alone = trained(tmp_path, 1, described)
    assert len({next(iter(each.values())).sum().item() for each in alone.values()}) == len(DATA)
    for world_size in (2, 4):
        for name, weights in trained(tmp_path, world_size, described).items():
            for key, tensor in weights.items():
                torch.testing.assert_close(tensor, alone[name][key], rtol=0, atol=1e-10, msg=f"{name} {key} at {world_size}")


def test_smote_makes_all_classes_equally_frequent_and_keeps_what_there_is() -> None:
    dataset = sets.imbalanced_digits(rare=20)
    found = resampled(dataset, Target(target="smote", k_neighbors=3), 1, ALONE)
    counts = torch.bincount(found.tensors[1])
    assert counts.unique().tolist() == [int(torch.bincount(dataset.tensors[1]).max())]
    assert torch.equal(found.tensors[0][: len(dataset)], dataset.tensors[0])
    again = resampled(dataset, Target(target="smote", k_neighbors=3), 1, ALONE)
    assert torch.equal(again.tensors[0], found.tensors[0])
    assert not torch.equal(resampled(dataset, Target(target="smote"), 2, ALONE).tensors[0], found.tensors[0])


@pytest.mark.parametrize(("dataset", "told"), [
    (sets.Noisy(), "train.data.smote wants arrays"),
    (TensorDataset(torch.randn(6, 2), torch.tensor([0, 0, 0, 0, 1, 1])), r"train.data.smote \(smote\): ValueError: Expected"),
])  # fmt: skip
def test_what_smote_cannot_do_is_told(dataset: Any, told: str) -> None:
    with pytest.raises(WorkerError, match=told) as refused:
        resampled(dataset, Target(target="smote"), 1, ALONE)
    assert refused.value.kind == "spec"


def accuracy_by_hand(run: RunDir) -> float:
    weights = weights_of(run)
    dataset = sets.imbalanced_digits(rare=20)
    first, second = (name for name in weights if name.endswith("weight"))
    hidden = torch.relu(dataset.tensors[0].double() @ weights[first].T + weights[first.replace("weight", "bias")])
    output = hidden @ weights[second].T + weights[second.replace("weight", "bias")]
    return float(np.mean((output.argmax(1) == dataset.tensors[1]).numpy()))


def test_the_training_set_is_evaluated_each_sample_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path / "run", job(smote=True, sampling="balanced", drop_last=True))
    assert train_all([run]) == [0]
    capsys.readouterr()
    evaluate_run(run, read_job(run), ALONE, split="train", checkpoint=None, as_json=True)
    assert json.loads(capsys.readouterr().out)["train/accuracy"] == pytest.approx(accuracy_by_hand(run), abs=1e-12)
