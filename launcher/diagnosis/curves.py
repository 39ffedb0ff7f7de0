"""A metric over the run, and what can be said of its course. Medians throughout: one odd row decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from launcher.diagnosis.verdict import Evidence, Row

SCORES = ("accuracy", "f1", "top_k", "auroc", "precision", "recall", "average_precision", "specificity", "r2")
"""Metrics of which 1 is all that can be had."""


@dataclass(frozen=True)
class Point:
    metric: str
    step: int
    epoch: float | None
    value: float

    @property
    def evidence(self) -> Evidence:
        return Evidence(metric=self.metric, value=self.value, step=self.step, epoch=self.epoch)


Curve = Sequence[Point]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def curve(rows: Iterable[Row], key: str) -> list[Point]:
    """Its finite values, in order."""
    return [Point(key, row["step"], row.get("epoch"), float(row[key])) for row in rows if number(row.get(key))]


def level(points: Curve) -> float:
    return median(point.value for point in points)


def typical(points: Curve) -> Point:
    """The row in the middle of their values."""
    return sorted(points, key=lambda point: point.value)[len(points) // 2]


def parts(points: Curve, count: int) -> list[Curve]:
    """The course in so many stretches of about equal length, each with a point at least."""
    edges = [round(number * len(points) / count) for number in range(count + 1)]
    return [points[begin:end] for begin, end in pairwise(edges) if end > begin]


def apart(points: Curve) -> float:
    """The usual distance of neighbours."""
    steps = [abs(after.value - before.value) for before, after in pairwise(points)]
    return median(steps) if steps else 0.0


def noise(points: Curve) -> float:
    """By how much a stretch's level is off: from the distance of neighbours, of which a trend has little part."""
    return apart(points) / math.sqrt(len(points) / 4) if points else 0.0


def lowest(points: Curve) -> Point:
    return min(points, key=lambda point: point.value)


def scores(rows: Sequence[Row]) -> list[list[Point]]:
    """The validation curves of metrics that end at 1."""
    return [found for name in SCORES if (found := curve(rows, f"val/{name}"))]


def solved(rows: Sequence[Row], *, enough: float = 0.95) -> bool:
    """Whether every score is so good at the end that nothing is wrong with the fit. Without a score nobody knows."""
    found = scores(rows)
    return bool(found) and all(points[-1].value >= enough for points in found)


def clearest(rows: Sequence[Row]) -> list[Point]:
    """The loss without the noise of batches, where there are evaluations enough to have a course."""
    val = curve(rows, "val/loss")
    return val if len(val) >= 4 else curve(rows, "train/loss")


def long_enough(points: Curve, *, rows: int = 8, steps: int = 40) -> bool:
    """A smoke test shows no course."""
    return len(points) >= rows and points[-1].step >= steps


def peak_rate(rows: Sequence[Row]) -> Point | None:
    """The highest learning rate that was logged: of its warm-up's end, where there is one."""
    return max(curve(rows, "lr"), key=lambda point: point.value, default=None)


def rounded(value: float) -> str:
    """As one writes it in a job."""
    return f"{value:.2g}"
