"""A rate that falls where evaluations get no better: torch's ReduceLROnPlateau, fed once per evaluation of all ranks' samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from launcher.spec.checkpoint import best_from_name


class Lowered(TypedDict):
    """How far it has come: part of the checkpoint."""

    best: float | None
    bad: int
    """Evaluations since then that were no better."""
    cooldown: int
    """Evaluations yet to come that do not count."""
    rates: list[float]
    """Of the optimizer's groups; none before the first reduction."""


def nothing_lowered() -> Lowered:
    return Lowered(best=None, bad=0, cooldown=0, rates=[])


@dataclass(frozen=True, kw_only=True)
class Plateau:
    monitor: str = "val/loss"
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8

    def heed(self, held: Lowered, values: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
        """After an evaluation."""
        value = values.get(self.monitor, math.nan)
        if self.better(value, held["best"]):
            held["best"], held["bad"] = value, 0
        else:
            held["bad"] += 1
        if held["cooldown"]:
            held["cooldown"], held["bad"] = held["cooldown"] - 1, 0
        if held["bad"] > self.patience:
            held["rates"] = [self.reduced(rate) for rate in held["rates"] or [group["initial_lr"] for group in groups]]
            held["cooldown"], held["bad"] = self.cooldown, 0

    def better(self, value: float, best: float | None) -> bool:
        """By more than the threshold; NaN never is."""
        if best is None:
            return math.isfinite(value)
        sign = -1.0 if self.mode == "min" else 1.0
        bound = best + sign * self.threshold if self.threshold_mode == "abs" else best * (1.0 + sign * self.threshold)
        return value < bound if self.mode == "min" else value > bound

    def reduced(self, rate: float) -> float:
        lower = max(rate * self.factor, self.min_lr)
        return lower if rate - lower > self.eps else rate


def make_plateau(*, monitor: str, mode: str | None = None, **rules: Any) -> Plateau:
    """Whether less is better is told by the monitored name where the job does not say."""
    told: Any = best_from_name(monitor)
    return Plateau(monitor=monitor, mode=mode or told["mode"], **rules)
