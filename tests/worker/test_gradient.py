"""The gradient of a step is that of the whole batch's mean loss, however it is cut."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.worker import step
from launcher.worker.batch_norm import norms
from launcher.worker.build import Training
from launcher.worker.data.nested import on_device, tensors
from launcher.worker.step import gradient
from tests.worker.worlds import a_job, in_world, on_ranks, run_of

SIZES = (1, 2, 5, 29)
WEIGHTS = [0.2, 1.0, 3.0, 0.5, 0.0]
LOSSES: dict[str, tuple[Any, Any]] = {
    "cross_entropy": ({"target": "cross_entropy", "label_smoothing": 0.1}, "sets:classes"),
    "ignored": ({"target": "cross_entropy"}, "sets:classes"),
    "class weights": ({"target": "cross_entropy", "weight": WEIGHTS, "label_smoothing": 0.1}, "sets:classes"),
    "mse": ("mse", "sets:numbers"),
}


def job(loss: str, samples: int, micro: Any, **model: Any) -> dict[str, Any]:
    spec, data = LOSSES[loss]
    dataset = {"target": data, "samples": samples} | ({"ignored": True} if loss in ("ignored", "class weights") else {})
    return a_job(
        model={"target": "mlp", "in_features": 6, "hidden": [8], "out_features": 5, **model},
        loss=spec, precision="fp64", data={"train": dataset, "batch_size": samples, "micro_batch_size": micro, "shuffle": False},
    )  # fmt: skip


def reference(training: Training, model: nn.Module, loss: str) -> tuple[Tensor, list[Tensor]]:
    inputs, targets = training.train.fetch.dataset.tensors
    output = model(inputs.double())
    smoothing = 0.1 if loss in ("cross_entropy", "class weights") else 0.0
    weight = torch.tensor(WEIGHTS, dtype=torch.float64) if loss == "class weights" else None
    cross_entropy = partial(F.cross_entropy, weight=weight, label_smoothing=smoothing)
    value = F.mse_loss(output, targets.double()) if loss == "mse" else cross_entropy(output, targets)
    return value.detach(), list(torch.autograd.grad(value, list(model.parameters()), allow_unused=True))


def differences(training: Training, run: RunDir) -> tuple[float, float, float]:
    """Of loss and gradient, relative to the largest of the reference's, and of running statistics."""
    plain = copy.deepcopy(training.model)
    for module in plain.modules():
        module.ranks = 1
    expected, gradients = reference(training, plain, run.path.name.split("-")[0])
    portion = next(training.train.portions())
    of_step = gradient(training, portion, step=0)
    own = sum(mean.item() * weight for mean, weight in of_step.parts)
    total = training.world.sum([own])[0] / float(of_step.weight)
    pairs = zip(training.model.parameters(), gradients, strict=True)
    apart = max((parameter.grad - each).abs().max().item() for parameter, each in pairs if each is not None)
    buffers = zip(training.model.buffers(), plain.buffers(), strict=True)
    moved = max(((mine - each).abs().max().item() for mine, each in buffers), default=0.0)
    return abs(total / expected.item() - 1), apart / max(each.abs().max().item() for each in gradients if each is not None), moved


def cases() -> Iterator[tuple[str, int, Any]]:
    for loss, samples, micro in product(LOSSES, SIZES, ("auto", 3)):
        if samples >= 5 or loss not in ("ignored", "class weights"):  # where every target is ignored torch's mean is NaN too
            yield loss, samples, micro


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_equals_the_whole_batch_for_every_loss_size_and_accumulation(tmp_path: Path, world_size: int) -> None:
    runs = [run_of(tmp_path / "-".join(map(str, case)), job(*case)) for case in cases()]
    for found in on_ranks(world_size, in_world, runs, differences):
        for run, apart in zip(runs, found, strict=True):
            assert max(apart) < 1e-12, run.path.name


@pytest.mark.parametrize("world_size", [2, 3])
def test_batch_norm_sees_all_ranks_samples(tmp_path: Path, world_size: int) -> None:
    runs = [run_of(tmp_path / f"mse-{samples}", job("mse", samples, "auto", batch_norm=True)) for samples in (2, 29)]
    for found in on_ranks(world_size, in_world, runs, differences):
        assert max(map(max, found)) < 1e-9


@pytest.mark.parametrize("model", ["sets:PartlyUnused", "sets:NoEmptyBatch"])
def test_models_that_need_special_care_get_it(tmp_path: Path, model: str) -> None:
    described = [job("mse", samples, "auto") for samples in (2, 7)]
    for each in described:
        each["train"]["model"] = model
    runs = [run_of(tmp_path / f"mse-{number}", each) for number, each in enumerate(described)]
    for found in on_ranks(3, in_world, runs, differences):
        assert max(map(max, found)) < 1e-12


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_sample_that_stands_in_for_none_has_no_part_in_batch_norm(tmp_path: Path, world_size: int) -> None:
    runs = []
    for samples, recomputing in product((1, 3), (False, True)):
        described = job("mse", samples, "auto")
        described["train"] |= {"model": "sets:Viewed", "activation_checkpointing": recomputing}
        runs.append(run_of(tmp_path / f"mse-{samples}-{recomputing}", described))
    for found in on_ranks(world_size, in_world, runs, differences):
        assert max(map(max, found)) < 1e-9


def statistics_after(training: Training, run: RunDir) -> list[Tensor]:
    gradient(training, next(training.train.portions()), step=0)
    return [norm.running_mean.clone() for norm in norms(training.model) if norm.running_mean is not None]


def test_it_leaves_the_statistics_of_a_rank_of_its_own_alone(tmp_path: Path) -> None:
    described = job("mse", 1, "auto")
    described["train"] |= {"model": "sets:Viewed", "sync_batch_norm": False}
    without, with_one = on_ranks(2, in_world, [run_of(tmp_path / "run", described)], statistics_after)
    assert not any(mean.any() for mean in without[0])
    assert all(mean.any() for mean in with_one[0])


def layouts(training: Training, run: RunDir) -> list[Any]:
    """Whether the reducer has the buckets that it keeps, and which parameters are in them: of each step."""
    found = []
    for number, portion in zip(range(3), training.train.portions(), strict=False):
        gradient(training, portion, number)
        training.optimizer.zero_grad()
        noted = training.wrapped._get_ddp_logging_data()  # type: ignore[operator]
        found.append((noted["has_rebuilt_buckets"], noted["rebuilt_per_bucket_param_indices"]))
    return found


def test_buckets_are_laid_out_once_before_the_first_step(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", job("mse", 6, "auto", hidden=[600, 600]))
    assert on_ranks(3, in_world, [run], layouts) == [[[(1, "5 4 3 2, 1 0")] * 3]] * 3


def dense_gradients(training: Training, run: RunDir) -> list[Tensor]:
    gradient(training, next(training.train.portions()), step=0)
    return [parameter.grad.to_dense() for parameter in training.parameters if parameter.grad is not None]


def test_sparse_gradients_are_summed_over_three_ranks(tmp_path: Path) -> None:
    described = job("mse", 7, "auto")
    described["train"]["model"] = "sets:Looked"
    run = run_of(tmp_path / "run", described)
    ((alone,),) = on_ranks(1, in_world, [run], dense_gradients)
    for (found,) in on_ranks(3, in_world, [run], dense_gradients):
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)


def inputs_moved(training: Training, run: RunDir) -> int:
    """Batches whose inputs on_device had to change, in a step."""
    changed = []

    def noting(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
        moved = on_device(batch, device, dtype)
        changed.append(any(one is not other for one, other in zip(tensors(batch), tensors(moved), strict=True)))
        return moved

    step.on_device = noting  # type: ignore[attr-defined]
    gradient(training, next(training.train.portions()), step=0)
    return sum(changed)


@pytest.mark.parametrize(
    ("loss", "micro", "moved"), [("cross_entropy", "auto", 1), ("cross_entropy", 4, 3), ("sets:OfCounted", "auto", 1)]
)
def test_inputs_are_moved_once_though_targets_are_weighed_before(tmp_path: Path, loss: str, micro: Any, moved: int) -> None:
    described = job("cross_entropy", 12, micro)
    described["train"] |= {"loss": loss}
    described["train"]["data"] |= {"train": {"target": "sets:Noisy", "samples": 12}}
    assert on_ranks(1, in_world, [run_of(tmp_path / "run", described)], inputs_moved) == [[moved]]
