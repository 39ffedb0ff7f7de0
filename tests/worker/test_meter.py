"""What a rank tells of its steps beside the metrics: times, fp16's scale, a profile, log lines."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.amp.grad_scaler import GradScaler

from launcher.rundir import json_lines
from launcher.worker import logs
from launcher.worker.build import build
from launcher.worker.job import read_job
from launcher.worker.meter import MOST_SPANS, Meter
from launcher.worker.progress import Progress
from launcher.worker.state import TrainState
from launcher.worker.step import take_step
from tests.worker.worlds import ALONE, a_job, on_ranks, run_of, train_run

SMALL = {"target": "sets:classes", "samples": 12}


def small(**log: Any) -> dict[str, Any]:
    described = a_job(model="sets:Lagging", data={"train": SMALL, "batch_size": 6}, max_steps=4)
    return described | {"log": {"every": "2 steps", "plots": False, **log}}


def test_the_rank_that_holds_the_others_up_shows_and_one_step_is_profiled(tmp_path: Path) -> None:
    described = small(profile="3 steps")
    run = run_of(tmp_path / "run", described | {"train": described["train"] | {"max_steps": 12}})
    on_ranks(2, train_run, run)
    rows = list(json_lines(run.timings))
    assert min(row["compute_s"][1] for row in rows) > 0.2
    # Some row, as on a busy machine a rank may be held up at any moment.
    assert min(row["compute_s"][0] for row in rows) < 0.15  # though it waited for the other's gradient
    assert max(min(row["step_s"]) for row in rows) > 0.15
    assert not any("loss_scale" in row for row in rows)
    (trace,) = run.profile.iterdir()
    assert trace.name == "step-00000003.json.gz"
    named = [each["name"] for each in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"] if "name" in each]
    assert named.count("aten::linear") == 1
    (told,) = [entry for entry in json_lines(run.events) if entry["event"] == "profiled"]
    assert (told["step"], told["file"]) == (3, f"profile/{trace.name}")


@pytest.mark.parametrize(("length", "name"), [("50%", "step-00000002"), ("9 steps", "step-00000004")])
def test_a_profile_is_of_a_step_of_the_run(tmp_path: Path, length: str, name: str) -> None:
    run = run_of(tmp_path / "run", small(profile=length))
    on_ranks(1, train_run, run)
    assert [path.name for path in run.profile.iterdir()] == [f"{name}.json.gz"]


def test_steps_that_fp16_leaves_out_are_counted(tmp_path: Path) -> None:
    described = small()
    described["train"]["loss"] = {"target": "sets:scaled", "by": 64.0}
    run = run_of(tmp_path / "run", described)
    training = build(run, read_job(run), ALONE)
    scaler = GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-70)
    training.accelerator.scaler = scaler
    state = TrainState(model=training.model, optimizer=training.optimizer, scaler=scaler)
    for _, portion in zip(range(3), training.train.portions(), strict=False):
        take_step(run, training, state, portion)
        state.step += 1
    assert training.meter.row(scaler) == {"skipped_steps": 1, "loss_scale": 2.0**57}
    training.meter.restart()
    assert training.meter.row(scaler)["skipped_steps"] == 0


def test_no_span_is_lost_where_there_are_many_between_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = map(float, count())
    monkeypatch.setattr(Meter, "mark", lambda _: next(ticks))
    meter = Meter(torch.device("cpu"))
    for _ in range(3 * MOST_SPANS):
        with meter.computing():
            pass
    assert len(meter.spans) <= MOST_SPANS
    assert meter.compute_s(3 * MOST_SPANS) == 1.0
    meter.restart()
    with meter.computing():
        pass
    assert meter.compute_s(1) == 1.0


def test_ones_own_log_lines_show(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", small())
    done = subprocess.run([sys.executable, "-m", "launcher.worker", str(run.path)], capture_output=True, text=True, check=True)
    assert done.stderr.count("INFO my.model: forward of 6 samples\n") == 4
    assert [line for line in done.stderr.splitlines() if not line.startswith("INFO my.model")] == []
    assert "step 4/4" in done.stdout or "step 2/4" in done.stdout


def test_the_trainings_lines_are_records_for_a_handler_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    kept: list[str] = []
    mine = Keeping()
    logs.LINES.addHandler(mine)
    try:
        Progress(printing=True, total_steps=2, epochs=None).row(1, {"epoch": 0.5, "val/loss": 0.25}, 1.0)
    finally:
        logs.LINES.removeHandler(mine)
    assert kept == ["step 1/2  epoch 0.5  val/loss 0.25"]
    assert capsys.readouterr().out == "step 1/2  epoch 0.5  val/loss 0.25\n"
