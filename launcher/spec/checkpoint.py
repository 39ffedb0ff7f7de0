from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from launcher.spec.base import Frozen, Said
from launcher.spec.values import Duration, Length, length_or_duration

LengthOrDuration = Annotated[
    Length | Duration, BeforeValidator(length_or_duration), PlainSerializer(str), Said(f"{Length.wanted}, or {Duration.wanted}")
]


class Best(Frozen):
    """Which metric decides what the best checkpoint is."""

    monitor: Annotated[str, Said("a metric's key", "val/accuracy")]
    """A logged key, such as `val/accuracy`."""
    mode: Literal["min", "max"]
    """Whether a smaller or a larger value is better."""


def best_from_name(value: object) -> object:
    """`val/accuracy` alone: losses and errors are minimised, all else is maximised."""
    if not isinstance(value, str):
        return value
    smaller = value.rsplit("/", 1)[-1].split("_")[0] in {"loss", "mae", "mse", "error", "perplexity"}
    return {"monitor": value, "mode": "min" if smaller else "max"}


BestOrName = Annotated[Best, BeforeValidator(best_from_name), Said("a metric's key or {monitor, mode}", "val/accuracy")]


class Checkpoint(Frozen):
    """When the training is saved, and what is kept."""

    every: LengthOrDuration = Length("1 epoch")
    """How often, in steps, epochs, % of the run, or time."""
    keep_last: Annotated[int, Field(ge=1)] = 2
    """How many of the newest are kept."""
    keep_best: BestOrName | None = None
    """Also keep the best by this metric: a key such as `val/accuracy`, or {monitor, mode}."""
