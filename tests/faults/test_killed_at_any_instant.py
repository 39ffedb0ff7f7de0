"""Law 3: killed at any instant, a training ends with the weights, the optimizer and the history of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.conftest import Bench, family, gone, over, until

JOB: dict[str, Any] = {
    "seed": 5,
    "train": {
        "model": {
            "target": "mlp",
            "in_features": 64,
            "hidden": [512, 512],
            "out_features": 10,
            "dropout": 0.2,
            "batch_norm": True,
        },
        "loss": "cross_entropy",
        "optimizer": {"target": "adamw", "lr": 0.002},
        "schedule": {"target": "cosine", "warmup": "10%"},
        "data": {
            "train": {"target": "digits", "flatten": True},
            "val": {"target": "digits", "split": "val", "flatten": True},
            "batch_size": 50,
        },
        "metrics": ["accuracy"],
        "epochs": 4,
        "clip_grad_norm": 1.0,
    },
    "checkpoint": {"every": "7 steps", "keep_best": "val/accuracy"},
    "log": {"every": "3 steps", "plots": False},
    "retry": {"max_restarts": 50},
}
VICTIMS = ("rank", "agent", "supervisor", "everything", "a random process")


def job(ranks: int) -> dict[str, Any]:
    return {**JOB, "resources": {"procs_per_node": ranks, "threads": 1, "device": "cpu"}}


def outcome(run: Path) -> dict[str, Any]:
    """What must not differ: the last checkpoint's tensors by their checksums, and the history to the letter."""
    newest = max((run / "checkpoints").glob("step-*"))
    manifest = json.loads((newest / "manifest.json").read_text())
    tensors = {name: file["sha256"] for name, file in manifest["files"].items() if name.endswith(".safetensors")}
    return {"step": newest.name, "tensors": tensors, "history": (run / "metrics.jsonl").read_text()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[dict[str, Any], float]]:
    """Of a number of ranks: how it ends, and how long it takes (seconds)."""

    @cache
    def of(ranks: int) -> tuple[dict[str, Any], float]:
        bench = Bench(tmp_path_factory.mktemp(f"undisturbed-{ranks}"))
        began = time.monotonic()
        assert bench.wait(bench.launch(str(bench.spec(job(ranks))))) == 0, bench.screen()
        return outcome(bench.run()), time.monotonic() - began

    return of


def choose(victim: str, pid: int, dice: random.Random) -> list[Any]:
    everyone = family(pid)
    if victim == "everything":
        return everyone
    if victim == "supervisor":
        return everyone[:1]
    if victim == "agent":
        return everyone[1:2]
    return [dice.choice(everyone[-3:] if victim == "rank" else everyone)] if everyone else []


def kill_and_resume(bench: Bench, ranks: int, seconds: float, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    process = bench.launch(str(bench.spec(job(ranks))))
    time.sleep(dice.uniform(0.2, 1.0) * seconds)
    everyone = family(process.pid)
    for each in choose(victim, process.pid, dice):
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    if victim in ("supervisor", "everything"):
        process.wait()
        assert gone(everyone) == [], f"left behind after the death of {victim}"
    code = bench.wait(process)
    if code != 0:
        until((bench.folder / "runs").is_dir)
    if not over(bench.run(), code):
        assert bench.wait(bench.launch("resume", "last")) == 0, bench.screen()
    return outcome(bench.run())


@pytest.mark.parametrize(
    ("seed", "ranks"),
    [(0, 2), *(pytest.param(seed, ranks, marks=pytest.mark.long) for seed in range(100, 130) for ranks in (1, 2, 3))],
)
def test_it_ends_as_if_undisturbed(bench: Bench, undisturbed: Any, ranks: int, seed: int) -> None:
    expected, seconds = undisturbed(ranks)
    assert kill_and_resume(bench, ranks, seconds, seed) == expected
