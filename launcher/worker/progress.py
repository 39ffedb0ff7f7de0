"""What rank 0 prints while it trains: plain lines, at most one every two seconds, and one for each evaluation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.worker.logs import LINES

PRINT_EVERY_S = 2.0


@dataclass
class Progress:
    printing: bool
    total_steps: int | None
    epochs: int | None
    began: float = field(default_factory=time.monotonic)
    began_at_step: int = 0
    """Where this attempt goes on: the time left is reckoned from here."""
    printed: float = 0.0

    def row(self, step: int, row: Mapping[str, Any], samples_per_s: float) -> None:
        if not self.printing:
            return
        now = time.monotonic()
        if any(key.startswith(("val/", "test/")) for key in row):
            self.say(f"{self.place(step, row)}  {values(row, ('val/', 'test/'))}")
        elif now - self.printed >= PRINT_EVERY_S:
            self.printed = now
            self.say(
                f"{self.place(step, row)}  {values(row, ('train/', 'lr'))}  {samples_per_s:.0f} samples/s{self.left(step, now)}"
            )

    def place(self, step: int, row: Mapping[str, Any]) -> str:
        total = f"/{self.total_steps}" if self.total_steps else ""
        epochs = f"/{self.epochs}" if self.epochs else ""
        return f"step {step}{total}  epoch {row['epoch']:.1f}{epochs}"

    def left(self, step: int, now: float) -> str:
        done = step - self.began_at_step
        if self.total_steps is None or done <= 0:
            return ""
        seconds = round((now - self.began) / done * (self.total_steps - step))
        hours, rest = divmod(seconds, 3600)
        return f"  left {hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"  left {rest // 60}:{rest % 60:02}"

    def ended(self, step: int, *, stopping: bool) -> None:
        if stopping:
            self.say(f"stopped after step {step}, saved: it goes on from there")
        elif step == self.began_at_step:
            self.say(f"nothing left to train: step {step} was the last")

    def say(self, line: str) -> None:
        if self.printing:
            LINES.info("%s", line)


def values(row: Mapping[str, Any], wanted: tuple[str, ...]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key.startswith(wanted) and value is not None)
