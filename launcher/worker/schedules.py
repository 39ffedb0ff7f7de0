"""Learning rates as pure functions of the step: f(step, total_steps, **arguments) -> factor of the optimizer's rate.

A user's own schedule has the same form. A built-in one with an absolute rate among its arguments also gets the optimizer's, `lr`.
The values are those of torch's scheduler of that name, stepped once per optimizer step.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from launcher.spec.catalogue import names
from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.spec.values import Length
from launcher.worker.errors import WorkerError
from launcher.worker.plateau import Lowered, Plateau, make_plateau
from launcher.worker.targets import builtin, found

Factor = Callable[[int, Any, float], float]
"""Of step, total_steps and the optimizer's rate."""
ONE_EPOCH = Length("1 epoch")
"""Decay by the epoch may be in a run that ends within its first."""


def constant(step: int, total_steps: int | None) -> float:  # noqa: ARG001
    return 1.0


def cosine(
    step: int,
    total_steps: int,
    *,
    lr: float,
    final: float = 0.0,
    eta_min: float = 0.0,
    T_max: int | None = None,  # noqa: N803
) -> float:
    lowest = max(final, share(eta_min, lr))
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * step / (T_max or total_steps))) / 2


def cosine_restarts(
    step: int,
    total_steps: int | None,  # noqa: ARG001
    *,
    lr: float,
    T_0: int,  # noqa: N803
    T_mult: int = 1,  # noqa: N803
    eta_min: float = 0.0,
) -> float:
    length, step = (T_0, step % T_0) if T_mult == 1 else (T_0, step)
    while step >= length:
        step, length = step - length, length * T_mult
    lowest = share(eta_min, lr)
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * step / length)) / 2


def linear(
    step: int,
    total_steps: int,
    *,
    start_factor: float = 1.0,
    end_factor: float = 0.0,
    final: float | None = None,
    total_iters: int | None = None,
) -> float:
    end, over = end_factor if final is None else final, total_iters or total_steps
    return start_factor + (end - start_factor) * min(step, over) / over


def polynomial(step: int, total_steps: int, *, power: float = 1.0, total_iters: int | None = None) -> float:
    over = total_iters or total_steps
    return float((1 - min(step, over) / over) ** power)


def step(step: int, total_steps: int | None, *, step_size: int, gamma: float = 0.1) -> float:  # noqa: ARG001
    return float(gamma ** (step // step_size))


def multi_step(step: int, total_steps: int | None, *, milestones: Sequence[int], gamma: float = 0.1) -> float:  # noqa: ARG001
    return float(gamma ** sum(step >= each for each in milestones))


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up and down in two phases, or up, down and out in three; the optimizer's rate is the peak."""

    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __call__(self, step: int, total_steps: int) -> float:
        first, last = 1 / self.div_factor, 1 / self.div_factor / self.final_div_factor
        return self.between(step, total_steps, [first, 1.0, first, last] if self.three_phase else [first, 1.0, last])

    def momentum(self, step: int, total_steps: int) -> float:
        low, high = self.base_momentum, self.max_momentum
        return self.between(step, total_steps, [high, low, high, high] if self.three_phase else [high, low, high])

    def between(self, step: int, total_steps: int, values: Sequence[float]) -> float:
        """The value at a step, going through `values`, which are reached at the ends of the phases."""
        rise = self.pct_start * total_steps
        ends = [0.0, rise - 1, *([2 * rise - 2] if self.three_phase else []), float(total_steps - 1)]
        phase = next((each for each in range(1, len(ends) - 1) if step <= ends[each]), len(ends) - 1)
        length = ends[phase] - ends[phase - 1]
        done = (step - ends[phase - 1]) / length if length else 1.0
        before, after = values[phase - 1], values[phase]
        if self.anneal_strategy == "linear":
            return before + (after - before) * done
        return after + (before - after) / 2 * (1 + math.cos(math.pi * done))


def share(rate: float, of: float) -> float:
    return rate / of if of else 0.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A factor for each step, with a linear warm-up in front."""

    factor: Factor = lambda *_: 1.0
    momentum: Callable[[int, int], float] | None = None
    """Of a step, where the schedule sets that too."""
    plateau: Plateau | None = None
    """What lowers the rates where evaluations get no better."""
    total_steps: int | None
    """Of the run; None where it is not known beforehand."""
    warmup_steps: int = 0

    @property
    def left(self) -> int | None:
        """Steps behind the warm-up."""
        return None if self.total_steps is None else max(1, self.total_steps - self.warmup_steps)

    def __call__(self, done: int, lr: float = 1.0) -> float:
        """The factor of the step that comes after `done` steps. The last step of the warm-up has the whole rate."""
        if done < self.warmup_steps:
            return (done + 1) / self.warmup_steps
        try:
            return self.factor(done - self.warmup_steps, self.left, lr)
        except TypeError as error:
            if self.left is None:
                raise WorkerError(
                    f"train.schedule wants the number of steps, and the data's length is not known: set max_steps ({error})",
                    kind="spec",
                ) from error
            raise

    def apply(self, groups: Iterable[dict[str, Any]], done: int, lowered: Sequence[float] = ()) -> None:
        """Sets the rates of an optimizer's groups for the step after `done` steps. `lowered`: by the plateau, where it did."""
        groups = list(groups)
        rates = lowered or [group["initial_lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * self(done, group["initial_lr"])
            if self.momentum is not None and self.left is not None:
                set_momentum(group, self.momentum(max(0, done - self.warmup_steps), self.left))

    def heed(self, held: Lowered, row: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], done: int) -> None:
        """After each evaluation; those within the warm-up do not count."""
        if self.plateau is not None and done > self.warmup_steps:
            self.plateau.heed(held, row, groups)


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Raises WorkerError where the optimizer has none."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = momentum
    else:
        raise WorkerError(
            "train.schedule: one_cycle moves the momentum too, and this optimizer has none. Write cycle_momentum: false",
            kind="spec",
        )


def make_schedule(spec: Train, per_epoch: int | None) -> Schedule:
    """Raises WorkerError where it does not suit the run."""
    total = spec.max_steps if spec.max_steps is not None else None if per_epoch is None else per_epoch * (spec.epochs or 0)
    target = spec.schedule
    if target is None:
        return Schedule(total_steps=total)
    # The few batches of a smoke test are no reason to write another schedule.
    longest = total if spec.limit_batches is None else None

    def steps(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [steps(name, each) for each in value]
        return in_steps(value, f"train.schedule.{name}", per_epoch, total, longest) if isinstance(value, Length) else value

    given = {name: steps(name, value) for name, value in target.arguments.items()}
    warmup = steps("warmup", target.warmup) if target.warmup and target.warmup.number else 0
    run: dict[str, Any] = {"total_steps": total, "warmup_steps": warmup}
    if target.target == "plateau":
        return Schedule(plateau=make_plateau(**given), **run)
    if target.target == "one_cycle":
        cycle = OneCycle(**given)
        return Schedule(
            factor=lambda step, total, _: cycle(step, total), momentum=cycle.momentum if cycle.cycle_momentum else None, **run
        )
    return Schedule(factor=make_factor(target, given), **run)


def make_factor(target: Target, given: dict[str, Any]) -> Factor:
    made: Any = found("schedule", target, "train.schedule")
    if isinstance(made, type) and issubclass(made, LRScheduler):
        raise WorkerError(
            f"train.schedule: {target.target} is constructed with an optimizer; a schedule here is f(step, total_steps, "
            f"**arguments) -> factor. Built in, with torch's arguments: {', '.join(names('schedule'))}",
            kind="spec",
        )
    if builtin("schedule", target) and "lr" in inspect.signature(made).parameters:
        return lambda step, total_steps, lr: made(step, total_steps, lr=lr, **given)
    return lambda step, total_steps, _: made(step, total_steps, **given)


def in_steps(length: Length, field: str, per_epoch: int | None, total: int | None, longest: int | None) -> int:
    """At least one, by which can be divided: in a short run 1% may round to none.

    Raises WorkerError where the length depends on one that is not known, or is longer than the run.
    """
    try:
        steps = max(1, length.steps(per_epoch=per_epoch, total=total))
    except ValueError as error:
        raise WorkerError(f"{field}: {error}", kind="spec") from None
    if longest is not None and steps > longest and length != ONE_EPOCH:
        raise WorkerError(
            f"{field}: {length} is {steps} steps, and the run has {longest}: write a shorter one, or make the run longer "
            "(train.epochs or train.max_steps)",
            kind="spec",
        )
    return steps
