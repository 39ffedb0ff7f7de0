"""What ends a training, told so that somebody can mend it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from launcher.rundir import RunDir, read_json
from launcher.worker import blame, step
from launcher.worker.blame import out_of_memory
from launcher.worker.errors import WorkerError
from launcher.worker.first_batch import told
from launcher.worker.world import World
from tests.worker.sets import Noisy
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

NOISY = {"model": {"target": "mlp", "in_features": 6, "out_features": 5}}


def error_of(run: RunDir) -> WorkerError | int:
    try:
        return train_run(run)
    except WorkerError as error:
        return error


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_loss_that_is_no_number_stops_all_ranks_before_anything_is_saved(tmp_path: Path, world_size: int) -> None:
    described = a_job(**NOISY, data={"train": "sets:Spoilt", "batch_size": 10, "shuffle": False}, max_steps=9)
    described |= {"checkpoint": {"every": "1 steps"}, "log": {"every": "5 steps", "plots": False}}
    run = run_of(tmp_path / "run", described)
    for error in on_ranks(world_size, error_of, run):
        assert error.kind == "nan"
        assert error.details["step"] == 2
        assert error.details["rank"] == 0
        assert 11 in error.details["samples"]
        assert error.details["checkpoint"] == "step-00000001"
        assert "step 2 on rank 0" in str(error)
    assert [path.name for path in run.checkpoints.glob("step-*")] == ["step-00000001"]


def out_of_memory_above(run: RunDir, most: int) -> Any:
    """Trains where a micro-batch of more than `most` samples does not fit."""
    forward = step.call_model

    def limited(model: Any, inputs: Any, batch: Any) -> Any:
        if model.training and len(batch[0]) > most:
            forward(model, inputs, batch)  # batch norm has already counted when memory runs out
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return forward(model, inputs, batch)

    step.call_model = limited
    return error_of(run)


@pytest.mark.parametrize(("words", "of_memory"), [
    ("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`", True),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
    ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
    ("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8", True),
    ("NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error. Last error:\nCuda failure 2 'out of memory'", True),
    ("Triton Error [CUDA]: out of memory", True),
    ("NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error. Last error:\nCuda failure 700 'an illegal access'", False),
    ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`", False),
    ("CUDA error: device-side assert triggered", False),
    ("GET was unable to find an engine to execute this computation", False),
])  # fmt: skip
def test_memory_runs_out_in_many_words(words: str, of_memory: bool) -> None:
    assert out_of_memory(RuntimeError(words)) == of_memory


@pytest.mark.parametrize("search", ["GET", "FIND"])
@pytest.mark.parametrize("failed", [0, 2])
def test_cudnn_finds_no_engine_for_want_of_memory_where_allocations_failed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, search: str, failed: int
) -> None:
    stats = {"num_ooms": 5}
    monkeypatch.setattr(blame, "KNOWN", {torch.device("cuda"): 5})
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda _: stats)
    training: Any = SimpleNamespace(world=World(device=torch.device("cuda")))

    def convolve() -> None:
        stats["num_ooms"] += failed
        raise RuntimeError(f"{search} was unable to find an engine to execute this computation")

    with pytest.raises(RuntimeError, match="an engine") as raised, told(training, None):
        convolve()
    assert out_of_memory(raised.value) == bool(failed)


def final_weights(run: RunDir) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(max(run.checkpoints.glob("step-*")) / "model.safetensors")


def test_one_rank_halves_its_micro_batch_and_does_the_step_anew(tmp_path: Path) -> None:
    described = a_job(model={"target": "mlp", "in_features": 64, "out_features": 10}, precision="fp64")
    plain, tight = (run_of(tmp_path / name, described) for name in ("plain", "tight"))
    assert on_ranks(1, train_run, plain) == [0]
    assert on_ranks(1, out_of_memory_above, tight, 30) == [0]
    assert read_json(tight.micro_batch) == {"micro_batch_size": 25}
    for name, tensor in final_weights(plain).items():
        torch.testing.assert_close(final_weights(tight)[name], tensor, rtol=0, atol=1e-12)


def test_halving_leaves_batch_norm_as_if_only_the_smaller_batches_had_been(tmp_path: Path) -> None:
    model = {"target": "mlp", "in_features": 64, "out_features": 10, "batch_norm": True}
    tight = run_of(tmp_path / "tight", a_job(model=model))
    data = a_job()["train"]["data"] | {"micro_batch_size": 25}
    plain = run_of(tmp_path / "plain", a_job(model=model, data=data))
    assert on_ranks(1, out_of_memory_above, tight, 30) == [0]
    assert on_ranks(1, train_run, plain) == [0]
    assert all(tensor.equal(final_weights(tight)[name]) for name, tensor in final_weights(plain).items())


def test_several_ranks_leave_the_halved_micro_batch_for_the_next_attempt(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", a_job())
    errors = on_ranks(2, out_of_memory_above, run, 30)
    assert {error.kind for error in errors} == {"oom"}
    assert read_json(run.micro_batch) == {"micro_batch_size": 25}
    assert on_ranks(2, out_of_memory_above, run, 30) == [0, 0]


NUMBERS = {"target": "sets:numbers", "samples": 9, "features": 64}
STREAM = {"train": "sets:Stream", "batch_size": 4}
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model": "no_such_pkg.nets:Net"}, "train.model: there is no module 'no_such_pkg'"),
    ({"model": "sets:OfFeature"}, "train.model: sets has no 'OfFeature'. Did you mean 'OfFeatures'?"),
    ({"model": {"target": "sets:OfFeatures", "width": 3}}, "takes no arguments"),
    ({"model": "sets:weighted_mean"}, "train.model (sets:weighted_mean)"),
    ({"model": {"target": "mlp", "in_features": 64, "out_features": 5}}, "targets from 0 to 9 are outside the 5 classes"),
    ({"model": {"target": "mlp", "in_features": 63, "out_features": 10}}, "A layer of 63 inputs gets 64: write that in"),
    ({"loss": "mse"}, "mse wants targets of the output's shape, [100, 10]; data.train gives int64 of shape [100]. For classes"),
    ({"data": {"train": NUMBERS, "batch_size": 4}}, "cross_entropy wants class indices of int64, or probabilities of the "
     "output's shape; data.train gives float32 of shape [4, 5]"),
    ({"loss": {"target": "cross_entropy", "weight": [1, 2]}}, "no weight for one of the targets, which go from 0 to 9"),
    ({"loss": "nll"}, "nll wants log-probabilities, and the model's output goes up to"),
    ({"loss": "bce_with_logits"}, "wants targets of the output's shape, [100, 10]; data.train gives int64 of shape"),
    ({"loss": "mse", "metrics": ["f1"], "data": {"train": NUMBERS, "val": NUMBERS, "batch_size": 4},
      "model": {"target": "mlp", "in_features": 64, "out_features": 5}}, "train.metrics: f1 compares classes, and the target is"),
    ({"loss": "kl_div"}, "kl_div wants a distribution as target, of the output's shape [100, 10]; data.train gives int64"),
    ({"loss": "ctc"}, "ctc wants logits of every time step, (N, T, classes); the model's output is float32 [100, 10]"),
    ({"loss": "torch.nn:TripletMarginLoss"}, "a tuple of 3 outputs, anchor, positive, negative; the model gives one"),
    ({"data": {"train": {"target": "fake_data", "samples": 1}, "batch_size": 4, "drop_last": True}}, "drop_last: false"),
    ({"data": {"train": {"target": "sets:Noisy", "samples": 0}, "batch_size": 4}}, "is empty"),
    ({"data": STREAM, "schedule": {"target": "step", "step_size": "10%"}, "epochs": 2, "max_steps": None},
     "train.schedule.step_size: 10% needs a run of known length"),
    ({"precision": "fp16"}, "fp16 needs a GPU"),
    ({"optimizer": {"target": "sgd", "lr": 0.1, "groups": [{"match": "head.*", "lr": 1.0}]}}, "'head.*' matches no parameter"),
    ({"optimizer": "torch.optim:LBFGS"}, "its step() needs a closure"),
    ({"model": "broken:Net"}, "train.model: broken does not import: NameError"),
]  # fmt: skip


def errors_of(runs: list[RunDir]) -> list[tuple[str, str, dict[str, Any]]]:
    found = [error_of(run) for run in runs]
    return [(error.kind, str(error), error.details) if isinstance(error, WorkerError) else ("", "trained", {}) for error in found]


def test_mistakes_in_a_job_are_told_before_the_first_step(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(number), a_job(**train)) for number, (train, _) in enumerate(MISTAKES)]
    (found,) = on_ranks(1, errors_of, runs)
    for (kind, message, _), (_, words) in zip(found, MISTAKES, strict=True):
        assert words in message
        assert kind == "spec", message
    assert found[-1][2]["where"].endswith("broken.py:3")


class Late(Noisy):
    """Sample 33 has a class that the model lacks, or another shape."""

    def __init__(self, samples: int = 40, *, shape: bool = False) -> None:
        super().__init__(samples)
        self.shape = shape

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        features, target = super().__getitem__(index)
        if index != 33:
            return features, target
        return (features[:5], target) if self.shape else (features, 7)


@pytest.mark.parametrize(("late", "words"), [
    ({}, "train.loss: cross_entropy targets from 7 to 7 are outside the 5 classes of the model's output (0 to 4)"),
    ({"shape": True}, "the batch after step 33 of train.data.train does not go through train.model (mlp) and train.loss"),
])  # fmt: skip
def test_a_later_batch_that_does_not_fit_is_told_with_step_and_rank_and_is_no_mistake_of_the_job(
    tmp_path: Path, late: dict[str, Any], words: str
) -> None:
    data = {"train": {"target": "test_failures:Late", **late}, "batch_size": 1, "shuffle": False}
    run = run_of(tmp_path / "run", a_job(**NOISY, data=data, max_steps=40))
    ((error, *_),) = (on_ranks(1, error_of, run),)
    assert (error.kind, error.details["rank"]) == ("error", 0)
    assert words in str(error)
    assert "after step 33 of train.data.train" in str(error)


def test_rows_have_what_a_function_of_the_step_has_and_no_more(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", a_job(clip_grad_norm=1.0) | {"log": {"every": "2 steps", "plots": False}})
    assert on_ranks(1, train_run, run) == [0]
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 5]
    assert set(rows[0]) == {"step", "epoch", "train/loss", "lr", "grad_norm"}
