"""What a metric is, and one number of it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from launcher.worker.errors import WorkerError
from launcher.worker.metrics.seen import Seen
from launcher.worker.world import World


class Measure(Protocol):
    name: str

    def start(self) -> None: ...

    def add(self, seen: Seen) -> None:
        """One batch of this rank's samples, on any device. Raises WorkerError for what it cannot measure."""

    def value(self, world: World) -> float:
        """Of all ranks' samples, on rank 0 at least. A collective."""


def as_number(value: Any, name: str) -> float:
    """Raises WorkerError where it is not one number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r:.100}"
        raise WorkerError(f"train.metrics: {name} gives {what}; a metric gives one number", kind="spec") from error
