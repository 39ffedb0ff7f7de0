"""The run's ledger: what happened, one JSON line each. The run's state is a fold over it.

Written by the supervisor (decisions, attempts) and by rank 0 (first step, checkpoints, the end), and by commands (prepared,
queued, a run taken out of its queue), each line with one append, so that no two tear each other's lines.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from launcher.rundir import RunDir, json_lines, owner

State = Literal["queued", "starting", "running", "restarting", "stopping", "done", "failed", "stopped", "cancelled"]
LIVE: frozenset[State] = frozenset(("starting", "running", "restarting", "stopping"))

AFTER: dict[str, State] = {
    "prepared": "stopped",
    "queued": "queued",
    "supervising": "starting",
    "attempt": "starting",
    "searching": "running",
    "running": "running",
    "failure": "restarting",
    "given_back": "stopped",
    "stopping": "stopping",
    "stopped": "stopped",
    "cancelled": "cancelled",
    "failed": "failed",
    "done": "done",
}
"""The state that each event leaves the run in; others leave it as it is."""

NOT_BEGUN = "prepared, nothing was started yet: begin with launch resume"

DIED = "its supervisor died (stale lock): continue with launch resume"

LEFT_TO = "its supervisor died: job {} goes on, which was queued beforehand"

ENDS_RUNNING = frozenset(
    ("supervising", "attempt", "running", "failure", "stopped", "queued", "cancelled", "failed", "done", "trained")
)
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
        whole = b"\n" + line if torn else line
        if os.write(descriptor, whole) < len(whole):  # the disk filled up on the way, which the kernel tells so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def ledger(run: RunDir) -> Iterator[dict[str, Any]]:
    """What was recorded; lines that a bad disk has spoiled are passed over."""
    try:
        there = run.events.stat()
    except OSError:
        return
    yield from entries_of(run.events, there.st_ino, there.st_size, there.st_mtime_ns)


@lru_cache(maxsize=1)
def entries_of(path: Path, *_version: int) -> Sequence[dict[str, Any]]:
    """Read once while it does not grow: the folds of a status take turns over it."""
    return [entry for entry in json_lines(path) if is_entry(entry)]


def is_entry(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("event"), str) and isinstance(line.get("time"), str)


class LedgerTail:
    """The ledger as it grows, whoever writes it: opened anew at each look, which is when a network file system looks again."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.offset = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """What was recorded since the last time."""
        with suppress(OSError), self.run.events.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                with suppress(ValueError):
                    entry = json.loads(line)
                    if is_entry(entry):
                        yield entry


@dataclass(frozen=True)
class Summary:
    """A run, folded from its ledger."""

    state: State = "stopped"
    reason: str | None = None
    attempts: int = 0
    step: int | None = None
    backend: str | None = None
    job: str | None = None
    """The queue job that has the run, or is to have it: the successor where it was queued beforehand is `successor`."""
    successor: str | None = None
    times: list[tuple[str, datetime]] = field(default_factory=list)


def fold(entries: Iterable[dict[str, Any]]) -> Summary:
    """What the ledger says by itself, whether or not a supervisor is still there."""
    state: State = "stopped"
    reason: str | None = NOT_BEGUN
    backend = step = job = successor = early = None
    attempts = 0
    times = []
    for entry in entries:
        event = entry.get("event", "")
        by_rank = event == "running" or (event == "stopped" and entry.get("step") is not None)
        if event in AFTER and not (by_rank and state == "stopping"):  # what that comes to is the supervisor's to say
            state, reason = AFTER[event], NOT_BEGUN if event == "prepared" else entry.get("reason")
        early = entry.get("reason") if event == "early_stop" else early
        if event in ("trained", "done"):
            reason = reason or early
        if event in ("queued", "supervising"):
            job, successor = entry.get("job"), None
        elif event in ("successor", "withdrawn"):
            successor = entry.get("job") if event == "successor" else None
        attempts = max(attempts, entry.get("attempt") or 0)
        backend = entry.get("backend", backend)
        step = step if entry.get("step") is None else entry["step"]
        times.append((event, datetime.fromisoformat(entry["time"])))
    return Summary(state, reason, attempts, step, backend, job, successor, times)


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
        if summary.successor is not None:
            return replace(summary, state="queued", job=summary.successor, reason=LEFT_TO.format(summary.successor))
        return replace(summary, state="stopped", reason=DIED)
    if summary.reason == NOT_BEGUN and supervised:
        return replace(summary, state="starting", reason=None)
    return summary
