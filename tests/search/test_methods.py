"""Every method on a real training: what it tries, what stands in results.csv, and the job that best.yaml is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.load import load_job
from launcher.search.sequence import Sequence
from launcher.search.space import values, whole_ranges
from tests.search.conftest import newest, results

Launch = Callable[..., subprocess.CompletedProcess[str]]
TRIALS = {"grid": 4, "random": 4, "tpe": 12, "gp": 12, "cma": 6}
"""tpe and gp draw the first ten at random."""
LISTS = "{train.optimizer.lr: [0.3, 0.01], train.data.batch_size: [64, 128]}"
RANGES = "{train.optimizer.lr: {min: 1e-3, max: 1, log: true}, train.data.batch_size: {min: 64, max: 256, step: 64}}"
SWEEP = """
extends: base.yaml
sweep:
  method: %s
  metric: val/accuracy
  goal: maximize
  trials: %d
  parallel: 2
  parameters: %s
"""


def tried(row: dict[str, Any]) -> dict[str, Any]:
    return {path: json.loads(text) for path, text in row.items() if path not in ("trial", "state", "value")}


def written(job: Path) -> dict[str, Any]:
    train = load_job(job).train
    assert train is not None
    return {"train.optimizer.lr": train.optimizer.model_dump()["lr"], "train.data.batch_size": train.data.batch_size}


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.long) if name in ("random", "grid", "gp", "cma") else name for name in TRIALS]
)
def test_each_trial_is_trained_with_what_was_drawn_for_it(method: str, folder: Path, launch: Launch) -> None:
    (folder / "sweep.yaml").write_text(SWEEP % (method, TRIALS[method], LISTS if method == "grid" else RANGES))
    launch("sweep.yaml")
    sweep = newest(folder)
    rows = results(sweep)
    assert [(row["trial"], row["state"]) for row in rows] == [(str(number), "done") for number in range(TRIALS[method])]
    for row in rows:
        trial = sweep / "trials" / row["trial"]
        logged = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        assert float(row["value"]) == logged[-1]["val/accuracy"]
        assert tried(row) == written(trial / "job.yaml")
    best = max(rows, key=lambda row: (float(row["value"]), -int(row["trial"])))
    assert written(sweep / "best.yaml") == tried(best)
    assert [tried(row) for row in rows] == asked_again(sweep, rows, folder / "again")


def asked_again(sweep: Path, rows: list[dict[str, Any]], to: Path) -> list[dict[str, Any]]:
    """What is drawn from the values of the trials at least two before, whatever the order in which these ended."""
    job = load_job(sweep / "sweep.yaml")
    assert job.sweep is not None
    to.mkdir()
    sequence = Sequence(job.sweep, job.seed, to, parallel=2, name="again", whole=whole_ranges(job))
    found = []
    try:
        for number in range(len(rows)):
            if number >= 2:
                sequence.ended(number - 2, "done", float(rows[number - 2]["value"]))
            drawn = sequence.next()
            assert drawn is not None
            found.append(values(job.sweep, drawn))
    finally:
        sequence.close()
    return found
