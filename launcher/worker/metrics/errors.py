"""Metrics of numbers, from sums of errors and squared deviations.

Written out: torchmetrics takes three seconds to import, sums in the outputs' precision, and its R2 takes targets whose squared
deviations sum to less than 1e-4 for constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from launcher.worker.metrics.seen import Seen
from launcher.worker.world import World

Row = Tensor
"""(4, outputs) in float64: mean and sum of squared deviations, of targets and of errors."""


@dataclass
class Errors:
    """One for all metrics of an evaluation."""

    name: str = "numbers"
    samples: float = 0.0
    deviations: Row | None = None
    absolute: Tensor | None = None
    """(outputs,): sums of absolute errors."""

    def start(self) -> None:
        self.samples, self.deviations, self.absolute = 0.0, None, None

    def add(self, seen: Seen) -> None:
        output, target = seen.numbers(self.name)
        errors = target - output
        row = torch.cat([deviations(target), deviations(errors)])
        self.join(float(len(target)), row, errors.abs().sum(0))

    def join(self, samples: float, row: Row, absolute: Tensor) -> None:
        held = (self.samples, self.deviations)
        self.samples, self.deviations = (samples, row) if held[1] is None else merged((self.samples, held[1]), (samples, row))
        self.absolute = absolute if self.absolute is None else self.absolute + absolute

    def agree(self, world: World) -> None:
        """From here on they are those of all ranks. A collective."""
        own = None
        if self.deviations is not None and self.absolute is not None:
            own = (self.samples, self.deviations.cpu(), self.absolute.cpu())
        by_rank = [each for each in world.gather(own) if each is not None]
        self.start()
        for each in by_rank:
            self.join(*each)


def deviations(values: Tensor) -> Tensor:
    mean = values.mean(0)
    return torch.stack([mean, (values - mean).square().sum(0)])


def merged(one: tuple[float, Row], other: tuple[float, Row]) -> tuple[float, Row]:
    """Of both sets of samples (Chan, Golub and LeVeque, 1983): a sum of squares less a square would lose digits."""
    (n, a), (m, b) = one, other
    means, apart = a[::2], b[::2] - a[::2]
    squares = a[1::2] + b[1::2] + apart.square() * (n * m / (n + m))
    return n + m, torch.stack([means + apart * (m / (n + m)), squares], 1).flatten(0, 1)


@dataclass
class OfErrors:
    name: str
    errors: Errors
    function: Callable[[Errors], float]

    def start(self) -> None: ...

    def add(self, seen: Seen) -> None: ...

    def value(self, world: World) -> float:  # noqa: ARG002
        return self.function(self.errors) if self.errors.deviations is not None else math.nan


def mae(errors: Errors) -> float:
    assert errors.absolute is not None
    return float((errors.absolute / errors.samples).mean())


def mse(errors: Errors) -> float:
    return float((squared(errors) / errors.samples).mean())


def rmse(errors: Errors) -> float:
    return math.sqrt(mse(errors))


def squared(errors: Errors) -> Tensor:
    """(outputs,): sums of squared errors."""
    assert errors.deviations is not None
    return errors.deviations[3] + errors.samples * errors.deviations[2].square()


def r2(errors: Errors) -> float:
    return explained(squared(errors), errors)


def explained_variance(errors: Errors) -> float:
    assert errors.deviations is not None
    return explained(errors.deviations[3], errors)


def explained(left: Tensor, errors: Errors) -> float:
    """Mean over outputs; of targets that are all the same 1 where they are met, else 0, as scikit-learn has it."""
    assert errors.deviations is not None
    if errors.samples < 2:
        return math.nan
    there = errors.deviations[1]
    constant = torch.where(left == 0, 1.0, 0.0).double()
    return float(torch.where(there > 0, 1 - left / there.clamp(min=torch.finfo(torch.float64).tiny), constant).mean())
