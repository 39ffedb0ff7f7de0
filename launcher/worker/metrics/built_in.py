"""The catalogue's metrics: each is made for a name, with what it shares with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launcher.worker.metrics import errors as of_numbers
from launcher.worker.metrics.confusion import ConfusionMatrix
from launcher.worker.metrics.counts import Counts
from launcher.worker.metrics.curves import Curve
from launcher.worker.metrics.error_rate import ErrorRate
from launcher.worker.metrics.errors import Errors, OfErrors
from launcher.worker.metrics.measure import Measure
from launcher.worker.metrics.of_counts import Accuracy, Average, OfCounts
from launcher.worker.metrics.others import TopK
from launcher.worker.world import World

TORCHMETRICS = {"precision": "Precision", "recall": "Recall", "f1": "F1Score", "specificity": "Specificity"}


@dataclass
class Shared:
    """What several metrics are functions of, held once; nothing where none of them is asked for."""

    counts: Counts | None = None
    errors: Errors | None = None

    def of_classes(self, name: str) -> Counts:
        self.counts = self.counts or Counts(name)
        return self.counts

    def of_numbers(self, name: str) -> Errors:
        self.errors = self.errors or Errors(name)
        return self.errors

    @property
    def held(self) -> list[Counts | Errors]:
        return [each for each in (self.counts, self.errors) if each is not None]

    def agree(self, world: World) -> None:
        for each in self.held:
            each.agree(world)


Maker = Callable[[str, Shared], Measure | ConfusionMatrix]


def accuracy() -> Maker:
    return lambda name, shared: Accuracy(name, shared.of_classes(name))


def of_counts(*, name: str, average: Average | None = None) -> Maker:
    import torchmetrics

    make = getattr(torchmetrics, TORCHMETRICS[name])
    return lambda key, shared: OfCounts(key, shared.of_classes(key), make, average)


def curve(*, name: str, average: Average = "macro") -> Maker:
    from torchmetrics.functional import classification

    return lambda key, _: Curve(key, getattr(classification, name), average)


def of_errors(*, name: str) -> Maker:
    return lambda key, shared: OfErrors(key, shared.of_numbers(key), getattr(of_numbers, name))


def top_k(*, top_k: int = 5) -> Maker:
    return lambda name, _: TopK(name, top_k)


def confusion_matrix() -> Maker:
    return lambda name, _: ConfusionMatrix(name)


def error_rate() -> Maker:
    return lambda name, _: ErrorRate(name)
