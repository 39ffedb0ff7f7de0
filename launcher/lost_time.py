"""Effective training time ratio, and where the rest of the time went: folds over the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from launcher.events import ENDS_RUNNING, KEEPS_WORK, LIVE, fold, ledger
from launcher.rundir import RunDir, json_lines, owner

QUEUE, START, RESTART, LOST_STEPS, CHECKPOINTS, HANG, STOPPED = WENT_TO = (
    "queue", "start", "restart", "lost_steps", "checkpoints", "hang", "stopped",
)  # fmt: skip
"""Waiting for nodes; until the first step of a job; from a failure to the next step; steps that were done again; training held up
by saving; standing still before the hang watch struck; between an end and `launch resume`."""
KEPT = "kept"
THEN = {"queued": QUEUE, "running": KEPT, "failure": RESTART, "stopped": STOPPED, "failed": STOPPED, "cancelled": STOPPED,
        "done": STOPPED, "trained": STOPPED}  # fmt: skip
"""What the time after an event goes to; `supervising` and `attempt` belong to a start or to a restart."""
RECENT_BYTES = 1 << 20
"""Of timings.jsonl: so that a long run's status answers at once."""


def ettr(run: RunDir) -> float | None:
    """Time whose steps were kept over wall time since submission. None before anything ran."""
    return productive_share(*of(run))


def time_lost(run: RunDir) -> dict[str, float] | None:
    """Seconds that each of WENT_TO took. None before anything ran."""
    spent = where_it_went(*of(run))
    return None if spent is None else {name: round(spent[name], 3) for name in WENT_TO}


def of(run: RunDir) -> tuple[list[dict[str, Any]], datetime | None, float]:
    """The ledger, the moment that closes it where the run goes on, and the seconds for which saving held up the training."""
    entries = list(ledger(run))
    state = fold(entries).state
    goes_on = state == "queued" or (state in LIVE and owner(run) is not None)
    rows = (row for row in json_lines(run.timings, last_bytes=RECENT_BYTES) if isinstance(row, dict))
    return entries, datetime.now(UTC) if goes_on else None, sum(row.get("checkpoint_s") or 0.0 for row in rows)


def productive_share(entries: Sequence[dict[str, Any]], now: datetime | None, stalls_s: float = 0.0) -> float | None:
    spent = where_it_went(entries, now, stalls_s)
    if spent is None:
        return None
    wall_s = sum(spent.values())
    return round(spent[KEPT] / wall_s, 4) if wall_s > 0 else 0.0


def where_it_went(entries: Sequence[dict[str, Any]], now: datetime | None, stalls_s: float = 0.0) -> dict[str, float] | None:
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
    spent[CHECKPOINTS] = min(stalls_s, spent[KEPT])
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
