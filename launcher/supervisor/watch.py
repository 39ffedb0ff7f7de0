"""Whether an attempt hangs: no rank of it has made any progress for too long. Slow is not hung.

Progress is a pulse; until the first one, output is too, and three times the patience: there are imports, downloads, compilers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEFORE_FIRST_PULSE = 3
OWN_PAUSE_S = 5.0
"""A longer gap between two looks is this process's own silence (Ctrl-Z, a machine that slept): it heard nobody meanwhile."""


class Watch:
    """A clock of its own for each attempt. All times are of time.monotonic()."""

    def __init__(self, timeout_s: float, now: float) -> None:
        self.timeout_s = timeout_s
        self.progressed = now
        self.looked = now
        self.pulsed = False
        self.marks: dict[int, tuple[int, int, int]] = {}
        """By agent: step, pulses, bytes of output."""

    def hear(self, agent: int, message: Mapping[str, Any], now: float) -> None:
        """An agent's `step`: it speaks where something has changed. Once a rank has pulsed, output is no progress any more."""
        mark = message["step"], message["pulses"], message.get("bytes", 0)
        before = self.marks.get(agent, (-1, 0, 0))
        self.marks[agent] = mark
        if mark[:2] != before[:2] or (mark != before and not self.pulsed):
            self.progressed = now
        self.pulsed = self.pulsed or message["pulses"] > 0

    @property
    def patience_s(self) -> float:
        return self.timeout_s * (1 if self.pulsed else BEFORE_FIRST_PULSE)

    def quiet_s(self, now: float) -> float:
        """How long there has been no progress, this process's own pauses apart. To be asked several times a second."""
        pause_s = now - self.looked
        self.looked = now
        if pause_s > OWN_PAUSE_S:
            self.progressed += pause_s
        return now - self.progressed

    def hangs(self, now: float) -> bool:
        return self.quiet_s(now) >= self.patience_s and self.timeout_s > 0
