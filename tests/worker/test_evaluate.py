"""Evaluation counts each sample once, at any number of samples and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, r2_score
from torch.utils.data import TensorDataset

from launcher.rundir import RunDir
from launcher.worker.build import Training
from launcher.worker.data.order import Order
from launcher.worker.evaluate import evaluate
from tests.worker.sets import place_of_each
from tests.worker.worlds import a_job, in_world, on_ranks, run_of

SIZES = (*range(1, 20), 31, 32, 33, 69, 70)
ALL_SIZES = tuple(range(1, 71))


def job() -> dict[str, Any]:
    data = {"target": "sets:classes", "samples": 70}
    return a_job(
        model={"target": "mlp", "in_features": 6, "hidden": [8], "out_features": 5, "dropout": 0.5, "batch_norm": True},
        data={"train": data, "val": data, "batch_size": 16, "micro_batch_size": 5}, precision="fp64",
        metrics=["accuracy", "sets:f1_of_all", "sets:place_of_each",
                 {"target": "torchmetrics.classification:MulticlassAccuracy", "num_classes": 5}],
    )  # fmt: skip


def of_first(training: Training, samples: int) -> dict[str, float]:
    val = training.loaders["val"]
    dataset = TensorDataset(*(tensor[:samples] for tensor in val.fetch.dataset.tensors))
    epochs = replace(val.epochs, order=Order(samples, 0, shuffle=False))
    fewer = replace(val, fetch=replace(val.fetch, dataset=dataset), epochs=epochs)
    return evaluate(replace(training, loaders={"val": fewer}), "val")


def by_scikit_learn(training: Training, samples: int) -> dict[str, float]:
    inputs, targets = (tensor[:samples] for tensor in training.loaders["val"].fetch.dataset.tensors)
    model = training.model.eval()
    output = model(inputs.double()).detach()
    training.model.train()
    found = output.argmax(1)
    recalls = [float((found[targets == each] == each).double().mean()) for each in targets.unique()]
    return {
        "val/loss": log_loss(targets, output.softmax(1), labels=range(5)),
        "val/accuracy": accuracy_score(targets, found),
        "val/place_of_each": place_of_each(output, targets),
        "val/f1_of_all": f1_score(targets, found, average="macro"),
        "val/MulticlassAccuracy": sum(recalls) / len(set(targets.tolist()) | set(found.tolist())),
    }


def both(training: Training, run: RunDir, sizes: Sequence[int]) -> list[tuple[int, dict[str, float], dict[str, float]]]:
    torch.manual_seed(0)
    found = [(samples, of_first(training, samples), by_scikit_learn(training, samples)) for samples in sizes]
    assert all(module.training for module in training.model.modules())
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("world_size", "sizes"),
    [
        *((world, SIZES) for world in (1, 3)),
        *(pytest.param(world, ALL_SIZES, marks=pytest.mark.long) for world in (1, 2, 3, 4)),
    ],
)
def test_equals_scikit_learn_on_one_process(tmp_path: Path, world_size: int, sizes: Sequence[int]) -> None:
    for (found,) in on_ranks(world_size, in_world, [run_of(tmp_path / "run", job())], both, sizes):
        for samples, ours, theirs in found:
            assert ours == pytest.approx(theirs, abs=1e-12), samples


def determination(training: Training, run: RunDir) -> tuple[float, float]:
    """Adjusted R2: unlike a share, it is another one where every sample counts once for each rank."""
    inputs, targets = training.loaders["val"].fetch.dataset.tensors
    output = training.model.eval()(inputs.double()).detach()
    apart = 1 - r2_score(targets, output)
    return evaluate(training, "val")["val/R2Score"], 1 - apart * (len(targets) - 1) / (len(targets) - 3)


@pytest.mark.filterwarnings("ignore")
def test_the_states_of_a_torchmetrics_object_are_added_up_once(tmp_path: Path) -> None:
    described, data = job(), {"target": "sets:numbers", "samples": 20}
    described["train"] |= {"loss": "mse", "metrics": [{"target": "torchmetrics:R2Score", "adjusted": 2}]}
    described["train"]["data"] |= {"train": data, "val": data}
    for ((ours, theirs),) in on_ranks(2, in_world, [run_of(tmp_path / "run", described)], determination):
        assert ours == pytest.approx(theirs, rel=1e-5)


def evaluated(training: Training, run: RunDir) -> dict[str, float]:
    return evaluate(training, "val")


def test_a_metric_that_differs_between_ranks_has_the_first_ones_value(tmp_path: Path) -> None:
    described = job()
    described["train"]["metrics"].append("sets:OfRank")
    for (found,) in on_ranks(2, in_world, [run_of(tmp_path / "run", described)], evaluated):
        assert found["val/OfRank"] == 0.0


def alone_and_agreed(training: Training, run: RunDir) -> tuple[float, list[float]]:
    """Running means differ between ranks; the evaluation, and what is left afterwards."""
    norm = next(module for module in training.model.modules() if hasattr(module, "running_mean"))
    norm.running_mean.fill_(training.world.rank)
    return evaluate(training, "val")["val/loss"], norm.running_mean.tolist()


def test_own_batch_norms_agree_for_an_evaluation_and_are_their_own_again(tmp_path: Path) -> None:
    described = job()
    described["train"] |= {"sync_batch_norm": False}
    (first,), (second,) = on_ranks(2, in_world, [run_of(tmp_path / "run", described)], alone_and_agreed)
    assert first[0] == second[0]
    assert (first[1], second[1]) == ([0.0] * 8, [1.0] * 8)
