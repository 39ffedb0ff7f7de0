"""Learning rates as pure functions of the step: f(step, total_steps, **arguments) -> factor of the optimizer's rate.

A user's own schedule has the same form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from launcher.spec.train import Train
from launcher.spec.values import Length
from launcher.worker.errors import WorkerError
from launcher.worker.targets import found


def constant(step: int, total_steps: int | None) -> float:  # noqa: ARG001
    return 1.0


def cosine(step: int, total_steps: int, *, final: float = 0.0) -> float:
    return final + (1 - final) * (1 + math.cos(math.pi * step / total_steps)) / 2


def linear(step: int, total_steps: int, *, final: float = 0.0) -> float:
    return 1 + (final - 1) * step / total_steps


def step(step: int, total_steps: int | None, *, step_size: int, gamma: float = 0.1) -> float:  # noqa: ARG001
    return float(gamma ** (step // step_size))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A factor for each step, with a linear warm-up in front."""

    factor: Callable[..., float] = constant
    total_steps: int | None
    """Of the run; None where it is not known beforehand."""
    warmup_steps: int = 0

    def __call__(self, done: int) -> float:
        """The factor of the step that comes after `done` steps. The last step of the warm-up has the whole rate."""
        if done < self.warmup_steps:
            return (done + 1) / self.warmup_steps
        left = None if self.total_steps is None else max(1, self.total_steps - self.warmup_steps)
        try:
            return self.factor(done - self.warmup_steps, left)
        except TypeError as error:
            if left is None:
                raise WorkerError(
                    f"train.schedule wants the number of steps, and the data's length is not known: set max_steps ({error})",
                    kind="spec",
                ) from error
            raise

    def apply(self, groups: Iterable[dict[str, Any]], done: int) -> None:
        """Sets the rates of an optimizer's groups for the step after `done` steps."""
        factor = self(done)
        for group in groups:
            group["lr"] = group["initial_lr"] * factor


def make_schedule(spec: Train, per_epoch: int | None) -> Schedule:
    total = spec.max_steps if spec.max_steps is not None else None if per_epoch is None else per_epoch * (spec.epochs or 0)
    target = spec.schedule
    if target is None:
        return Schedule(total_steps=total)

    def steps(length: Length) -> int:
        try:
            return length.steps(per_epoch=per_epoch, total=total)
        except ValueError as error:
            raise WorkerError(f"train.schedule: {error}", kind="spec") from None

    factor = found("schedule", target, "train.schedule")
    # In a short run 1% may round to 0 steps, by which nothing can be divided.
    given = {name: max(1, steps(value)) if isinstance(value, Length) else value for name, value in target.arguments.items()}
    return Schedule(
        factor=lambda step, total_steps: factor(step, total_steps, **given),
        total_steps=total, warmup_steps=steps(target.warmup) if target.warmup else 0,
    )  # fmt: skip
