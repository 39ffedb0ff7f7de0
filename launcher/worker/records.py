"""What is written about a training: rows of metrics.jsonl and timings.jsonl, the progress line, the best values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NoReturn

import torch
from torch import Tensor

from launcher import checkpoints
from launcher.rundir import RunDir
from launcher.spec.checkpoint import Best as Monitored
from launcher.worker import batch_norm
from launcher.worker.beside import write_beside
from launcher.worker.build import Training
from launcher.worker.checkpoint import Saver
from launcher.worker.clock import Clock, one_hot
from launcher.worker.data.portions import Portion
from launcher.worker.errors import WorkerError
from launcher.worker.history import History
from launcher.worker.progress import Progress
from launcher.worker.state import Best, LossSums, TrainState, better
from launcher.worker.step import Loss
from launcher.worker.window import Window

SHOWN_IDS = 16


@dataclass
class Records:
    run: RunDir
    training: Training
    state: TrainState
    history: History
    saver: Saver
    progress: Progress
    window: Window = field(default_factory=Window)
    clock: Clock = field(default_factory=Clock)
    norm: Tensor | None = None
    """Of the newest gradient, where it is clipped."""
    layers: dict[str, float] = field(default_factory=dict)
    """What the step did to them, where it was looked at."""

    @property
    def monitored(self) -> Monitored | None:
        return self.training.job.keep_best

    def __post_init__(self) -> None:
        """The best so far is what the checkpoints that stand say: job.yaml may ask for another metric now. A collective."""
        if self.monitored is not None and self.state.step:
            world = self.training.world
            self.state.best = world.broadcast(best_standing(self.run, self.monitored) if world.first else {})

    def step(self, loss: Loss, norm: Tensor | None, portion: Portion) -> None:
        """After the state has moved on."""
        self.window.add(self.state.step, loss, portion, self.state.sums)
        self.clock.stepped(portion.samples)
        self.norm = norm

    def settle(self) -> tuple[float, list[list[float]]]:
        """The loss of all ranks since the last row, and each rank's times. A collective.

        Raises WorkerError where it is not finite.
        """
        world, layers = self.training.world, self.training.layers
        own = self.clock.own(self.training.meter.compute_s(self.clock.steps))
        self.layers = layers.row(world) if layers.step == self.state.step else {}
        self.window.fold(self.state.sums)
        loss, *times = world.sum([self.state.sums["loss"], *one_hot(own, world)])
        if not math.isfinite(loss):
            self.not_finite()
        return loss, [times[first : first + len(own)] for first in range(0, len(times), len(own))]

    def row(self, settled: tuple[float, list[list[float]]], values: dict[str, float]) -> bool:
        """Writes the step's row; whether the monitored metric has a new best value. The same on all ranks."""
        state = self.state
        row = self.measured(settled) | values
        state.sums = LossSums(loss=0.0, weight=0.0)
        improved = self.improves(row)
        if values:
            self.training.schedule.heed(state.plateau, row, state.optimizer.param_groups, state.step)
        if values or improved:
            state.metrics, state.evaluated = {"train/loss": row["train/loss"], **values}, state.step
        if improved and self.monitored is not None:
            state.metrics[self.monitored.monitor] = row[self.monitored.monitor]
        self.history.row(state.step, row)
        write_beside(self.run, self.training, state.step)
        timing = self.clock.row(settled[1], self.training.world.device) | self.training.meter.row(state.scaler)
        self.history.timing(state.step, timing)
        self.progress.row(state.step, row, self.clock.samples / self.clock.training_s)
        self.clock = Clock()
        self.training.meter.restart()
        return improved

    def measured(self, settled: tuple[float, list[list[float]]]) -> dict[str, Any]:
        """What a row says where nothing was evaluated."""
        state, weight = self.state, self.state.sums["weight"]
        row = {
            "epoch": epoch(state, self.training.per_epoch),
            "train/loss": settled[0] / weight if weight else math.nan,
            "lr": state.optimizer.param_groups[-1]["lr"],  # train.optimizer.lr's: those of its `groups` stand before
        }
        return row | ({} if self.norm is None else {"grad_norm": self.norm.item()}) | self.layers

    def improves(self, row: dict[str, Any]) -> bool:
        """Keeps a new best value."""
        if self.monitored is None:
            return False
        monitor, mode, best = self.monitored.monitor, self.monitored.mode, self.state.best
        value = row.get(monitor, math.nan)
        if not better(value, best[monitor]["value"] if monitor in best else None, mode):
            return False
        best[monitor] = Best(value=value, step=self.state.step)
        return True

    def metrics(self) -> dict[str, float]:
        """Of the weights as they are now; none where they were not evaluated."""
        return self.state.metrics if self.state.evaluated == self.state.step else {}

    def refuse_broken_weights(self) -> None:
        """Before they are saved. A finite loss can have a gradient that is not. A collective; raises WorkerError."""
        world, step = self.training.world, self.state.step
        if not world.sum([float(not finite(self.training))])[0]:
            return
        good = self.last_good()
        raise WorkerError(
            f"the weights became NaN or infinite though the loss was finite, at or before step {step}. They were not saved; "
            f"{standing(good)}. 'debug --anomaly' names the operation whose gradient is NaN; or write a "
            "smaller train.optimizer.lr, or train.clip_grad_norm",
            kind="nan", details={"step": step, "checkpoint": good},
        )  # fmt: skip

    def last_good(self) -> str | None:
        """Name of the newest checkpoint, the one under way included. A collective."""
        self.saver.wait()
        standing = checkpoints.checkpoints(self.run)
        return self.training.world.broadcast(standing[-1].path.name if standing else None)

    def not_finite(self) -> NoReturn:
        """A collective."""
        bad = [(*each, rank) for rank, each in enumerate(self.training.world.gather(self.window.bad)) if each is not None]
        assert bad, "a loss that is not finite comes from some step"
        step, ids, rank = min(bad, key=lambda each: (each[0], each[2]))
        good = self.last_good()
        shown = ", ".join(map(str, ids[:SHOWN_IDS])) + (f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else "")
        raise WorkerError(
            f"the training loss became infinite or NaN at step {step} on rank {rank}, samples {shown} of train.data.train. "
            f"Nothing was saved since; {standing(good)}. Look at these samples, or write a smaller "
            "train.optimizer.lr, or train.clip_grad_norm",
            kind="nan", details={"step": step, "rank": rank, "samples": ids, "checkpoint": good},
        )  # fmt: skip


def standing(good: str | None) -> str:
    return f"the last good checkpoint is {good}" if good else "there is no earlier checkpoint"


def finite(training: Training) -> bool:
    """Whether what training changes is: the weights and batch norm's statistics. Waits for the device once.

    Other buffers may be infinite on purpose, such as an attention mask.
    """
    statistics = chain.from_iterable(batch_norm.statistics(norm) for norm in batch_norm.norms(training.model))
    held = [tensor.detach() for tensor in chain(training.parameters, statistics) if tensor.is_floating_point() and tensor.numel()]
    return not held or bool(torch.stack([norm.double() for norm in torch._foreach_norm(held, math.inf)]).isfinite().all())


def best_standing(run: RunDir, monitored: Monitored) -> dict[str, Best]:
    best = checkpoints.best(run, monitored.monitor, monitored.mode, every_byte=False)
    return {monitored.monitor: Best(value=best.manifest["metrics"][monitored.monitor], step=best.step)} if best else {}


def epoch(state: TrainState, per_epoch: int | None) -> float:
    """Epochs done, with the share of the one under way where its length is known."""
    return round(state.epoch + (state.batch / per_epoch if per_epoch else 0), 6)
