"""A sweep over ssh: its trials run side by side, a lost host gives its trial back, and the results are those of one machine."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from tests.contracts.conftest import MINE as CODE
from tests.contracts.conftest import lines, small, until
from tests.hosts.conftest import Seat
from tests.patience import PATIENCE_S

SWEEP = {
    "method": "grid",
    "metric": "train/loss",
    "goal": "minimize",
    "parameters": {"train.optimizer.lr": [0.01, 0.02, 0.03, 0.05]},
}


def search(parallel: Any = "auto", **resources: Any) -> dict[str, Any]:
    job = small(train__max_steps=40, checkpoint__every="5 steps", log__every="5 steps")
    return {**job, "sweep": {**SWEEP, "parallel": parallel}, "resources": {**job["resources"], **resources}}


def results(run: Path) -> list[dict[str, Any]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_lost_host_gives_its_trial_back(seat: Seat) -> None:
    seat.write("mine.py", CODE)
    outcome = seat.launch(seat.job(search(parallel=1, nodes=1, backend="local")))
    assert outcome.code == 0, outcome.said
    alone = seat.run()
    seat.write("slow", "")
    seat.start("launch", seat.job(search(hosts=["h1", "h2", "h3"])))
    until(lambda: len(seat.runs()) == 2)
    [run] = {*seat.runs()} - {alone}
    until(lambda: len(list(run.glob("trials/*/checkpoints/step-*/manifest.json"))) >= 3)
    [robbed] = [path.parent for path in run.glob("trials/*/plan.json") if '"h2"' in path.read_text()]
    seat.park.cut("h2")
    try:
        until(lambda: any(each["event"] == "given_back" for each in lines(robbed / "events.jsonl")))
        (seat.folder / "slow").unlink()
        until(lambda: (run / "results.csv").exists() and len(results(run)) == 4)
    finally:
        seat.park.mend("h2")
    seat.started[-1].wait(PATIENCE_S)
    assert results(run) == results(alone)
    assert (robbed / "code").is_dir()
