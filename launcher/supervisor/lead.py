"""How long before the time limit all ranks begin to save: from what steps and checkpoints have taken so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.events import ledger
from launcher.rundir import RunDir, json_lines

MARGIN_S = 10.0
LEAST_S = 15.0
MOST_S = 600.0
RECENT_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The slowest of what was measured lately, in seconds; 0 where nothing was."""

    step_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0


def lead_s(pace: Pace, *, grace_s: float, whole_s: float) -> float:
    """Two steps (the stop is agreed on between them), an evaluation that may be under way, and two checkpoints: the one under
    way and the last. `grace_s`: what a program of the user's own is given to save. Never more than half of the job's `whole_s`.
    """
    needed = 2 * pace.step_s + pace.evaluation_s + 2 * pace.checkpoint_s + grace_s + MARGIN_S
    return min(max(LEAST_S, needed), MOST_S, whole_s / 2)


def measured(run: RunDir) -> Pace:
    rows = [row for row in json_lines(run.timings, last_bytes=RECENT_BYTES) if isinstance(row, dict)]
    written = [entry.get("seconds") for entry in ledger(run) if entry["event"] == "checkpoint"][-10:]
    return Pace(
        step_s=slowest([each for row in rows for each in listed(row.get("step_s"))]),
        evaluation_s=slowest([row.get("evaluation_s") for row in rows]),
        checkpoint_s=slowest([*written, *(row.get("checkpoint_s") for row in rows)]),
    )


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def slowest(values: list[Any]) -> float:
    return max((float(each) for each in values if isinstance(each, int | float)), default=0.0)
