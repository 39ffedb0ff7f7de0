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
    job = small(train__max_steps=40, checkpoint__every="5 steps", log__every="5 steps", retry__lost_after="8s")
    return {**job, "sweep": {**SWEEP, "parallel": parallel}, "resources": {**job["resources"], **resources}}


def results(run: Path) -> list[dict[str, Any]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def trials(run: Path, host: str) -> list[Path]:
    """Those that it was given."""
    return [path.parent for path in run.glob("trials/*/plan.json") if f'"{host}"' in path.read_text()]


def saved(trial: Path) -> bool:
    return any(trial.glob("checkpoints/step-*/manifest.json"))


def test_a_lost_host_gives_its_trial_back(seat: Seat) -> None:
    seat.write("mine.py", CODE)
    outcome = seat.launch(seat.job(search(parallel=1, nodes=1, backend="local")))
    assert outcome.code == 0, outcome.said
    alone = seat.run()
    seat.write("slow", "")
    seat.start("launch", seat.job(search(hosts=["h1", "h2", "h3"])))
    until(lambda: len(seat.runs()) == 2)
    [run] = {*seat.runs()} - {alone}
    # Not later than that: a second trial of h2's would not be the one that is given back.
    until(lambda: any(saved(trial) for trial in trials(run, "h2")) and all(trials(run, host) for host in ("h1", "h3")))
    [robbed] = trials(run, "h2")
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
