"""The same run directory trains to the same bits under python, torchrun and accelerate launch."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.rundir import RunDir, json_lines
from tests.patience import PATIENCE_S
from tests.worker.worlds import a_job, run_of

PYTHON = sys.executable
BESIDE = Path(PYTHON).parent
WORKER = ["-m", "launcher.worker"]
STARTS = {
    1: ([PYTHON, *WORKER], [str(BESIDE / "torchrun"), "--standalone", "--nproc-per-node", "1", *WORKER],
        [str(BESIDE / "accelerate"), "launch", "--cpu", "--num_processes", "1", *WORKER]),
    2: ([str(BESIDE / "torchrun"), "--standalone", "--nproc-per-node", "2", *WORKER],
        [str(BESIDE / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", *WORKER]),
}  # fmt: skip
DATA = {
    "train": {"target": "digits", "flatten": True},
    "val": {"target": "digits", "split": "val", "flatten": True},
    "batch_size": 200,
}


def job(**more: Any) -> dict[str, Any]:
    model = {"target": "mlp", "in_features": 64, "hidden": [32], "out_features": 10, "dropout": 0.2, "batch_norm": True}
    return a_job(model=model, data=DATA, metrics=["accuracy"], **more) | {"log": {"every": "2 steps", "plots": False}}


def start(argv: list[str], *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen([*argv, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trained(argv: list[str], run: RunDir) -> tuple[str, str]:
    process = start(argv, str(run.path))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    weights = max(run.checkpoints.glob("step-*")) / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest(), run.metrics.read_text()


@pytest.mark.long  # tests/contracts/test_ordinary_ranks.py compares the same, from outside
@pytest.mark.parametrize("world_size", [1, 2])
def test_however_it_is_started_the_bits_are_the_same(tmp_path: Path, world_size: int) -> None:
    outcomes = [trained(argv, run_of(tmp_path / str(number), job())) for number, argv in enumerate(STARTS[world_size])]
    assert len(set(outcomes)) == 1


@pytest.mark.long
def test_eval_prints_json_alone(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", job())
    trained(STARTS[1][0], run)
    process = start([*STARTS[1][0], "eval"], str(run.path), "--split", "val", "--json")
    printed, _ = process.communicate(timeout=PATIENCE_S)
    last = list(json_lines(run.metrics))[-1]
    assert json.loads(printed) == {key: last[key] for key in ("val/loss", "val/accuracy")}


def test_sigterm_under_plain_python_saves_and_ends_with_75(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", job(max_steps=100_000))
    process = start(STARTS[1][0], str(run.path))
    while not list(json_lines(run.metrics)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75
    assert [event["event"] for event in json_lines(run.events)][-1] == "stopped"
    assert list(run.checkpoints.glob("step-*"))


def test_a_mistake_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    described = job()
    described["train"]["model"] = "sets:Nowhere"
    process = start(STARTS[1][0], str(run_of(tmp_path / "run", described).path))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert errors.strip().splitlines() == ["error: train.model: sets has no 'Nowhere'."]


def test_debug_shows_the_first_steps_in_one_process(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", job())
    process = start([*STARTS[1][0], "debug"], str(run.path), "--steps", "2", "--batch-size", "10")
    printed, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    header, *rows = printed.splitlines()[1:]
    assert header.split() == ["step", "loss", "grad", "norm", "memory", "data", "forward", "backward", "step"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert not run.checkpoints.exists()


REMEMBERS = """
import os, sys

os.register_at_fork(after_in_child=lambda: setattr(sys, "at_fork", set(sys.modules)))
"""
LOOKS = """
import atexit, json, os, sys
from pathlib import Path
import torch

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
        atexit.register(write)

def write():
    Path(f"late-{os.environ['RANK']}.json").write_text(json.dumps(sorted(set(sys.modules) - sys.at_fork)))
"""
FEW = 40
"""Modules that take milliseconds; torch's compiler alone is a thousand."""


def test_a_forked_rank_finds_imported_what_torch_imports_late(tmp_path: Path) -> None:
    """Its compiler, for one, for the first optimizer that is made: a second of every rank's, at every start."""
    (tmp_path / "sitecustomize.py").write_text(REMEMBERS)
    (tmp_path / "looks.py").write_text(LOOKS)
    resources = {"procs_per_node": 2, "threads": 1, "device": "cpu"}
    job = a_job(model="looks:Net", data=DATA, metrics=["accuracy"], optimizer={"target": "adamw", "lr": 0.01})
    (tmp_path / "job.yaml").write_text(json.dumps({**job, "name": "looks", "resources": resources}))
    ended = subprocess.run(
        [str(BESIDE / "launch"), "job.yaml"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for rank in (0, 1):
        late = json.loads((tmp_path / f"late-{rank}.json").read_text())
        assert "looks" in late
        assert len(late) < FEW, late
