"""Sequences of differing lengths: padding has no part in anything, and a recogniser learns from labels that nobody aligned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from launcher.rundir import RunDir, json_lines
from launcher.worker.build import Training
from launcher.worker.data.glyphs import Glyphs
from launcher.worker.evaluate import evaluate
from launcher.worker.metrics.error_rate import edits, spoken
from launcher.worker.step import gradient
from tests.worker.worlds import a_job, in_world, on_ranks, run_of, train_run

SAMPLES, BLANK = 11, 10
MODEL = {"target": "gru", "input_size": 8, "hidden_size": 48, "out_features": 11, "bidirectional": True, "output": "all"}


def job(samples: int, **train: Any) -> dict[str, Any]:
    """`train` replaces what it names."""
    glyphs = {"target": "glyphs", "samples": samples, "longest": 4}
    given: dict[str, Any] = {
        "model": MODEL, "loss": {"target": "ctc", "blank": BLANK}, "metrics": ["error_rate"],
        "data": {"train": glyphs, "val": glyphs | {"samples": 100, "split": "val"}, "batch_size": samples, "shuffle": False},
    }  # fmt: skip
    return a_job(**given | train)


def differences(training: Training, run: RunDir) -> tuple[float, float, float]:
    """From plain torch, one sample at a time and without its padding: of the gradient, the evaluated loss and the error rate."""
    plain = training.train.fetch.dataset
    losses, wrong, labels = [], 0, 0
    for item in (plain[index] for index in range(SAMPLES)):
        times, target = item["input_lengths"], item["target"][: item["target_lengths"]]
        output = training.model(item["input"][None, :times].double())[0].log_softmax(1)
        losses.append(F.ctc_loss(output, target[None], (times,), (len(target),), blank=BLANK))
        wrong += edits(spoken(output.argmax(1).tolist(), BLANK), target.tolist())
        labels += len(target)
    mean = torch.stack(losses).mean()
    expected = torch.autograd.grad(mean, list(training.model.parameters()))
    gradient(training, next(training.train.portions()), step=0)
    pairs = zip(training.parameters, expected, strict=True)
    apart = max(float((mine.grad - each).abs().max() / each.abs().max()) for mine, each in pairs)
    values = evaluate(training, "val")
    return apart, abs(values["val/loss"] / mean.item() - 1), abs(values["val/error_rate"] - wrong / labels)


def test_a_net_that_reads_both_ways_sees_no_padding_however_a_batch_is_cut(tmp_path: Path) -> None:
    data = {"target": "glyphs", "samples": SAMPLES, "longest": 4}
    runs = [
        run_of(tmp_path / str(micro), job(SAMPLES, precision="fp64", data={
            "train": data, "val": data, "batch_size": SAMPLES, "micro_batch_size": micro, "shuffle": False}))
        for micro in ("auto", 2)
    ]  # fmt: skip
    for world_size in (1, 3):
        for found in on_ranks(world_size, in_world, runs, differences):
            assert max(map(max, found)) < 1e-12


@pytest.mark.long
def test_a_toy_recogniser_makes_fewer_than_one_error_in_twenty_labels(tmp_path: Path) -> None:
    data = job(1500)["train"]["data"] | {"batch_size": 50, "shuffle": True}
    described = job(
        1500, data=data, optimizer={"target": "adam", "lr": 0.01}, schedule="cosine", clip_grad_norm=1.0, max_steps=150
    )
    run = run_of(tmp_path / "run", described)
    assert on_ranks(2, train_run, run) == [0, 0]
    *_, last = json_lines(run.metrics)
    assert last["val/error_rate"] < 0.05


def test_glyphs_are_a_function_of_their_arguments() -> None:
    one, again, other = Glyphs(samples=9), Glyphs(samples=9), Glyphs(samples=9, seed=1)
    for index in range(9):
        assert one[index]["input"].equal(again[index]["input"])
        assert one[index]["input"][one[index]["input_lengths"] :].count_nonzero() == 0
    assert any(one[index]["target_lengths"] != other[index]["target_lengths"] for index in range(9))
