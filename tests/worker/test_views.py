"""What the views show, read back with their own libraries: each row once, through kills and new attempts."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from wandb.proto import wandb_internal_pb2

from launcher.load import load_job
from launcher.rundir import RunDir, json_lines
from launcher.worker import batch_norm, views
from launcher.worker.cadence import Cadence
from launcher.worker.histograms import Histograms, counted, draw_graph
from launcher.worker.history import History
from tests.patience import PATIENCE_S
from tests.worker.trainings import ALONE, new_run
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

ALL = {"wandb": {"project": "demo"}, "tensorboard": True, "csv": True, "plots": True}
FILES = ALL | {"wandb": False}


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> RunDir:
    return new_run(tmp_path, log=getattr(request, "param", FILES), env={"TOKEN": "hush-hush"})


def write(run: RunDir, steps: range) -> None:
    history = History(run, ALONE)
    history.cut(steps.start)
    for step in steps:
        evaluated = {"val/loss": 0.5, "val/accuracy": step / 40} if step % 5 == 4 else {}
        history.row(step, {"epoch": step / 8, "train/loss": 1 / (step + 1), "grad_norm": float("nan")} | evaluated)
    history.close()


def show(run: RunDir, steps: range, *, attempt: int = 1) -> None:
    """An attempt that ends well."""
    shown = views.start(run, load_job(run.job), attempt=attempt)
    write(run, steps)
    shown.finish(PATIENCE_S)


def show_and_die(run: RunDir, steps: range) -> None:
    """An attempt whose views are killed once they have shown something."""
    shown = views.start(run, load_job(run.job))
    write(run, steps)
    wait_for(lambda: run.csv.exists() and len(run.csv.read_text().splitlines()) > len(steps))
    if load_job(run.job).log.wandb is not None:
        wait_for(lambda: any(run.wandb.glob("offline-run-*")))
    assert shown.process is not None
    shown.process.kill()
    shown.process.communicate()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def table(run: RunDir) -> list[dict[str, Any]]:
    with run.csv.open() as file:
        return [{key: float(value) if value else None for key, value in row.items()} for row in csv.DictReader(file)]


def event_files(run: RunDir, tag: str) -> list[tuple[int, float]]:
    scalars = EventAccumulator(str(run.tensorboard)).Reload().Scalars(tag)
    assert all(time.time() - 3600 < each.wall_time <= time.time() for each in scalars)  # TensorBoard can show them over time
    return [(each.step, each.value) for each in scalars]


def wandb_records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """W&B's file is LevelDB's log: blocks of 32 KiB of fragments behind a head of 7 bytes."""
    data, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record, at = record + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def wandb_history(run: RunDir) -> list[dict[str, Any]]:
    (file,) = run.wandb.glob("offline-run-*/*.wandb")
    items = [record.history.item for record in wandb_records(file) if record.HasField("history")]
    return [{each.nested_key[0] if each.nested_key else each.key: json.loads(each.value_json) for each in row} for row in items]


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def test_the_table_equals_the_history(run: RunDir) -> None:
    show(run, range(20))
    assert numbers(table(run)) == numbers([*json_lines(run.metrics)])
    assert list(table(run)[0]) == ["step", "epoch", "train/loss", "grad_norm", "val/loss", "val/accuracy"]


def test_event_files_have_each_step_once(run: RunDir) -> None:
    show(run, range(20))
    assert event_files(run, "train/loss") == [(step, pytest.approx(1 / (step + 1))) for step in range(20)]
    assert [step for step, _ in event_files(run, "val/accuracy")] == [4, 9, 14, 19]


def test_layers_are_curves_of_one_picture(run: RunDir) -> None:
    history = History(run, ALONE)
    history.cut(0)
    for step in range(3):
        history.row(step, {f"{kind}/{layer}": 0.5 / (layer + 1) for kind in ("grad", "dead") for layer in range(30)})
    history.close()
    show(run, range(3, 4))
    assert sorted(path.name for path in run.plots.iterdir()) == ["dead.png", "grad.png", "loss.png"]


def test_curves_are_pictures(run: RunDir) -> None:
    show(run, range(20))
    assert sorted(path.name for path in run.plots.iterdir()) == ["accuracy.png", "loss.png"]
    with Image.open(run.plots / "loss.png") as picture:
        assert picture.size == (960, 540)


def test_no_row_is_lost_or_doubled_when_an_attempt_dies(run: RunDir) -> None:
    show_and_die(run, range(20))
    show(run, range(15, 30))
    assert numbers(table(run)) == numbers([*json_lines(run.metrics)])
    assert [step for step, _ in event_files(run, "train/loss")] == list(range(30))


def test_event_files_of_two_attempts_side_by_side_still_show_each_step_once(run: RunDir) -> None:
    show(run, range(20))
    (older,) = run.tensorboard.iterdir()
    kept = older.read_bytes()
    show(run, range(15, 30))
    older.write_bytes(kept)
    assert [step for step, _ in event_files(run, "train/loss")] == list(range(30))


@pytest.mark.parametrize("run", [ALL], indirect=True)
def test_wandb_gets_each_row_once_in_one_run_over_all_attempts(run: RunDir) -> None:
    show_and_die(run, range(20))
    named = [path.name.split("-", 3)[-1] for path in run.wandb.glob("offline-run-*")]
    show(run, range(15, 30))
    rows = wandb_history(run)
    assert [row["_step"] for row in rows] == list(range(30))
    assert [row.get("val/loss") for row in rows[:5]] == [None, None, None, None, 0.5]
    assert all(path.name.endswith(tuple(named)) for path in run.wandb.glob("offline-run-*"))


@pytest.mark.parametrize("run", [ALL], indirect=True)
def test_wandb_gets_the_job_without_its_secrets(run: RunDir) -> None:
    show(run, range(5))
    (file,) = run.wandb.glob("offline-run-*/*.wandb")
    (described,) = [record.run for record in wandb_records(file) if record.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in described.config.update}
    assert described.project == "demo"
    assert config["train"]["data"]["batch_size"] == 4
    assert "env" not in config
    everything = [path.read_bytes() for path in [*run.wandb.rglob("*"), *run.logs.rglob("*")] if path.is_file()]
    assert not any(b"hush-hush" in content for content in everything)


def test_where_nothing_is_asked_for_nothing_is_started(tmp_path: Path) -> None:
    run = new_run(tmp_path, log={"plots": False})
    shown = views.start(run, load_job(run.job))
    assert shown.process is None
    shown.finish()


def test_a_view_that_fails_is_told_of_and_the_others_go_on(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    run.csv.mkdir()
    show(run, range(20))
    assert "not every view of the metrics is complete: see" in capfd.readouterr().err
    assert len(event_files(run, "train/loss")) == 20
    assert "IsADirectoryError" in (run.attempt(1) / "views.log").read_text()


RANK = """
import os, sys, time
from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.worker import batch_norm, views
from launcher.worker.cadence import Cadence
run = RunDir(sys.argv[1])
shown = views.start(run, load_job(run.job))
if os.fork():  # a loader's worker, say, that holds the pipe open
    print(shown.process.pid, flush=True)
time.sleep(600)
"""


def test_the_child_does_not_outlive_its_rank(run: RunDir) -> None:
    write(run, range(10))
    rank = subprocess.Popen(
        [sys.executable, "-c", RANK, str(run.path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert rank.stdout is not None
    child = int(rank.stdout.readline())
    wait_for(run.csv.exists)
    rank.kill()
    rank.wait()
    wait_for(lambda: not alive(child))
    os.killpg(rank.pid, signal.SIGKILL)
    rank.stdout.close()
    assert numbers(table(run)) == numbers([*json_lines(run.metrics)])


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_event_files_have_histograms_and_the_graph_where_they_are_asked_for(tmp_path: Path) -> None:
    """Of a training of two ranks, and of its second attempt, each step once."""
    described = a_job(model={"target": "mlp", "in_features": 64, "hidden": [8], "out_features": 10, "batch_norm": True})
    log = {"plots": False, "tensorboard": {"histograms": "2 steps", "graph": True}}
    run = run_of(tmp_path / "run", described | {"log": log, "checkpoint": {"every": "1 steps", "keep_last": 5}})
    assert on_ranks(2, train_run, run) == [0, 0]
    for step in (4, 5):
        shutil.rmtree(run.checkpoints / f"step-{step:08d}")
    assert on_ranks(2, train_run, run) == [0, 0]
    read = EventAccumulator(str(run.tensorboard), size_guidance={"histograms": 0}).Reload()
    assert [each.step for each in read.Histograms("weights/0.weight")] == [2, 4]
    before = load_file(run.checkpoints / "step-00000003" / "model.safetensors")["0.weight"]
    of_step_4 = read.Histograms("weights/0.weight")[-1].histogram_value
    assert (of_step_4.num, of_step_4.min) == (8 * 64, before.min().item())
    assert of_step_4.sum_squares == pytest.approx(before.double().square().sum().item())
    assert sum(of_step_4.bucket) == 8 * 64
    assert (of_step_4.bucket_limit[-1], of_step_4.sum) == (before.max().item(), pytest.approx(before.double().sum().item()))
    assert [each.step for each in read.Histograms("gradients/3.bias")] == [2, 4]
    assert "aten::linear" in {node.op for node in read.Graph().node}


def test_a_histogram_is_of_finite_numbers() -> None:
    found = counted(torch.tensor([1.0, float("nan"), 3.0, float("inf")]))
    assert (found["low"], found["high"], found["sum"], found["squares"], sum(found["counts"])) == (1.0, 3.0, 4.0, 10.0, 2)
    assert counted(torch.tensor([float("nan")]))["counts"] == []


class Undetermined(Tensor):
    """As one on a GPU is under train.deterministic."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if function is torch.histc:
            raise RuntimeError("_histc_cuda with floating point input does not have a deterministic implementation")
        outcome = super().__torch_function__(function, types, given, named)
        return outcome.as_subclass(Tensor) if function is Tensor.cpu else outcome


def test_a_histogram_of_what_is_on_a_gpu_is_counted_on_the_host() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    assert counted(values.as_subclass(Undetermined)) == counted(values)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_histogram_of_a_gpu_may_be_of_a_deterministic_training() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    torch.use_deterministic_algorithms(True)
    try:
        assert counted(values.cuda()) == counted(values)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_histogram_of_a_sparse_gradient_counts_its_zeros() -> None:
    rows = torch.sparse_coo_tensor([[2, 0, 2]], torch.tensor([[1.0], [2.0], [3.0]]), (3, 1), check_invariants=True)
    assert counted(rows) == counted(torch.tensor([2.0, 0.0, 4.0]))


def test_histograms_are_of_the_weights_and_of_their_gradients(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.tensorboard.mkdir()
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([3.0, 5.0])
    Histograms(run, Cadence(), step=4).take({"w": weight, "frozen": nn.Parameter(torch.zeros(2))})
    (row,) = json_lines(run.tensorboard / "histograms.jsonl")
    assert (row["step"], row["weights"]["w"]["sum"], row["gradients"]["w"]["sum"]) == (4, 3.0, 8.0)
    assert [*row["gradients"]] == ["w"]


def test_the_graph_is_drawn_without_the_other_ranks(tmp_path: Path) -> None:
    run = new_run(tmp_path, log={"tensorboard": {"graph": True}})
    run.tensorboard.mkdir()
    norm = nn.BatchNorm1d(2, track_running_stats=False)
    norm.__class__, vars(norm)["ranks"] = batch_norm.Synchronized, 2
    draw_graph(run, load_job(run.job).log, nn.Sequential(norm), (), lambda: (torch.randn(4, 2),), None)
    assert [path.name for path in run.tensorboard.iterdir()] == ["graph.pb"]
    assert vars(norm)["ranks"] == 2


def test_a_model_that_cannot_be_traced_has_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = new_run(tmp_path, log={"tensorboard": {"graph": True}})
    run.tensorboard.mkdir()
    log = load_job(run.job).log
    draw_graph(run, log, nn.Bilinear(2, 2, 1), (), lambda: (torch.zeros(1, 2),), None)
    assert "log.tensorboard.graph: the model cannot be traced (TypeError): no graph" in capsys.readouterr().err
    draw_graph(run, log, nn.Linear(2, 1), (), lambda: (torch.zeros(1, 2),), None)
    assert [path.name for path in run.tensorboard.iterdir()] == ["graph.pb"]
