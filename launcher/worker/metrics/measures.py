"""All metrics of a job, together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.spec.monitor import metric_key
from launcher.spec.target import Target
from launcher.worker.metrics.built_in import Shared
from launcher.worker.metrics.confusion import ConfusionMatrix
from launcher.worker.metrics.measure import Measure
from launcher.worker.metrics.one_class import OneClass, one_class
from launcher.worker.metrics.others import FromTorchmetrics, OfWholeSet
from launcher.worker.metrics.seen import Reading, Seen
from launcher.worker.targets import builtin, constructed_or_bound
from launcher.worker.world import World

Table = list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What an evaluation found that is no number."""

    tables: dict[str, Table]
    one_class: OneClass | None


@dataclass
class Measures:
    reading: Reading
    shared: Shared = field(default_factory=Shared)
    numbers: list[Measure] = field(default_factory=list)
    matrices: list[ConfusionMatrix] = field(default_factory=list)

    def start(self) -> None:
        for each in (*self.shared.held, *self.numbers, *self.matrices):
            each.start()

    def add(self, output: Any, batch: Any, at: int, *, first: bool = False) -> None:
        """One batch of this rank's samples; `at`: the position of its first in the set. Raises WorkerError.

        `first`: whether to look closely at what is compared.
        """
        seen = Seen(output=output, batch=batch, at=at, reading=self.reading, first=first)
        for each in (*self.shared.held, *self.numbers, *self.matrices):
            each.add(seen)

    def values(self, world: World) -> dict[str, float]:
        """Of all ranks' samples, by name. A collective.

        What follows from them must be the same on all ranks, and a metric may draw: so rank 0's are everybody's.
        """
        self.shared.agree(world)
        return world.broadcast({each.name: each.value(world) for each in self.numbers})

    def beside(self, world: World) -> Beside:
        """After `values`. A collective."""
        counts = self.shared.counts
        return Beside(
            tables={each.name: each.table(world) for each in self.matrices}, one_class=one_class(counts) if counts else None
        )


def make_measures(targets: list[Target], reading: Reading) -> Measures:
    measures = Measures(reading)
    for number, target in enumerate(targets):
        made = make_measure(target, f"train.metrics[{number}]", measures.shared)
        if isinstance(made, ConfusionMatrix):
            measures.matrices.append(made)
        else:
            measures.numbers.append(made)
    return measures


def make_measure(target: Target, field: str, shared: Shared) -> Measure | ConfusionMatrix:
    made: Any = constructed_or_bound("metric", target, field)
    name = metric_key(target.target)
    if builtin("metric", target):
        return made(name, shared)  # type: ignore[no-any-return]
    if hasattr(made, "_reductions") and hasattr(made, "compute"):
        return FromTorchmetrics(made, name)
    return OfWholeSet(made, name)
