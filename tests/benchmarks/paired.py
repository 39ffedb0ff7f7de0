"""Two ways of doing the same, timed in turn (A B A B ...), so that a ratio holds while a noisy machine drifts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence


def in_turn(first: Callable[[], float], second: Callable[[], float], *, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each, after one uncounted pair."""
    first(), second()
    timed = [(first(), second()) for _ in range(pairs)]
    return [a for a, _ in timed], [b for _, b in timed]


def told(values: Sequence[float], unit: str = "s", scale: float = 1.0) -> str:
    """Median with the spread."""
    low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.3f} {unit} ({low:.3f} .. {high:.3f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Median of the pair-wise ratios with their spread."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.3f}x ({min(ratios):.3f} .. {max(ratios):.3f})"


def report(
    title: str, ours: Sequence[float], theirs: Sequence[float], names: tuple[str, str], unit: str = "s", scale: float = 1.0
) -> None:
    print(f"{title}: {ratio(ours, theirs)} over {len(ours)} pairs")
    for name, values in zip(names, (ours, theirs), strict=True):
        print(f"  {name:<32} {told(values, unit, scale)}")
