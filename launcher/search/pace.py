"""How long a step takes, by what an earlier run of the same name took: a dry run's only honest source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from launcher.events import fold, ledger
from launcher.rundir import TRIALS, RunDir
from launcher.runs import all_runs, name_of


@dataclass(frozen=True, kw_only=True)
class Pace:
    seconds: float
    """Of each step, with the start, evaluation and checkpoints of its training."""
    run: str
    """Where it was measured."""


def pace(name: str, runs: Path) -> Pace | None:
    """Of the newest run of the name in which a training ended undisturbed; of a sweep the mean over such trials."""
    for run in reversed([each for each in all_runs(runs) if name_of(each) == name]):
        ended = [found for each in trainings(run) if (found := steps_and_seconds(each)) is not None]
        if ended:
            return Pace(seconds=sum(seconds for _, seconds in ended) / sum(steps for steps, _ in ended), run=run.id)
    return None


def trainings(run: RunDir) -> list[RunDir]:
    trials = sorted(path.parent for path in (run.path / TRIALS).glob("**/events.jsonl"))
    return [RunDir(path) for path in trials] or [run]


def steps_and_seconds(run: RunDir) -> tuple[int, float] | None:
    entries = list(ledger(run))
    told = fold(entries)
    if told.state != "done" or told.attempts != 1 or not told.step:
        return None
    began = next((entry for entry in entries if entry["event"] == "supervising"), entries[0])
    took = datetime.fromisoformat(entries[-1]["time"]) - datetime.fromisoformat(began["time"])
    return told.step, took.total_seconds()
