"""The run's ledger: what happened, one JSON line each. State and productive time are folds over it.

Written by the supervisor (decisions, attempts) and by rank 0 (first step, checkpoints, the end), each line with one append, so
that the two cannot tear each other's lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from launcher.rundir import RunDir, json_lines, owner

State = Literal["queued", "starting", "running", "restarting", "stopping", "done", "failed", "stopped", "cancelled", "prepared"]
LIVE: frozenset[State] = frozenset(("starting", "running", "restarting", "stopping"))

AFTER: dict[str, State] = {
    "prepared": "prepared",
    "supervising": "starting",
    "attempt": "starting",
    "running": "running",
    "failure": "restarting",
    "stopping": "stopping",
    "stopped": "stopped",
    "cancelled": "cancelled",
    "failed": "failed",
    "done": "done",
}
"""The state that each event leaves the run in; others leave it as it is."""

ENDS_RUNNING = frozenset(("supervising", "attempt", "running", "failure", "stopped", "cancelled", "failed", "done", "trained"))


def record(run: RunDir, event: str, *, attempt: int | None = None, **details: Any) -> None:
    """Appends one event. `reason` says in words why a decision was taken."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "attempt": attempt,
        **details,
    }
    descriptor = os.open(run.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(entry, ensure_ascii=False).encode() + b"\n")
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Summary:
    """A run, folded from its ledger."""

    state: State = "prepared"
    reason: str | None = None
    attempts: int = 0
    step: int | None = None
    backend: str | None = None
    times: list[tuple[str, datetime]] = field(default_factory=list)


def fold(entries: Iterable[dict[str, Any]]) -> Summary:
    """What the ledger says by itself, whether or not a supervisor is still there."""
    state: State = "prepared"
    reason = backend = step = None
    attempts = 0
    times = []
    for entry in entries:
        event = entry.get("event", "")
        if event in AFTER:
            state, reason = AFTER[event], entry.get("reason")
        attempts = max(attempts, entry.get("attempt") or 0)
        backend = entry.get("backend", backend)
        step = entry.get("step", step)
        times.append((event, datetime.fromisoformat(entry["time"])))
    return Summary(state, reason, attempts, step, backend, times)


def summarize(run: RunDir) -> Summary:
    """The run as it is now: a live state without a living supervisor is `stopped`, with the reason."""
    from dataclasses import replace

    summary = fold(json_lines(run.events))
    if summary.state in LIVE and owner(run) is None:
        return replace(summary, state="stopped", reason="its supervisor died (stale lock): continue with launch resume")
    return summary


def ettr(run: RunDir) -> float | None:
    """Effective training time ratio: time whose work was kept over wall time since submission. None before anything ran."""
    entries = list(json_lines(run.events))
    live = fold(entries).state in LIVE and owner(run) is not None
    return kept_share(entries, now=datetime.now(UTC) if live else None)


def kept_share(entries: Iterable[dict[str, Any]], *, now: datetime | None) -> float | None:
    """Of each stretch of running, what lies before its last checkpoint was kept; all of it where the run went on to its end.

    Of a user's script (its `running` has no step) the checkpoints are not known: all of it counts. `now` closes the ledger of a
    live run, whose newest stretch is not lost yet.
    """
    begun: datetime | None = None
    since: datetime | None = None
    kept_until: datetime | None = None
    time: datetime | None = None
    kept_s = 0.0
    is_script = False
    for entry in entries:
        event, time = entry.get("event", ""), datetime.fromisoformat(entry["time"])
        begun = begun or (time if event != "prepared" else None)
        if event == "checkpoint" or (event in ("done", "trained") and since is not None):
            kept_until = time
        if event in ENDS_RUNNING and since is not None:
            kept_s += ((time if is_script else kept_until or since) - since).total_seconds()
            since = None
        if event == "running":
            since, kept_until, is_script = time, None, entry.get("step") is None
    if begun is None or time is None:
        return None
    end = now or time
    if since is not None:
        kept_s += ((end if now or is_script else kept_until or since) - since).total_seconds()
    wall_s = (end - begun).total_seconds()
    return round(min(1.0, max(0.0, kept_s) / wall_s), 4) if wall_s > 0 else None
