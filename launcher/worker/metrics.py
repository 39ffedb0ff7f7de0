"""What is measured beside the loss: exact over all samples of an evaluation, however they are spread over ranks.

torchmetrics objects     their states are added up over ranks, counts in float64, and computed once
anything else callable   f(outputs, targets) of the whole set, on rank 0: exact for any function, at the price of keeping outputs
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

import torch
from torch import Tensor

from launcher.spec.monitor import metric_key
from launcher.spec.target import Target
from launcher.worker.data.nested import mapped, tensors
from launcher.worker.errors import WorkerError
from launcher.worker.losses import target_of
from launcher.worker.targets import builtin, constructed_or_bound
from launcher.worker.world import World


class Measure(Protocol):
    name: str

    def start(self) -> None: ...

    def add(self, output: Any, batch: Any, at: int) -> None:
        """One batch of this rank's samples, on any device; `at`: the position of its first in the set."""

    def value(self, world: World) -> float:
        """Of all ranks' samples. A collective."""


@dataclass
class Accuracy:
    """Share of samples whose largest output is the target; of two classes told by one logit, whose side of 0 it is.

    Written out: torchmetrics takes three seconds to import, and counts in float32.
    """

    name: str = "accuracy"
    counts: Tensor | None = None
    """Right ones and all, on the outputs' device."""

    def start(self) -> None:
        self.counts = None

    def add(self, output: Tensor, batch: Any, at: int) -> None:  # noqa: ARG002
        target = target_of(batch)
        one_logit = output.ndim == 1 or output.shape[1] == 1
        found = (output.reshape(target.shape) > 0).to(target.dtype) if one_logit else output.argmax(1)
        wanted = target.argmax(1) if target.is_floating_point() and target.shape == output.shape and not one_logit else target
        right = (found == wanted).sum(dtype=torch.float64)
        counts = torch.stack((right, torch.full_like(right, wanted.numel())))
        self.counts = counts if self.counts is None else self.counts + counts

    def value(self, world: World) -> float:
        right, samples = world.sum([0.0, 0.0] if self.counts is None else self.counts.tolist())
        return right / samples if samples else math.nan


@dataclass
class FromTorchmetrics:
    """A torchmetrics object of the user's own choice."""

    metric: Any
    name: str

    def start(self) -> None:
        self.metric.reset()

    def add(self, output: Any, batch: Any, at: int) -> None:  # noqa: ARG002
        self.metric.to(next(tensors(output)).device)
        self.metric.update(output, target_of(batch))

    def value(self, world: World) -> float:
        return computed(self.metric, world, self.name)


@dataclass
class OfWholeSet:
    """A function of all outputs and all targets, in the order of samples."""

    function: Callable[[Any, Any], Any]
    name: str
    kept: list[tuple[int, Any, Any]] = field(default_factory=list)

    def start(self) -> None:
        self.kept = []

    def add(self, output: Any, batch: Any, at: int) -> None:
        on_host: tuple[Any, Any] = mapped((output, target_of(batch)), lambda tensor: tensor.cpu())
        self.kept.append((at, *on_host))

    def value(self, world: World) -> float:
        by_rank = world.gather(self.kept)
        if not world.first:
            return world.broadcast(0.0)
        in_order = sorted(chain.from_iterable(by_rank), key=itemgetter(0))
        outputs, targets = joined([output for _, output, _ in in_order]), joined([target for _, _, target in in_order])
        return world.broadcast(as_number(self.function(outputs, targets), self.name))


def joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: joined([part[key] for part in parts]) for key in first}
    return [joined(list(column)) for column in zip(*parts, strict=True)]


def computed(metric: Any, world: World, name: str) -> float:
    """A torchmetrics metric over all ranks' states."""
    states = {state: on_host(getattr(metric, state)) for state in metric._defaults}
    by_rank = world.gather(states)
    metric.to("cpu")
    # Its states are everybody's already: compute() would add them up again. (sync_on_compute counts when it is constructed.)
    metric.distributed_available_fn = lambda: False
    metric._update_count = max(1, metric._update_count)
    for state, reduce in metric._reductions.items():
        setattr(metric, state, reduced([each[state] for each in by_rank], reduce))
    return as_number(metric.compute(), name)


def on_host(state: Any) -> Any:
    return [each.cpu() for each in state] if isinstance(state, list) else state.cpu()


def reduced(parts: list[Any], reduce: Callable[[Tensor], Tensor] | None) -> Any:
    """One state of all ranks, as torchmetrics itself would bring it together; counts in float64."""
    if isinstance(parts[0], list):
        return [tensor for part in parts for tensor in part]
    stacked = torch.stack([part if part.is_floating_point() else part.double() for part in parts])
    return stacked if reduce is None else reduce(stacked)


def as_number(value: Any, name: str) -> float:
    """Raises WorkerError where it is not one number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r:.100}"
        raise WorkerError(f"train.metrics: {name} gives {what}; a metric gives one number", kind="spec") from error


def accuracy() -> Accuracy:
    return Accuracy()


def make_measures(targets: list[Target]) -> list[Measure]:
    return [make_measure(target, f"train.metrics[{number}]") for number, target in enumerate(targets)]


def make_measure(target: Target, field: str) -> Measure:
    made: Any = constructed_or_bound("metric", target, field)
    name = metric_key(target.target)
    if builtin("metric", target):
        made.name = name
        return made  # type: ignore[no-any-return]
    if hasattr(made, "_reductions") and hasattr(made, "compute"):
        return FromTorchmetrics(made, name)
    return OfWholeSet(made, name)
