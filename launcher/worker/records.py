"""What is written about a training: rows of metrics.jsonl and timings.jsonl, the progress line, the best values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NoReturn

from torch import Tensor

from launcher import checkpoints
from launcher.rundir import RunDir
from launcher.spec.checkpoint import Best as Monitored
from launcher.worker.build import Training
from launcher.worker.checkpoint import Saver
from launcher.worker.clock import Clock, one_hot
from launcher.worker.data.portions import Portion
from launcher.worker.errors import WorkerError
from launcher.worker.history import History
from launcher.worker.progress import Progress
from launcher.worker.state import Best, LossSums, TrainState
from launcher.worker.step import Loss
from launcher.worker.window import Window

SHOWN_IDS = 16


@dataclass
class Records:
    run: RunDir
    training: Training
    state: TrainState
    monitored: Monitored | None
    history: History
    saver: Saver
    progress: Progress
    window: Window = field(default_factory=Window)
    clock: Clock = field(default_factory=Clock)
    norm: Tensor | None = None
    """Of the newest gradient, where it is clipped."""

    def step(self, loss: Loss, norm: Tensor | None, portion: Portion) -> None:
        """After the state has moved on."""
        self.window.add(self.state.step, loss, portion, self.state.sums)
        self.clock.stepped(portion.samples)
        self.norm = norm

    def settle(self) -> tuple[float, list[list[float]]]:
        """The loss of all ranks since the last row, and each rank's times. A collective.

        Raises WorkerError where it is not finite.
        """
        world, own = self.training.world, self.clock.own()
        self.window.fold(self.state.sums)
        loss, *times = world.sum([self.state.sums["loss"], *one_hot(own, world)])
        if not math.isfinite(loss):
            self.not_finite()
        return loss, [times[first : first + len(own)] for first in range(0, len(times), len(own))]

    def row(self, settled: tuple[float, list[list[float]]], values: dict[str, float]) -> bool:
        """Writes the step's row; whether the monitored metric has a new best value. The same on all ranks."""
        state, (loss, times) = self.state, settled
        mean = loss / state.sums["weight"] if state.sums["weight"] else math.nan
        row: dict[str, Any] = {
            "epoch": epoch(state, self.training.per_epoch),
            "train/loss": mean,
            "lr": state.optimizer.param_groups[0]["lr"],
        }
        if self.norm is not None:
            row["grad_norm"] = self.norm.item()
        row |= values
        state.sums = LossSums(loss=0.0, weight=0.0)
        improved = self.improves(row)
        if values or improved:
            state.metrics, state.evaluated = {"train/loss": mean, **values}, state.step
        self.history.row(state.step, row)
        self.history.timing(state.step, self.clock.row(times, self.training.world.device))
        self.progress.row(state.step, row, self.clock.samples / self.clock.training_s)
        self.clock = Clock()
        return improved

    def improves(self, row: dict[str, Any]) -> bool:
        """Keeps a new best value. NaN never is one; of equals the first stays."""
        if self.monitored is None or math.isnan(value := row.get(self.monitored.monitor, math.nan)):
            return False
        sign = 1 if self.monitored.mode == "min" else -1
        best = self.state.best.get(self.monitored.monitor)
        if best is not None and sign * value >= sign * best["value"]:
            return False
        self.state.best[self.monitored.monitor] = Best(value=value, step=self.state.step)
        return True

    def metrics(self) -> dict[str, float]:
        """Of the weights as they are now; none where they were not evaluated."""
        return self.state.metrics if self.state.evaluated == self.state.step else {}

    def not_finite(self) -> NoReturn:
        """A collective."""
        bad = [(*each, rank) for rank, each in enumerate(self.training.world.gather(self.window.bad)) if each is not None]
        assert bad, "a loss that is not finite comes from some step"
        step, ids, rank = min(bad, key=lambda each: (each[0], each[2]))
        self.saver.wait()
        standing = checkpoints.checkpoints(self.run)
        good = self.training.world.broadcast(standing[-1].path.name if standing else None)
        shown = ", ".join(map(str, ids[:SHOWN_IDS])) + (f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else "")
        raise WorkerError(
            f"the training loss became infinite or NaN at step {step} on rank {rank}, samples {shown} of train.data.train. "
            f"Nothing was saved since; the last good checkpoint is {good or 'none'}. Look at these samples, or write a smaller "
            "train.optimizer.lr, or train.clip_grad_norm",
            kind="nan", details={"step": step, "rank": rank, "samples": ids, "checkpoint": good},
        )  # fmt: skip


def epoch(state: TrainState, per_epoch: int | None) -> float:
    """Epochs done, with the share of the one under way where its length is known."""
    return round(state.epoch + (state.batch / per_epoch if per_epoch else 0), 6)
