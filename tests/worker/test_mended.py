"""What once went wrong in a rank, and must not again."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from launcher import checkpoints
from launcher.agent.ending import write_error
from launcher.rundir import RunDir, json_lines, read_json
from launcher.spec.checkpoint import Best
from launcher.spec.target import Target
from launcher.worker import __main__ as worker
from launcher.worker import batch_norm, step
from launcher.worker.build import Training
from launcher.worker.checkpoint import Saver
from launcher.worker.control import MOST_STEPS, Control
from launcher.worker.ddp import kept_buffers, put_back
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import best_before, evaluate
from launcher.worker.losses.classes import CrossEntropy
from launcher.worker.losses.objective import make_objective, one_number
from launcher.worker.metrics.measure import as_number
from launcher.worker.restore import fill_optimizer
from launcher.worker.state import better
from launcher.worker.targets import constructed_or_bound
from launcher.worker.world import World, counted
from tests.worker import sets
from tests.worker.test_failures import error_of, final_weights
from tests.worker.trainings import new_run, saver, training
from tests.worker.worlds import a_job, in_world, on_ranks, run_of, train_run

MLP = {"target": "mlp", "in_features": 6, "hidden": [8], "out_features": 5}
CLASSES = {"target": "sets:classes", "samples": 12}


def small(**train: Any) -> dict[str, Any]:
    described = a_job(**({"model": MLP, "data": {"train": CLASSES, "batch_size": 6}, "max_steps": 2} | train))
    return described | {"checkpoint": {"every": "1 steps"}, "log": {"every": "1 steps", "plots": False}}


def manifests(run: RunDir) -> dict[int, dict[str, Any]]:
    return {each.step: each.manifest for each in checkpoints.checkpoints(run)}


@pytest.mark.parametrize("world_size", [1, 2])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path, world_size: int) -> None:
    run = run_of(tmp_path / "run", small(loss="sets:broken_gradient", max_steps=1))
    for error in on_ranks(world_size, error_of, run):
        assert error.kind == "nan"
        assert "though the loss was finite, at or before step 1" in str(error)
    assert not manifests(run)


def test_a_batch_in_which_no_target_counts_changes_nothing_to_nan(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small(loss={"target": "cross_entropy", "weight": [0.0] * 5}, max_steps=1))
    assert on_ranks(1, train_run, run) == [0]
    assert all(tensor.isfinite().all() for tensor in final_weights(run).values())


def test_the_best_checkpoint_is_one_that_is_whole(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    for state.step, loss in ((1, 0.1), (2, 0.2), (3, 0.3)):
        saver(run, keep_last=3).save(state, metrics={"val/loss": loss}, rows=0, attempt=1, block=True)
    weights = run.checkpoints / "step-00000001" / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    monitored = Best(monitor="val/loss", mode="min")
    assert best_before(run, monitored, {"val/loss": 0.2}) == "step-00000002"
    assert best_before(run, monitored, {"val/loss": 0.1}) is None


def test_any_logged_value_can_say_which_checkpoint_is_the_best(tmp_path: Path) -> None:
    described = small(max_steps=6, schedule="linear", data={"train": CLASSES, "test": CLASSES, "batch_size": 6})
    described["checkpoint"] |= {"keep_best": {"monitor": "lr", "mode": "max"}, "keep_last": 1}
    run = run_of(tmp_path / "run", described)
    assert on_ranks(2, train_run, run) == [0, 0]
    assert list(manifests(run)) == [1, 6]
    assert manifests(run)[1]["metrics"]["lr"] == next(json_lines(run.metrics))["lr"]


def test_another_metric_to_monitor_goes_on_from_what_the_checkpoints_say(tmp_path: Path) -> None:
    described = small(data={"train": CLASSES, "val": CLASSES, "batch_size": 6}, metrics=["accuracy"])
    described["checkpoint"] |= {"keep_best": {"monitor": "val/loss", "mode": "min"}}
    run = run_of(tmp_path / "run", described)
    assert on_ranks(1, train_run, run) == [0]
    described["checkpoint"] |= {"keep_best": {"monitor": "val/accuracy", "mode": "min"}}
    described["train"] |= {"max_steps": 3}
    assert on_ranks(1, train_run, run_of(run.path, described)) == [0]
    best = checkpoints.best(run, "val/accuracy", "min")
    told = json.loads((run.checkpoints / "step-00000003" / "state.json").read_text())["train"]["best"]
    assert best is not None
    assert told == {"val/accuracy": {"value": best.manifest["metrics"]["val/accuracy"], "step": best.step}}


def test_only_a_number_is_ever_the_best() -> None:
    assert [better(value, None, "max") for value in (0.5, torch.inf, torch.nan)] == [True, False, False]
    assert [better(value, 0.5, "max") for value in (0.4, 0.5, 0.6)] == [False, False, True]


def loss_of_counted(training: Training, run: RunDir) -> tuple[float, float]:
    """Evaluated, and as torch's own mean over all samples."""
    features, targets = training.loaders["val"].fetch.dataset.tensors
    return evaluate(training, "val")["val/loss"], float(nn.functional.cross_entropy(training.model(features), targets))


def test_an_evaluation_leaves_out_ignored_targets_that_training_does_not_have(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small(data={"train": CLASSES, "val": CLASSES | {"ignored": True}, "batch_size": 5}))
    ((evaluated, expected),) = on_ranks(1, in_world, [run], loss_of_counted)[0]
    assert evaluated == pytest.approx(expected, rel=1e-6)


def test_a_part_in_which_nothing_counts_adds_nothing_to_a_users_loss(tmp_path: Path) -> None:
    data = {"train": CLASSES | {"ignored": True}, "val": CLASSES | {"ignored": True}, "batch_size": 6, "micro_batch_size": 1}
    losses = "cross_entropy", "sets:OfCounted"
    builtin, users = (run_of(tmp_path / loss[:4], small(loss=loss, data=data, precision="fp64")) for loss in losses)
    assert on_ranks(1, train_run, builtin) == on_ranks(1, train_run, users) == [0]
    for name, tensor in final_weights(builtin).items():
        torch.testing.assert_close(final_weights(users)[name], tensor, rtol=0, atol=1e-12)
    last = [list(json_lines(run.metrics))[-1] for run in (builtin, users)]
    assert last[0] == pytest.approx(last[1])


def out_of_memory_in_the_update(run: RunDir) -> Any:
    clip = step.clip

    def failing(*arguments: Any, **named: Any) -> Any:
        step.clip = clip
        raise torch.OutOfMemoryError("CUDA out of memory (injected)")

    step.clip = failing
    return error_of(run)


def test_a_step_that_may_have_changed_the_weights_is_not_done_anew(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small())
    (error,) = on_ranks(1, out_of_memory_in_the_update, run)
    assert (error.kind, error.details["micro_batch_size"]) == ("oom", 3)
    assert read_json(run.micro_batch) == {"micro_batch_size": 3}


def test_a_users_own_batch_norm_is_told_of() -> None:
    assert batch_norm.synchronize(nn.Sequential(nn.BatchNorm1d(3), sets.OwnNorm(3)), ranks=2) == ["1"]


def apart_and_alike(training: Training, run: RunDir) -> tuple[float, float]:
    """Evaluated with the ranks' statistics apart, and with their mean on both."""
    training.model[1].running_mean.fill_(training.world.rank)
    apart = evaluate(training, "val")["val/loss"]
    training.model[1].running_mean.fill_(0.5)
    return apart, evaluate(training, "val")["val/loss"]


def test_statistics_of_a_users_own_batch_norm_agree_for_an_evaluation(tmp_path: Path) -> None:
    data = {"train": CLASSES, "val": CLASSES, "batch_size": 6}
    run = run_of(tmp_path / "run", small(model={"target": "sets:WithBatchNorm", "own": True}, data=data))
    for ((apart, alike),) in on_ranks(2, in_world, [run], apart_and_alike):
        assert apart == alike


def evaluated(training: Training, run: RunDir) -> float:
    return evaluate(training, "val")["val/loss"]


@pytest.mark.parametrize("model", [{"target": "sets:WithBatchNorm", "own": False}, {"target": "sets:Viewed", "tracking": False}])
def test_norms_without_running_statistics_are_evaluated_by_all_ranks_together(tmp_path: Path, model: dict[str, Any]) -> None:
    data = {"train": CLASSES, "val": CLASSES | {"samples": 7}, "batch_size": 6}
    run = run_of(tmp_path / "run", small(model=model, data=data))
    alone, together = (on_ranks(world_size, in_world, [run], evaluated) for world_size in (1, 2))
    assert together == [pytest.approx(alone[0])] * 2


def test_a_buffer_that_was_put_in_anothers_place_goes_back() -> None:
    model = sets.Averaging()
    before = model.average
    kept = kept_buffers(model)
    model(torch.ones(2, 6))
    put_back(kept)
    assert model.average is before
    assert not before.any()


def test_a_process_that_ends_by_an_error_finishes_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    written, seen = threading.Event(), []
    monkeypatch.setattr(os, "_exit", lambda code: seen.append((code, written.is_set())))
    threading.Thread(target=lambda: (time.sleep(0.3), written.set()), name="checkpoint").start()
    worker.leave(1)
    assert seen == [(1, True)]


def test_optimizer_state_goes_where_torch_wants_it(tmp_path: Path) -> None:
    stored = torch.optim.AdamW([parameter := nn.Parameter(torch.zeros(2))])
    parameter.grad = torch.ones(2)
    stored.step()
    elsewhere = nn.Parameter(torch.zeros(2, device="meta"))
    fill_optimizer(tmp_path, optimizer := torch.optim.AdamW([elsewhere]), stored.state_dict())
    assert {name: tensor.device.type for name, tensor in optimizer.state[elsewhere].items()} == {
        "step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta",
    }  # fmt: skip


def test_a_parameter_without_a_part_in_the_last_micro_step_ends_the_attempt(tmp_path: Path) -> None:
    data = {"train": CLASSES, "batch_size": 12, "micro_batch_size": 3}
    run = run_of(tmp_path / "run", small(model="sets:EveryOther", data=data, max_steps=1))
    for error in on_ranks(2, error_of, run):
        assert "took no part" in str(error)
    assert run.unused_parameters.exists()
    assert not manifests(run)


def test_a_model_may_keep_what_it_saw_and_extra_state_through_evaluations(tmp_path: Path) -> None:
    data = {"train": CLASSES, "val": CLASSES, "test": CLASSES, "batch_size": 6}
    described = small(model="sets:Remembering", data=data, evaluate_every="1 steps", max_steps=3, schedule="linear")
    described["checkpoint"] |= {"keep_best": {"monitor": "lr", "mode": "max"}}  # the first, so that the final test puts it in
    run = run_of(tmp_path / "run", described)
    assert on_ranks(1, train_run, run) == [0]
    assert "test/loss" in list(json_lines(run.metrics))[-1]


def test_steps_that_were_fast_may_become_slow_before_the_next_question() -> None:
    fast = Control(World(world_size=2), asked_at=time.monotonic() - 1e-3)
    assert fast.steps_until_next(1000) <= MOST_STEPS


def test_a_writer_that_may_not_be_nicer_still_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "setpriority", refused)
    run, state = new_run(tmp_path), training()
    saver(run).save(state, metrics={}, rows=0, attempt=1, block=True)
    assert list(manifests(run)) == [0]


def test_a_users_loss_keeps_its_weight_when_it_is_given_arguments() -> None:
    loss = constructed_or_bound("loss", Target.model_validate({"target": "tests.worker.sets:scaled", "by": 2.0}), "train.loss")
    assert make_objective(loss, "scaled", builtin=False, targets=None).has_weight


def test_a_share_of_a_short_run_that_rounds_to_no_steps_is_one(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small(schedule={"target": "step", "step_size": "1%", "gamma": 0.5}))
    assert on_ranks(1, train_run, run) == [0]
    assert [row["lr"] for row in json_lines(run.metrics)] == [0.1, 0.05]


def test_a_loss_is_one_number_in_whatever_shape() -> None:
    batch, output = (torch.zeros(3), torch.zeros(3)), torch.ones(3)
    one, each = (make_objective(loss, "mine", builtin=False, targets=None) for loss in (
        lambda output, target: (output - target).mean().view(1), lambda output, target: output - target))  # fmt: skip
    assert one.mean(output, batch).shape == ()
    with pytest.raises(WorkerError, match=r"shape \[3\]"):
        each.mean(output, batch)


def test_without_an_agent_each_start_is_an_attempt_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path)
    assert counted(World(), run).attempt == 1
    run.attempt(3).mkdir(parents=True)
    assert counted(World(), run).attempt == 4
    monkeypatch.setenv("LAUNCHER_ATTEMPT", "2")
    assert counted(World(attempt=2), run).attempt == 2


def signalled_at_the_end(run: RunDir) -> Any:
    close = Saver.close

    def closed(saver: Saver) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        close(saver)

    Saver.close = closed  # type: ignore[method-assign]
    return train_run(run)


def test_a_signal_after_the_last_step_does_not_cut_the_ending_short(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small())
    assert on_ranks(1, signalled_at_the_end, run) == [0]
    assert [event["event"] for event in json_lines(run.events)][-1] == "trained"


@pytest.mark.parametrize(("told", "message"), [
    (lambda: one_number(1.0, "mine"), "train.loss (mine) gives float 1.0; a loss gives a tensor"),  # type: ignore[arg-type]
    (lambda: as_number(torch.zeros(2), "mine"), "train.metrics: mine gives a tensor of shape [2]; a metric gives one number"),
    (lambda: as_number(None, "mine"), "train.metrics: mine gives NoneType None; a metric gives one number"),
])  # fmt: skip
def test_what_is_no_number_is_told_by_its_shape(told: Any, message: str) -> None:
    with pytest.raises(WorkerError) as refused:
        told()
    assert (str(refused.value), refused.value.kind) == (message, "spec")


def test_a_class_without_an_output_is_named() -> None:
    objective = make_objective(CrossEntropy(), "cross_entropy", builtin=True, targets=None)
    with pytest.raises(WorkerError, match=r"targets from 0 to 5 are outside the 2 classes of the model's output \(0 to 1\)"):
        objective.mean(torch.zeros(3, 2), (torch.zeros(3), torch.tensor([0, -100, 5])))


def test_an_error_in_the_users_data_keeps_its_own_name(tmp_path: Path) -> None:
    try:
        raise WorkerError("sample 37 of train.data.train: KeyError: 'x'", kind="error") from KeyError("x")
    except WorkerError as error:
        write_error(error, str(tmp_path / "error.json"), error.kind)
    assert read_json(tmp_path / "error.json")["exception"] == "KeyError"
