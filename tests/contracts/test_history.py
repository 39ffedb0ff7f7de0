"""CONTRACTS.md: metrics, timings, events, manifests, and that a checkpoint and the history agree."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.contracts.conftest import FINISHED, Case, Desk, checkpoints, lines, rows, small, weights

CLOCK = ("samples", "seconds", "memory", "_s", "time", "share")


def test_a_row_has_only_what_is_a_function_of_spec_seed_and_step(finished: Case) -> None:
    for row in rows(finished.path):
        assert set(row) <= {"step", "epoch", "train/loss", "lr", "val/loss", "val/accuracy", "test/loss", "test/accuracy"}


def test_a_row_has_step_epoch_loss_and_rate(finished: Case) -> None:
    row = next(row for row in rows(finished.path) if row["step"] == 15)
    assert row["epoch"] == pytest.approx(1.0)
    assert row["lr"] == pytest.approx(0.1)
    assert 0 < row["train/loss"] < 10


def test_a_step_is_evaluated_before_its_row_is_written(finished: Case) -> None:
    evaluated = [row["step"] for row in rows(finished.path) if "val/loss" in row]
    assert evaluated == [8, 16, 24, 32]


def test_what_depends_on_the_clock_is_in_timings(finished: Case) -> None:
    timed = lines(finished.path / "timings.jsonl")
    assert timed
    told = {"step", "samples_per_s", "step_s", "data_share", "checkpoint_s", "memory_mb"}
    assert all(row.keys() >= told and "train/loss" not in row for row in timed)
    assert all(len(row["step_s"]) == 2 for row in timed), "a step time for each rank"


@pytest.mark.parametrize("name", ["finished", "stopped"])
def test_an_event_has_time_event_and_attempt(request: pytest.FixtureRequest, name: str) -> None:
    events = lines(request.getfixturevalue(name).path / "events.jsonl")
    for event in events:
        time = datetime.fromisoformat(event["time"])
        assert time.utcoffset() == datetime.now(UTC).utcoffset()
        assert event["event"]
        assert event["attempt"] is None or event["attempt"] == 1
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_a_decision_carries_its_reason_in_words(stopped: Case) -> None:
    reasons = [event["reason"] for event in lines(stopped.path / "events.jsonl") if event.get("reason")]
    assert any(" " in reason for reason in reasons)


def test_a_manifest_lists_every_file_with_size_and_checksum(finished: Case) -> None:
    for name in checkpoints(finished.path):
        folder = finished.path / "checkpoints" / name
        files = manifest(folder)["files"]
        assert set(files) == {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()} - {"manifest.json"}
        for file, told in files.items():
            data = (folder / file).read_bytes()
            assert (told["size"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_manifest_has_step_attempt_and_the_number_of_rows(finished: Case) -> None:
    for name in checkpoints(finished.path):
        told = manifest(finished.path / "checkpoints" / name)
        assert (told["step"], told["attempt"]) == (int(name.removeprefix("step-")), 1)
        assert told["rows"] == sum(row["step"] <= told["step"] for row in rows(finished.path))


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())


def test_two_runs_give_equal_files_with_loader_processes_too_and_another_seed_others(desk: Desk, alone: Case) -> None:
    job = desk.job(small())
    assert desk.launch(job, "--set", "train.data.num_workers=2").code == 0
    assert (desk.run() / "metrics.jsonl").read_bytes() == (alone.path / "metrics.jsonl").read_bytes()
    assert weights(desk.run()) == weights(alone.path)
    assert desk.launch(job, "--set", "seed=8", "--set", "train.max_steps=3").code == 0
    assert rows(desk.runs()[-1]) != rows(alone.path)[:3]


def test_model_safetensors_opens_alone_and_has_the_keys_of_the_users_module(alone: Case) -> None:
    tensors = load_file(alone.path / "checkpoints" / checkpoints(alone.path)[-1] / "model.safetensors")
    assert set(tensors) == {"body.weight", "body.bias", "head.weight", "head.bias"}
    assert tensors["body.weight"].shape == (8, 4)


def test_its_keys_have_no_prefix_where_there_are_several_ranks(finished: Case) -> None:
    assert not any(key.startswith("module.") for key in load_file(finished.path / "checkpoints/step-00000032/model.safetensors"))


def test_a_new_attempt_cuts_the_history_into_a_new_file(moved: Case, undisturbed: Case) -> None:
    assert (moved.path / "metrics.jsonl").read_bytes() == (undisturbed.path / "metrics.jsonl").read_bytes()


def test_views_of_a_continued_run_equal_those_of_the_undisturbed_one(moved: Case, undisturbed: Case) -> None:
    assert (moved.path / "metrics.csv").read_text() == (undisturbed.path / "metrics.csv").read_text()


def test_the_csv_is_a_view_of_metrics(finished: Case) -> None:
    (path,) = finished.path.glob("**/*.csv")
    with path.open(newline="") as file:
        read = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert read == [pytest.approx(row) for row in rows(finished.path)]


def test_tensorboard_is_a_view_of_metrics(finished: Case) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.path / "tensorboard"))
    events.Reload()
    shown = {(scalar.step, round(scalar.value, 4)) for scalar in events.Scalars("val/loss")}
    assert shown == {(row["step"], round(row["val/loss"], 4)) for row in rows(finished.path) if "val/loss" in row}


def test_curves_are_drawn(finished: Case) -> None:
    pictures = list((finished.path / "plots").glob("*.png"))
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_views_not_asked_for_are_not_there(stopped: Case) -> None:
    assert not any((stopped.path / name).exists() for name in ("tensorboard", "wandb", "plots"))


def test_the_test_set_stands_in_the_last_row_alone_tested_with_the_best_weights(finished: Case) -> None:
    with_test = [row for row in rows(finished.path) if "test/loss" in row]
    assert [row["step"] for row in with_test] == [32]
    told = finished.desk.launch("eval", "last", "--split", "test", "--json").json
    assert told["test/loss"] == pytest.approx(with_test[0]["test/loss"], rel=1e-5)
    assert told["test/accuracy"] == pytest.approx(with_test[0]["test/accuracy"])


def test_the_best_checkpoint_is_kept_beside_the_last(finished: Case) -> None:
    best = min((row for row in rows(finished.path) if "val/loss" in row), key=lambda row: row["val/loss"])
    assert f"step-{best['step']:08d}" in checkpoints(finished.path)
    assert len(checkpoints(finished.path)) <= FINISHED["checkpoint"]["keep_last"] + 1
