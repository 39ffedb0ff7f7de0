"""Metrics with a state of their own: top_k, a user's torchmetrics object, a user's function of the whole set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from launcher.worker.data.nested import mapped, tensors
from launcher.worker.metrics.measure import as_number
from launcher.worker.metrics.seen import Seen
from launcher.worker.world import World


@dataclass
class TopK:
    """Share of samples whose class has one of the k largest outputs; one that is as large as the k-th counts as found."""

    name: str
    k: int
    counted: Tensor | None = None
    """Found ones and all."""

    def start(self) -> None:
        self.counted = None

    def add(self, seen: Seen) -> None:
        if seen.classes(self.name).kind != "multiclass":
            raise seen.unfit(self.name, "wants an output for each class")
        outputs, wanted = seen.in_rows(seen.output), seen.wanted
        own = outputs.gather(1, wanted.clamp(min=0)[:, None])
        found = ((outputs > own).sum(1) < self.k) & (wanted >= 0)
        counted = torch.stack([found.sum(dtype=torch.float64), (wanted >= 0).sum(dtype=torch.float64)])
        self.counted = counted if self.counted is None else self.counted + counted

    def value(self, world: World) -> float:
        found, samples = world.sum([0.0, 0.0] if self.counted is None else self.counted.tolist())
        return found / samples if samples else math.nan


@dataclass
class FromTorchmetrics:
    """A torchmetrics object of the user's own choice."""

    metric: Any
    name: str

    def start(self) -> None:
        self.metric.reset()

    def add(self, seen: Seen) -> None:
        self.metric.to(next(tensors(seen.output)).device)
        self.metric.update(seen.output, seen.target)

    def value(self, world: World) -> float:
        return computed(self.metric, world, self.name)


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


@dataclass
class OfWholeSet:
    """A function of all outputs and all targets, in the order of samples."""

    function: Callable[[Any, Any], Any]
    name: str
    kept: list[tuple[int, Any, Any]] = field(default_factory=list)

    def start(self) -> None:
        self.kept = []

    def add(self, seen: Seen) -> None:
        on_host: tuple[Any, Any] = mapped((seen.output, seen.target), lambda tensor: tensor.cpu())
        self.kept.append((seen.at, *on_host))

    def value(self, world: World) -> float:
        by_rank = world.gather(self.kept)
        if not world.first:
            return math.nan
        in_order = sorted(chain.from_iterable(by_rank), key=itemgetter(0))
        outputs, targets = joined([output for _, output, _ in in_order]), joined([target for _, _, target in in_order])
        return as_number(self.function(outputs, targets), self.name)


def joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: joined([part[key] for part in parts]) for key in first}
    return [joined(list(column)) for column in zip(*parts, strict=True)]
