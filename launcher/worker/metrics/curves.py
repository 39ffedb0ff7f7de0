"""Metrics of how samples are ranked: areas under curves, by torchmetrics, in one process over all samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from launcher.worker.metrics.of_counts import Average
from launcher.worker.metrics.rows import Rows
from launcher.worker.metrics.seen import Seen, Task
from launcher.worker.world import World


@dataclass
class Curve:
    """A class that has no targets, or no others, has no curve and counts for nothing; without any the value is NaN."""

    name: str
    function: Callable[..., Any]
    """torchmetrics.functional's."""
    average: Average
    task: Task | None = None
    likely: Rows = field(default_factory=Rows)
    wanted: Rows = field(default_factory=Rows)

    def start(self) -> None:
        self.task, self.likely, self.wanted = None, Rows(), Rows()

    def add(self, seen: Seen) -> None:
        self.task = seen.classes(self.name)
        self.likely.add(seen.likely.cpu())
        self.wanted.add(seen.wanted.cpu())

    def value(self, world: World) -> float:
        by_rank = world.gather((self.task, self.likely.parts(), self.wanted.parts()))
        return self.of(by_rank) if world.first else math.nan

    def of(self, by_rank: list[tuple[Task | None, list[Tensor], list[Tensor]]]) -> float:
        task = next((task for task, _, _ in by_rank if task is not None), None)
        if task is None:
            return math.nan
        likely, wanted = (torch.cat(list(chain.from_iterable(parts))) for parts in list(zip(*by_rank, strict=True))[1:])
        if task.kind != "multilabel":
            likely, wanted = likely[wanted >= 0], wanted[wanted >= 0]
        return averaged(self.by_class(task, likely, wanted), ones(task, wanted), len(wanted), self.average)

    def by_class(self, task: Task, likely: Tensor, wanted: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes without a curve: they are left out
            if task.kind == "multilabel":
                return self.function(likely, wanted.long(), task="multilabel", num_labels=task.wide, average="none")  # type: ignore[no-any-return]
            if task.wide == 2:
                of_second = likely if likely.ndim == 1 else likely[:, 1]
                return self.function(of_second, wanted, task="binary").view(1)  # type: ignore[no-any-return]
            return self.function(likely, wanted, task="multiclass", num_classes=task.wide, average="none")  # type: ignore[no-any-return]


def ones(task: Task, wanted: Tensor) -> Tensor:
    """How many samples have each class, or each label."""
    if task.kind == "multilabel":
        return wanted.sum(0).double()
    counts = torch.bincount(wanted, minlength=task.wide).double()
    return counts[1:] if task.wide == 2 else counts


def averaged(values: Tensor, support: Tensor, samples: int, average: str) -> float:
    has_curve = (support > 0) & (support < samples)
    if not bool(has_curve.any()):
        return math.nan
    weights = support[has_curve] if average == "weighted" else torch.ones_like(support[has_curve])
    return float((values[has_curve].double() * weights).sum() / weights.sum())
