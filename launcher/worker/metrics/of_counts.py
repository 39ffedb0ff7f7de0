"""Metrics that torchmetrics computes from the counts of all classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from launcher.worker.metrics.counts import Counts
from launcher.worker.metrics.measure import as_number
from launcher.worker.metrics.seen import Seen, Task
from launcher.worker.world import World

Average = Literal["micro", "macro", "weighted"]
STATES = ("tp", "fp", "tn", "fn")


@dataclass
class Accuracy:
    """Share of samples whose class is found; of labels that are each a yes or no, share of these that are.

    Written out: torchmetrics takes three seconds to import.
    """

    name: str
    counts: Counts

    def start(self) -> None: ...

    def add(self, seen: Seen) -> None: ...

    def value(self, world: World) -> float:  # noqa: ARG002
        counts = self.counts
        if counts.task is None or counts.counted is None or not counts.whole:
            return math.nan
        right, _, rightly_not, _ = (float(state.sum()) for state in counts.states())
        if counts.task.kind != "multilabel":
            return right / float(counts.whole)
        return (right + rightly_not) / (float(counts.whole) * counts.task.wide)


@dataclass
class OfCounts:
    """Of torchmetrics' kind: its states are the counts."""

    name: str
    counts: Counts
    make: Callable[..., Any]
    average: Average | None
    """None: of two classes the second's own value, as scikit-learn has it, and of more the mean over classes."""

    def start(self) -> None: ...

    def add(self, seen: Seen) -> None: ...

    def value(self, world: World) -> float:  # noqa: ARG002
        counts = self.counts
        if counts.task is None or not counts.whole:
            return math.nan
        metric, states = self.made(counts.task), counts.states()
        if self.of_second(counts.task):
            states = tuple(state[-1] for state in states)  # type: ignore[assignment]
        for name, state in zip(STATES, states, strict=True):
            setattr(metric, name, state)
        metric._update_count = 1
        return as_number(metric.compute(), self.name)

    def of_second(self, task: Task) -> bool:
        return self.average is None and task.kind != "multilabel" and task.wide == 2

    def made(self, task: Task) -> Any:
        if self.of_second(task):
            return self.make(task="binary")
        size = {"num_labels": task.wide} if task.kind == "multilabel" else {"num_classes": task.wide}
        kind = "multilabel" if task.kind == "multilabel" else "multiclass"
        return self.make(task=kind, average=self.average or "macro", **size)
