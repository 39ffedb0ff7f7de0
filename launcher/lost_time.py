"""Effective training time ratio, and where the rest of the time went: folds over the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from launcher.events import ENDS_RUNNING, KEEPS_WORK, LIVE, fold, ledger
from launcher.rundir import RunDir, owner

QUEUE, START, RESTART, LOST_STEPS, CHECKPOINTS, HANG, STOPPED = WENT_TO = (
    "queue", "start", "restart", "lost_steps", "checkpoints", "hang", "stopped",
)  # fmt: skip
"""Waiting for nodes; until the first step of a job; from a failure to the next step; steps that were done again; training held up
by saving; standing still before the hang watch struck; between an end and `launch resume`."""
KEPT = "kept"
THEN = {"queued": QUEUE, "running": KEPT, "failure": RESTART, "stopped": STOPPED, "failed": STOPPED, "cancelled": STOPPED,
        "done": STOPPED, "trained": STOPPED}  # fmt: skip
"""What the time after an event goes to; `supervising` and `attempt` belong to a start or to a restart."""


@dataclass(frozen=True)
class Spent:
    """The wall time since a run was submitted; both None before anything ran."""

    ettr: float | None = None
    """The share of it whose steps were kept."""
    lost: dict[str, float] | None = None
    """Seconds that each of WENT_TO took."""


def spent(run: RunDir) -> Spent:
    entries = list(ledger(run))
    state = fold(entries).state
    goes_on = state == "queued" or (state in LIVE and owner(run) is not None)
    took = where_it_went(entries, datetime.now(UTC) if goes_on else None)
    if took is None:
        return Spent()
    return Spent(productive_share(took), {name: round(took[name], 3) for name in WENT_TO})


def productive_share(took: Mapping[str, float]) -> float:
    wall_s = sum(took.values())
    return round(took[KEPT] / wall_s, 4) if wall_s > 0 else 0.0


def where_it_went(entries: Sequence[dict[str, Any]], now: datetime | None) -> dict[str, float] | None:
    """Seconds by what they went to; together they are the wall time. None before anything ran.

    Of each stretch of running what lies before its last checkpoint is kept; all of it where the run went on to its end, and all
    of a user's script (its `running` has no step), whose checkpoints are not known. `now` closes the ledger of a live run,
    whose newest work is not lost yet.
    """
    happened = [entry for entry in entries if entry["event"] != "prepared"]
    if not happened or any(entry["event"] == "searching" for entry in happened):  # a sweep trains nothing: its trials do
        return None
    spent = dict.fromkeys((*WENT_TO, KEPT), 0.0)
    for went_to, seconds in stretches([*happened, {"event": "now", "time": now.isoformat()}] if now else happened):
        spent[went_to] += seconds
    held_s = sum(entry.get("held_s") or 0.0 for entry in happened if entry["event"] == "checkpoint")
    spent[CHECKPOINTS] = min(held_s, spent[KEPT])
    spent[KEPT] -= spent[CHECKPOINTS]
    return spent


def stretches(happened: Sequence[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    went_to, since, kept_until, is_script = START, moment(happened[0]), moment(happened[0]), False
    for entry in happened:
        event, time = entry["event"], moment(entry)
        if went_to != KEPT:
            yield went_to, time - since
            since = time
        elif is_script or event in KEEPS_WORK or event == "now":
            kept_until = time
        if went_to == KEPT and (event in ENDS_RUNNING or entry is happened[-1]):
            hung = min(time - kept_until, entry.get("hung_s") or 0.0)
            yield from ((KEPT, kept_until - since), (HANG, hung), (LOST_STEPS, time - kept_until - hung))
            since, went_to = time, STOPPED
        if event == "running":
            kept_until, is_script = time, entry.get("step") is None
        if event in ("supervising", "attempt"):
            went_to = RESTART if went_to == RESTART else START
        went_to = THEN.get(event, went_to)


def moment(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()
