"""What resuming a training needs, as one named thing.

Randomness is not in it: every random stream is a function of (seed, epoch, sample) or (seed, step, rank), see randomness.py. Nor
is the learning rate: it is a function of the step, see schedules.py, and of what evaluations lowered it to, see plateau.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypedDict

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from launcher.worker.ema import Ema
from launcher.worker.plateau import Lowered, nothing_lowered
from launcher.worker.world import World


class Best(TypedDict):
    """The best value of a metric so far, and the step that had it."""

    value: float
    step: int


def better(value: float, than: float | None, mode: str) -> bool:
    """Whether a value is the new best one. NaN and infinity never are; of equals the first stays."""
    if not math.isfinite(value):
        return False
    return than is None or (value < than if mode == "min" else value > than)


class Waiting(TypedDict):
    """What early stopping waits for."""

    best: float | None
    """The value to beat."""
    step: int
    """Where it was reached."""
    evaluations: int
    """Since then."""
    ended: str | None
    """Why the training is over, once it is."""


class LossSums(TypedDict):
    """One rank's training loss since the last row: plain floats, added up in the order of the steps."""

    loss: float
    """Sum over samples; the loss's own weight counts where it has one."""
    weight: float
    """Of all ranks' samples."""


@dataclass(kw_only=True)
class TrainState:
    """Everything that a step changes. `model` is the user's module itself, never a wrapper."""

    model: nn.Module
    optimizer: Optimizer
    scaler: GradScaler | None = None
    """Of fp16 alone."""
    ema: Ema | None = None
    """The weights' average, where the job wants one."""
    step: int = 0
    """Optimizer steps done; the schedule's position too."""
    epoch: int = 0
    """Of the next batch, from 0."""
    batch: int = 0
    """Index of the next batch in its epoch, from 0."""
    best: dict[str, Best] = field(default_factory=dict)
    """By logged key, such as `val/accuracy`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the newest evaluation."""
    evaluated: int = 0
    """The step of the newest evaluation."""
    plateau: Lowered = field(default_factory=nothing_lowered)
    """Of a schedule that heeds evaluations."""
    waiting: Waiting = field(default_factory=lambda: Waiting(best=None, step=0, evaluations=0, ended=None))
    """What early stopping waits for."""
    sums: LossSums = field(default_factory=lambda: LossSums(loss=0.0, weight=0.0))
    """This rank's."""
    sums_by_rank: list[LossSums] = field(default_factory=list)
    """Every rank's, as last collected."""

    def collect(self, world: World) -> None:
        """Brings the ranks' own parts together for to_json(). All ranks call it, before each save."""
        self.sums_by_rank = world.gather(self.sums)

    def to_json(self) -> dict[str, Any]:
        """All but the tensors, of all ranks; as of the last collect()."""
        return {
            "step": self.step, "epoch": self.epoch, "batch": self.batch, "best": self.best, "metrics": self.metrics,
            "evaluated": self.evaluated, "plateau": self.plateau, "waiting": self.waiting, "sums": self.sums_by_rank,
        }  # fmt: skip

    def from_json(self, stored: dict[str, Any], world: World) -> None:
        """Takes over what to_json() gave, at the same or another world size."""
        self.step, self.epoch, self.batch = stored["step"], stored["epoch"], stored["batch"]
        self.best, self.metrics, self.evaluated = stored["best"], stored["metrics"], stored["evaluated"]
        self.plateau = stored.get("plateau", self.plateau)
        self.waiting = stored.get("waiting", self.waiting)
        self.sums = share(stored["sums"], world)


def share(sums: list[LossSums], world: World) -> LossSums:
    """What a rank goes on from: its own sums, or, at another world size, rank 0 with everybody's."""
    if len(sums) == world.world_size:
        return sums[world.rank]
    loss = sum(each["loss"] for each in sums) if world.rank == 0 else 0.0
    return LossSums(loss=loss, weight=sums[0]["weight"] if sums else 0.0)
