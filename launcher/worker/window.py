"""The training loss since the last row, kept on the device until somebody asks: then added up on the host, in the order of
steps.

A step that was not finite shows in the sum of all ranks, so that looking for it costs nothing; which it was is known by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from launcher.worker.data.order import Indices
from launcher.worker.data.portions import Portion
from launcher.worker.state import LossSums
from launcher.worker.step import Loss

CAPACITY = 256
"""Steps that may wait on the device."""


@dataclass
class Window:
    steps: list[tuple[int, Loss, list[Indices]]] = field(default_factory=list)
    """(number of the step, loss, this rank's sample ids)"""
    bad: tuple[int, list[int]] | None = None
    """This rank's first step that was not finite, with its sample ids."""

    def add(self, step: int, loss: Loss, portion: Portion, sums: LossSums) -> None:
        """`step`: from 1."""
        self.steps.append((step, loss, portion.ids))
        if len(self.steps) == CAPACITY:
            self.fold(sums)

    def fold(self, sums: LossSums) -> None:
        """Adds what waits to `sums`. Waits for the device."""
        if not self.steps:
            return
        means = iter(numbers([mean for _, loss, _ in self.steps for mean, _ in loss.parts]))
        weights = numbers([loss.weight for _, loss, _ in self.steps])
        for (step, loss, ids), weight in zip(self.steps, weights, strict=True):
            total = sum(next(means) * share for _, share in loss.parts)
            if self.bad is None and not math.isfinite(total):
                self.bad = step, [int(sample) for part in ids for sample in part]
            sums["loss"] += total
            sums["weight"] += weight
        self.steps.clear()


def numbers(values: Sequence[float | Tensor]) -> list[float]:
    """With one transfer from the device."""
    if values and isinstance(values[0], Tensor):
        return torch.stack([torch.as_tensor(value) for value in values]).tolist()
    return [float(value) for value in values]
