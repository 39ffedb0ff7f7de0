"""The search over a Python function."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import launcher
from tests.patience import PATIENCE_S
from tests.search.conftest import LAUNCH, newest, results

Launch = Callable[..., subprocess.CompletedProcess[str]]
SPEC = """
seed: 4
sweep:
  method: tpe
  metric: height
  goal: minimize
  trials: 12
  parameters: {x: {min: -2.0, max: 2.0}, kind: [bowl, bump]}
"""
MINE = """
def height(x, kind):
    if kind == "bump" and x > 1.5:
        raise ValueError("off the map")
    return x * x if kind == "bowl" else -x * x
"""


@pytest.fixture(autouse=True)
def search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "search.yaml").write_text(SPEC)
    (folder / "mine.py").write_text(MINE)
    monkeypatch.chdir(folder)


def height(x: float, kind: str) -> float:
    return x * x if kind == "bowl" else -x * x


def test_on_the_command_line(folder: Path, launch: Launch) -> None:
    said = launch("search.yaml", "--objective", "mine:height", "--set", "sweep.max_failures=12").stdout
    rows = results(folder / "search.search")
    assert len(rows) == 12
    best = min((row for row in rows if row["state"] == "done"), key=lambda row: float(row["value"]))
    assert f"in trial {best['trial']}: x {float(best['x']):.4g}, kind {best['kind']}" in said
    assert f'x: {best["x"]}\nkind: "{best["kind"]}"\n' == (folder / "search.search/best.yaml").read_text()
    again = launch("search.yaml", "--objective", "mine:height", "--set", "sweep.trials=13", code=2)
    assert "sweep.trials: 12 -> 13" in again.stderr
    again = launch("search.yaml", "--objective", "mine:height", "--set", "sweep.parameters.x.max=3.0", code=2)
    assert "\n  sweep.parameters.x.max: 2.0 -> 3.0\n" in again.stderr
    refused = launch("search.yaml", "--objective", "mine:height", "--dry-run", "--nodes", "2", code=2).stderr
    assert "--dry-run, --nodes has no meaning with it" in refused
    assert "there is no module 'mein'" in launch("search.yaml", "--objective", "mein:height", "--set", "name=b", code=2).stderr
    assert "mine names no function: write" in launch("search.yaml", "--objective", "mine", "--set", "name=d", code=2).stderr
    assert "mine has no 'hight'" in launch("search.yaml", "--objective", "mine:hight", "--set", "name=c", code=2).stderr


def test_several_at_a_time_come_to_the_same_as_their_numbers_say(folder: Path, launch: Launch) -> None:
    for name in ("a", "b"):
        launch("search.yaml", "--objective", "mine:height", "--set", f"name={name}", "--set", "sweep.parallel=3",
               "--set", "sweep.max_failures=12")  # fmt: skip
    assert results(folder / "a.search") == results(folder / "b.search")


FAILS = """
import os

class Odd(Exception):
    def __init__(self, one, other):
        super().__init__(one)

def raises(x, kind):
    if x > 0:
        raise ValueError("off the map")
    return -x

def dies(x, kind):
    if x > 0:
        os._exit(3)
    return -x

def leaves(x, kind):
    if x > 0:
        raise SystemExit(3)
    return -x

def odd(x, kind):
    if x > 0:
        raise Odd(1, 2)
    return -x
"""


@pytest.mark.parametrize(
    ("function", "parallel", "says"),
    [
        ("dies", 2, "its process was lost: killed, out of memory, or os._exit"),
        pytest.param("odd", 2, "its process was lost: TypeError: ", marks=pytest.mark.long),
        ("leaves", 1, "SystemExit: 3"),
    ],
)
def test_a_call_that_is_lost_is_a_failed_trial_and_no_other_is(
    function: str, parallel: int, says: str, folder: Path, launch: Launch
) -> None:
    (folder / "fails.py").write_text(FAILS)
    said = launch("search.yaml", "--objective", f"fails:{function}", "--set", f"sweep.parallel={parallel}", "--set",
                  "sweep.trials=8", "--set", "sweep.max_failures=8").stdout  # fmt: skip
    rows = results(folder / "search.search")
    assert len(rows) == 8
    assert {row["state"] for row in rows} == {"done", "failed"}
    assert [row["state"] == "failed" for row in rows] == [float(row["x"]) > 0 for row in rows]
    assert f"failed: {says}" in said


def test_more_failures_than_it_bears_fail_it(folder: Path, launch: Launch) -> None:
    (folder / "fails.py").write_text(FAILS)
    words = ("search.yaml", "--objective", "fails:raises", "--set", "sweep.max_failures=1")
    failed = launch(*words, code=1)
    rows = results(folder / "search.search")
    assert {row["state"] for row in rows} == {"done", "failed"}
    assert f"2 of {len(rows)} trials failed (max_failures: 1): ValueError: off the map" in failed.stderr
    assert (folder / "search.search" / "best.yaml").exists()
    assert f"2 of {len(rows)} trials failed (max_failures: 1)" in launch(*words, code=1).stderr
    assert results(folder / "search.search") == rows


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_terminals_interrupt_ends_it_without_a_traceback(parallel: int, folder: Path) -> None:
    (folder / "slow.py").write_text("import time\ndef fn(x, kind):\n    time.sleep(0.2)\n    return x * x\n")
    words = ["search.yaml", "--objective", "slow:fn", "--set", f"sweep.parallel={parallel}", "--set", "sweep.trials=500"]
    with subprocess.Popen([*LAUNCH, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert " done " in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 130
    assert said.endswith("[launch] interrupted: the same command goes on with the trials that are left\n")
    assert "Traceback" not in said


def test_from_python_it_is_optunas_study() -> None:
    study = launcher.sweep("search.yaml", objective=height)
    assert len(study.trials) == 12
    assert study.best_value == min(trial.value for trial in study.trials)
    assert launcher.sweep("search.yaml", objective=height).best_value == study.best_value


def test_a_sweep_of_a_job_from_python(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        "extends: base.yaml\nsweep: {method: grid, metric: val/accuracy, goal: maximize, parameters: {seed: [1, 2]}}\n"
    )
    study = launcher.sweep("sweep.yaml")
    assert [float(row["value"]) for row in results(newest(folder))] == [trial.value for trial in study.trials]
