"""How a sweep stands, folded from its ledger: what a screen, status and the summary show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from launcher.events import AFTER, LIVE
from launcher.spec.sweep import Sweep

TRYING, TRIAL = "trying", "trial"
"""Events: a trial begins, and what came of it."""
TAKEN, LET_GO, RAN = "taken", "let_go", "ran"
"""Events, where several processes share a sweep: one has a run of a trial, has let go of it, and what came of the run."""


@dataclass
class Tally:
    running: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Trial -> its parameters."""
    ended: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Trial -> the event of its end."""
    best: dict[str, Any] | None = None
    began: dict[int, datetime] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    """By all processes that conducted it."""
    total: int | None = None
    """How many trials it makes at most, where that is known."""
    parallel: int = 1
    last: datetime | None = None
    """The newest event of the process that conducts it; None while none does."""

    @property
    def counts(self) -> Counter[str]:
        return Counter(entry["state"] for entry in self.ended.values())

    def counted(self) -> str:
        """`9 done, 2 pruned`."""
        order = ("done", "pruned", "failed", "stopped")
        return ", ".join(f"{self.counts[state]} {state}" for state in order if self.counts[state])

    def left_s(self) -> float | None:
        """What the trials that are left will take, if they take what the others took."""
        if self.total is None or not self.took_s:
            return None
        return (self.total - len(self.ended)) * sum(self.took_s) / len(self.took_s) / max(1, self.parallel)

    def hear(self, entry: dict[str, Any], sweep: Sweep) -> None:
        number, now = entry.get("trial"), datetime.fromisoformat(entry["time"])
        if self.last is not None and not begins(entry):
            self.spent_s += (now - self.last).total_seconds()
        conducted = entry["event"] == "supervising" or self.last is not None
        self.last = now if conducted and AFTER.get(entry["event"], "running") in LIVE else None
        if entry["event"] == TRYING and isinstance(number, int):
            self.running[number] = entry.get("parameters") or {}
            self.began.setdefault(number, datetime.fromisoformat(entry["time"]))
        elif entry["event"] == TRIAL and isinstance(number, int):
            self.running.pop(number, None)
            self.ended[number] = entry
            if (began := self.began.get(number)) is not None:
                self.took_s.append((datetime.fromisoformat(entry["time"]) - began).total_seconds())
            self.compare(entry, sweep)
        elif entry["event"] == "searching":
            self.total, self.parallel = entry.get("trials"), entry.get("parallel", 1)
        elif entry["event"] == "supervising":
            self.running.clear()
            self.began.clear()

    def compare(self, entry: dict[str, Any], sweep: Sweep) -> None:
        if entry["state"] != "done" or entry.get("value") is None:
            return
        sign = 1 if sweep.goal == "minimize" else -1
        if self.best is None or (sign * entry["value"], entry["trial"]) < (sign * self.best["value"], self.best["trial"]):
            self.best = entry


def begins(entry: Mapping[str, Any]) -> bool:
    """Whether somebody begins or submits it, who may have done so long after the process before died without a word."""
    return entry["event"] in ("supervising", "follows") or (entry["event"] == "queued" and entry.get("after") is None)


def tally(entries: Iterable[dict[str, Any]], sweep: Sweep) -> Tally:
    found = Tally()
    for entry in entries:
        found.hear(entry, sweep)
    return found
