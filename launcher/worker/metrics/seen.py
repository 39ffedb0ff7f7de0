"""One batch of an evaluation as metrics look at it: which class is wanted, which is found, how likely each is.

Worked out once, for all metrics; nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from launcher.worker.data import nested
from launcher.worker.errors import WorkerError
from launcher.worker.losses import Objective, target_of
from launcher.worker.losses.elementwise import same_but_for_one

HALF = 0.5


@dataclass(frozen=True)
class Task:
    kind: Literal["binary", "multiclass", "multilabel"]
    """`binary`: two classes, told by one output."""
    wide: int
    """Classes, or labels that are each a yes or no."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How outputs and targets are to be read, by what the loss says of them."""

    labels: Literal["classes", "bits"] | None = None
    """None where the loss says nothing: then shapes and dtypes tell."""
    gives: Literal["logits", "probabilities"] = "logits"
    ignored: int | None = None
    """A class index that does not count."""
    blank: int = 0
    """Of ctc."""


def reading_of(objective: Objective) -> Reading:
    loss = objective.loss
    labels = getattr(loss, "labels", None)
    return Reading(
        labels=labels, gives=getattr(loss, "gives", "logits"),
        ignored=getattr(loss, "ignore_index", None) if labels == "classes" else None, blank=getattr(loss, "blank", 0),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Seen:
    output: Any
    batch: Any
    at: int
    """The position of its first sample in the set."""
    reading: Reading = Reading()
    first: bool = False
    """Whether to look at the targets' values too, which waits for the device."""

    @cached_property
    def target(self) -> Any:
        return target_of(self.batch)

    @cached_property
    def task(self) -> Task | None:
        """None where targets are no classes."""
        output, target = self.output, self.target
        if not isinstance(output, Tensor) or not isinstance(target, Tensor) or not output.ndim:
            return None
        wide = 1 if output.ndim == 1 else output.shape[1]
        alike = output.shape == target.shape or (wide == 1 and output.numel() == target.numel())
        if self.reading.labels == "bits" or (alike and wide == 1 and self.reading.labels is None):
            return (Task("binary", 2) if wide == 1 else Task("multilabel", wide)) if alike else None
        if alike and not target.is_floating_point() and self.reading.labels is None:
            return Task("multilabel", wide)
        by_index = not target.is_floating_point() and target.shape == output.shape[:1] + output.shape[2:]
        return Task("multiclass", wide) if wide > 1 and (by_index or alike) else None

    def classes(self, name: str) -> Task:
        """Raises WorkerError where targets are no classes."""
        if self.task is None or (self.first and not self.are_shares(self.task)):
            raise self.unfit(name, "compares classes")
        return self.task

    def are_shares(self, task: Task) -> bool:
        """Whether targets that are no integers can stand for classes."""
        target: Tensor = self.target
        if not target.is_floating_point() or not target.numel():
            return True
        one = (target.sum(1) - 1).abs().max() < 1e-2 if task.kind == "multiclass" else True
        return bool(one) and 0 <= float(target.min()) <= float(target.max()) <= 1

    def unfit(self, name: str, wanted: str) -> WorkerError:
        given = f"the target is {nested.described(self.target)} and the model's output {nested.described(self.output)}"
        return WorkerError(f"train.metrics: {name} {wanted}, and {given}", kind="spec")

    @cached_property
    def wanted(self) -> Tensor:
        """Classes (samples,) in int64, -1 where one does not count; where each label is a yes or no, bits (samples, labels)."""
        assert self.task is not None
        target: Tensor = self.target
        if self.task.kind == "multilabel":
            return self.in_rows(target > HALF)
        if self.task.kind == "binary":
            return (target > HALF).flatten().long()
        if target.is_floating_point():
            return target.argmax(1).flatten()
        target = target.flatten().long()
        return target if self.reading.ignored is None else target.masked_fill(target == self.reading.ignored, -1)

    @cached_property
    def found(self) -> Tensor:
        """As `wanted`; of one logit its side of 0 tells, of one probability that of a half."""
        assert self.task is not None
        if self.task.kind == "multiclass":
            return self.output.argmax(1).flatten()  # type: ignore[no-any-return]
        bits: Tensor = self.output > (HALF if self.reading.gives == "probabilities" else 0.0)
        return self.in_rows(bits) if self.task.kind == "multilabel" else bits.flatten().long()

    @cached_property
    def likely(self) -> Tensor:
        """In float64: probabilities (samples, classes); of one output (samples,)."""
        assert self.task is not None
        output = self.output.double()
        if self.task.kind == "multiclass":
            return self.in_rows(output).softmax(1)
        likely = output if self.reading.gives == "probabilities" else output.sigmoid()
        return self.in_rows(likely) if self.task.kind == "multilabel" else likely.flatten()

    def in_rows(self, values: Tensor) -> Tensor:
        """(N, classes, ...) as (samples, classes): each pixel is a sample."""
        return values.movedim(1, -1).flatten(0, -2)

    def numbers(self, name: str) -> tuple[Tensor, Tensor]:
        """Output and target in float64, (N,) or (N, outputs). Raises WorkerError where they are not of one shape."""
        output, target = self.output, self.target
        if not isinstance(output, Tensor) or not isinstance(target, Tensor) or not same_but_for_one(output, target):
            raise self.unfit(name, "compares numbers and wants targets of the output's shape")
        rows = output.flatten(1) if output.ndim > 1 else output[:, None]
        return rows.double(), target.reshape(rows.shape).double()
