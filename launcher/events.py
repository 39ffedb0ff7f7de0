"""The run's ledger: what happened, one JSON line each. State and productive time are folds over it.

Written by the supervisor (decisions, attempts) and by rank 0 (first step, checkpoints, the end), each line with one append, so
that the two cannot tear each other's lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from launcher.rundir import RunDir, json_lines, owner

State = Literal["queued", "starting", "running", "restarting", "stopping", "done", "failed", "stopped", "cancelled"]
LIVE: frozenset[State] = frozenset(("starting", "running", "restarting", "stopping"))

AFTER: dict[str, State] = {
    "prepared": "stopped",
    "queued": "queued",
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

NOT_BEGUN = "prepared, nothing was started yet: begin with launch resume"

ENDS_RUNNING = frozenset(("supervising", "attempt", "running", "failure", "stopped", "cancelled", "failed", "done", "trained"))
KEEPS_WORK = frozenset(("checkpoint", "done", "trained"))


def record(run: RunDir, event: str, *, attempt: int | None = None, **details: Any) -> None:
    """Appends one event. `reason` says in words why a decision was taken."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "attempt": attempt,
        **details,
    }
    line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    descriptor = os.open(run.events, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a disk that was full
        os.write(descriptor, b"\n" + line if torn else line)
    finally:
        os.close(descriptor)


def ledger(run: RunDir) -> Iterator[dict[str, Any]]:
    """What was recorded; lines that a bad disk has spoiled are passed over."""
    for entry in json_lines(run.events):
        if isinstance(entry, dict) and isinstance(entry.get("event"), str) and isinstance(entry.get("time"), str):
            yield entry


@dataclass(frozen=True)
class Summary:
    """A run, folded from its ledger."""

    state: State = "stopped"
    reason: str | None = None
    attempts: int = 0
    step: int | None = None
    backend: str | None = None
    times: list[tuple[str, datetime]] = field(default_factory=list)


def fold(entries: Iterable[dict[str, Any]]) -> Summary:
    """What the ledger says by itself, whether or not a supervisor is still there."""
    state: State = "stopped"
    reason: str | None = NOT_BEGUN
    backend = step = None
    attempts = 0
    times = []
    for entry in entries:
        event = entry.get("event", "")
        if event in AFTER and not (event == "running" and state == "stopping"):
            state, reason = AFTER[event], NOT_BEGUN if event == "prepared" else entry.get("reason")
        attempts = max(attempts, entry.get("attempt") or 0)
        backend = entry.get("backend", backend)
        step = step if entry.get("step") is None else entry["step"]
        times.append((event, datetime.fromisoformat(entry["time"])))
    return Summary(state, reason, attempts, step, backend, times)


def summarize(run: RunDir) -> Summary:
    """The run as it is now: a live state that nobody holds is `stopped`, with the reason.

    Held before anything ran, it is starting. Under plain torchrun there never was a supervisor: trained to the end is done.
    """
    from dataclasses import replace

    supervised = owner(run) is not None  # asked first: a run that ends meanwhile is not taken for a dead one
    summary = fold(ledger(run))
    if summary.state in LIVE and not supervised:
        if summary.times[-1][0] == "trained":
            return replace(summary, state="done")
        return replace(summary, state="stopped", reason="its supervisor died (stale lock): continue with launch resume")
    if summary.reason == NOT_BEGUN and supervised:
        return replace(summary, state="starting", reason=None)
    return summary


def ettr(run: RunDir) -> float | None:
    """Effective training time ratio: time whose work was kept over wall time since submission. None before anything ran."""
    entries = list(ledger(run))
    live = fold(entries).state in LIVE and owner(run) is not None
    return kept_share(entries, now=datetime.now(UTC) if live else None)


def kept_share(entries: Sequence[dict[str, Any]], *, now: datetime | None) -> float | None:
    """`now` closes the ledger of a live run, whose newest work is not lost yet."""
    times = [datetime.fromisoformat(entry["time"]) for entry in entries if entry["event"] != "prepared"]
    if not times:
        return None
    wall_s = ((now or times[-1]) - times[0]).total_seconds()
    kept_s = sum(kept_stretches(entries, now), timedelta()).total_seconds()
    return round(min(1.0, kept_s / wall_s), 4) if wall_s > 0 else 0.0


def kept_stretches(entries: Iterable[dict[str, Any]], now: datetime | None) -> Iterator[timedelta]:
    """Of each stretch of running what lies before its last checkpoint; all of it where the run went on to its end.

    All of it, too, of a user's script (its `running` has no step), whose checkpoints are not known.
    """
    since: datetime | None = None
    kept_until = datetime.min
    is_script = False
    for entry in entries:
        event, time = entry["event"], datetime.fromisoformat(entry["time"])
        if since is not None and (is_script or event in KEEPS_WORK):
            kept_until = time
        if since is not None and event in ENDS_RUNNING:
            yield kept_until - since
            since = None
        if event == "running":
            since = kept_until = time
            is_script = entry.get("step") is None
    if since is not None:
        yield (now or kept_until) - since
