"""When something that happens every so often is due."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.spec.values import Length
from launcher.worker.errors import WorkerError


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Every `steps` steps (not always a whole number), or every `epochs` ends of an epoch whose length is not known."""

    steps: float | None = None
    epochs: int | None = None

    def due(self, step: int, epochs_ended: int | None) -> bool:
        """After `step` steps; `epochs_ended`: how many, where the step was the last of an epoch."""
        if self.steps is None:
            return epochs_ended is not None and epochs_ended % (self.epochs or 1) == 0
        turn = round(step / self.steps)
        return turn >= 1 and round(turn * self.steps) == step


def cadence(length: Length, *, per_epoch: int | None, total: int | None, field: str) -> Cadence:
    """Raises WorkerError where the length depends on one that is not known."""
    if length.unit == "steps":
        return Cadence(steps=max(1.0, length.number))
    if length.unit == "epochs" and per_epoch is not None:
        return Cadence(steps=max(1.0, length.number * per_epoch))
    if length.unit == "percent" and total is not None:
        return Cadence(steps=max(1.0, length.number / 100 * total))
    if length.unit == "epochs" and length.number.is_integer():
        return Cadence(epochs=int(length.number))
    raise WorkerError(
        f"{field}: {length} of data whose length is not known: write it in steps, or set train.max_steps", kind="spec"
    )
